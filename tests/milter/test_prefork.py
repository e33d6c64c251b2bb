"""One parent, several children: they die, are replaced and recycled, and no session is lost by it."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.lab.process import started_at
from tests.lab.waiting import wait_until
from tests.milter.client import ACCEPT, DISCARD, Answer, MilterClient
from tests.milter.conftest import HELD_RECIPIENT, NOBODY, ORDINARY, SENDER, Installation, kill, sensitive

RECYCLING = {"milter.recycle_after": "5"}
CLIENTS, ROUNDS = 4, 20


@pytest.mark.behaviour("N1")
def test_a_killed_child_is_replaced_while_the_other_goes_on(installation: Installation) -> None:
    installation.start()
    before = installation.await_children(2)
    victim = min(before)
    kill(victim)
    assert installation.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD
    wait_until(lambda: victim not in installation.children(), 10, "the dead child to be reaped")
    after = installation.await_children(2)
    assert len(after & before) == 1
    assert "child-died" in installation.log()
    assert installation.ask(sensitive(2), HELD_RECIPIENT).letter == DISCARD


@pytest.mark.behaviour("N1")
def test_with_every_child_killed_at_once_connections_wait_for_the_next(installation: Installation) -> None:
    installation.start()
    for child in installation.await_children(2):
        kill(child)
    assert installation.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD


@pytest.mark.behaviour("N2")
@pytest.mark.parametrize("installation", [RECYCLING], indirect=True)
@pytest.mark.parametrize("uid", [0, NOBODY])
def test_recycling_under_load_loses_no_session(installation: Installation, uid: int) -> None:
    if uid:
        installation.give_to_nobody()
    installation.start(uid=uid)
    seen = set(installation.await_children(2))
    answers: list[tuple[int, Answer]] = []
    errors: list[BaseException] = []

    def load(client: int) -> None:
        try:
            for turn in range(ROUNDS):
                number = client * ROUNDS + turn
                answers.append((number, installation.ask(sensitive(number), HELD_RECIPIENT)))
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=load, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen |= installation.children()
        threads[0].join(0.01)
        for thread in threads:
            thread.join(0.01)
    assert errors == []
    assert sorted(number for number, _ in answers) == list(range(CLIENTS * ROUNDS))
    assert {answer.letter for _, answer in answers} == {DISCARD}, installation.log()
    assert installation.held() == [HELD_RECIPIENT] * (CLIENTS * ROUNDS)
    assert len(seen) > 4
    assert "child-died" not in installation.log()
    assert installation.socket.exists()
    assert installation.ask(ORDINARY, "bob@tls.example").letter == ACCEPT


@pytest.mark.behaviour("N2")
def test_a_stop_lets_open_sessions_finish(installation: Installation) -> None:
    installation.start()
    with MilterClient(installation.socket) as client:
        client.open()
        client.envelope(SENDER, [HELD_RECIPIENT])
        installation.process.send_signal(signal.SIGTERM)
        wait_until(lambda: len(installation.children()) == 1, 10, "the idle child to leave")
        client.content(sensitive(1))
        assert client.step(b"E").letter == DISCARD
        client.quit()
    assert installation.process.wait(10) == 0
    assert installation.held() == [HELD_RECIPIENT]
    assert not installation.socket.exists()


@pytest.mark.behaviour("N2")
def test_a_reload_lets_open_sessions_finish_and_changes_the_next(installation: Installation) -> None:
    installation.start()
    children = installation.await_children(2)
    policy = installation.policy.read_text(encoding="utf-8")
    with MilterClient(installation.socket) as client:
        client.open()
        client.envelope(SENDER, [HELD_RECIPIENT])
        installation.policy.write_text(policy.replace("portal-only.example", "other.example"), encoding="utf-8")
        installation.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "policy-reloaded" in installation.log(), 10, "the reload")
        client.content(ORDINARY)
        assert client.step(b"E").letter == ACCEPT
        client.quit()
    wait_until(
        lambda: installation.ask(sensitive(1), "carol@other.example").letter == DISCARD, 10, "the new policy in force"
    )
    assert installation.children() == children


@pytest.mark.behaviour("N2")
def test_a_bad_policy_leaves_the_old_one_in_force(installation: Installation) -> None:
    installation.start()
    installation.policy.write_text("[[rule]]\nname = 'x'\n", encoding="utf-8")
    installation.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "policy-refused" in installation.log(), 10, "the refusal")
    assert f"{installation.policy}:1" in installation.log()
    assert installation.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD


@pytest.mark.behaviour("N1")
def test_children_do_not_outlive_a_killed_parent(installation: Installation) -> None:
    installation.start()
    children = {child: started_at(child) for child in installation.await_children(2)}
    os.kill(installation.process.pid, signal.SIGKILL)
    wait_until(
        lambda: all(started_at(child) != start for child, start in children.items()), 20, "the children to go away"
    )
    # What a killed parent left on the disk does not keep the next one from starting.
    installation.start()
    assert installation.ask(sensitive(1), HELD_RECIPIENT).letter == DISCARD
    assert [path.name for path in Path(installation.socket.parent).iterdir()] == ["milter.sock"]
