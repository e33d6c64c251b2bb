"""Whatever comes over the milter's socket: no process dies, and the next message is served."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from tests.milter.client import ACCEPT, ALL_ACTIONS, DISCARD, REPLY, MilterClient
from tests.milter.conftest import HELD_RECIPIENT, MARKER, ORDINARY, SENDER, Installation, sensitive

TLS_RECIPIENT = "bob@tls.example"


def _still_works(milter: Installation, children: set[int], number: int) -> None:
    """Two messages, so that both children had a chance; and nobody was replaced."""
    for offset in range(2):
        assert milter.ask(sensitive(number + offset), HELD_RECIPIENT).letter == DISCARD
    assert milter.ask(ORDINARY, TLS_RECIPIENT).letter == ACCEPT
    assert milter.children() == children
    assert "child-died" not in milter.log()


def test_an_ordinary_message_is_accepted_without_a_change(milter: Installation) -> None:
    answer = milter.ask(ORDINARY, TLS_RECIPIENT)
    assert (answer.letter, answer.added, answer.changed, answer.deleted) == (ACCEPT, [], [], [])


def test_without_a_worker_a_sensitive_message_goes_by_mandatory_tls(milter: Installation) -> None:
    answer = milter.ask(sensitive(1), TLS_RECIPIENT)
    assert answer.letter == ACCEPT
    ((name, value),) = answer.added
    assert (name, value.split()[:2]) == ("X-Restante-Route", ["tls", "level=encrypted"])
    assert answer.changed == [("Subject", MARKER)]
    assert milter.held().count(TLS_RECIPIENT) == 0


def test_a_recipient_is_deleted_with_the_exact_bytes_of_its_rcpt(milter: Installation) -> None:
    odd = "Carol.O'Hara@Portal-Only.EXAMPLE"
    answer = milter.ask(sensitive(2), TLS_RECIPIENT, odd)
    assert answer.deleted == [f"<{odd}>".encode()]
    assert milter.held().count(odd) == 1


def test_several_messages_in_one_connection_do_not_mix(milter: Installation) -> None:
    with MilterClient(milter.socket) as client:
        client.open()
        assert client.message(sensitive(10), SENDER, [HELD_RECIPIENT]).letter == DISCARD
        assert client.message(ORDINARY, SENDER, [TLS_RECIPIENT]).added == []
        assert client.message(sensitive(11), SENDER, [TLS_RECIPIENT]).deleted == []
        client.envelope(SENDER, [HELD_RECIPIENT, "one-more@portal-only.example"])
        client.content(sensitive(12))
        client.packet(b"A")
        assert client.message(sensitive(13), SENDER, [HELD_RECIPIENT]).letter == DISCARD
        client.quit()
    assert "one-more@portal-only.example" not in milter.held()


def _until(stage: int) -> Callable[[MilterClient], None]:
    def conversation(client: MilterClient) -> None:
        steps: list[Callable[[], object]] = [
            lambda: client.raw(b"\0\0"),
            client.negotiate,
            lambda: client.step(b"C", b"client.example\x004" + struct.pack("!H", 40000) + b"192.0.2.1\0"),
            lambda: client.step(b"H", b"client.example\0"),
            lambda: client.step(b"M", b"<ann@site.example>\0"),
            lambda: client.step(b"R", f"<{HELD_RECIPIENT}>\0".encode()),
            lambda: client.step(b"T"),
            lambda: client.step(b"L", b"Subject\0[secure] gone\0"),
            lambda: client.step(b"N"),
            lambda: client.step(b"B", b"x" * 60_000),
            lambda: [client.step(b"B", b"x" * 60_000) for _ in range(20)],
            lambda: client.raw(struct.pack("!I", 1000) + b"Bhalf of a packet"),
        ]
        for step in steps[1 if stage else 0 : stage + 1]:
            step()

    return conversation


@pytest.mark.behaviour("N1")
@pytest.mark.parametrize("stage", range(12))
def test_a_client_that_disconnects_leaves_nothing_behind(milter: Installation, stage: int) -> None:
    children, before = milter.children(), len(milter.held())
    for _ in range(3):
        with MilterClient(milter.socket) as client:
            _until(stage)(client)
    assert len(milter.held()) == before
    _still_works(milter, children, 100 + 10 * stage)


@pytest.mark.behaviour("N1")
def test_a_client_that_disconnects_at_the_end_of_message_has_either_a_stored_copy_or_none(milter: Installation) -> None:
    children = milter.children()
    recipient = "vanished@portal-only.example"
    with MilterClient(milter.socket) as client:
        client.open()
        client.envelope(SENDER, [recipient])
        client.content(sensitive(90))
        client.packet(b"E")
    _still_works(milter, children, 91)
    # The client never saw an answer, so its MTA tries again: then there is exactly one.
    assert milter.ask(sensitive(90), recipient).letter == DISCARD
    assert milter.held().count(recipient) == 1


_NEGOTIATE = struct.pack("!I", 13) + b"O" + struct.pack("!III", 6, ALL_ACTIONS, 0)

GARBAGE = {
    "nothing but zeros": b"\0" * 4096,
    "all ones": b"\xff" * 4096,
    "http": b"GET / HTTP/1.1\r\nHost: milter\r\n\r\n" * 10,
    "a giant length": struct.pack("!I", 0xFFFFFFFF) + b"O",
    "a length of 2 GiB": struct.pack("!I", 0x7FFFFFFF) + b"B" + b"x" * 10_000,
    "a giant packet after a proper beginning": _NEGOTIATE + struct.pack("!I", 0x40000000) + b"B",
    "an unknown command": _NEGOTIATE + struct.pack("!I", 1) + b"z",
    "a short negotiation": struct.pack("!I", 5) + b"O\0\0\0\6",
    "an old version": struct.pack("!I", 13) + b"O" + struct.pack("!III", 1, 0, 0),
    "end of message first": _NEGOTIATE + struct.pack("!I", 1) + b"E",
    "recipients first": _NEGOTIATE + struct.pack("!I", 5) + b"R<a>\0",
    "body first": _NEGOTIATE + struct.pack("!I", 3) + b"Bxx",
    "a header without a value": _NEGOTIATE + struct.pack("!I", 5) + b"Mx\0\0\0" + struct.pack("!I", 3) + b"Lxx",
    "a name that is not ASCII": _NEGOTIATE + struct.pack("!I", 9) + b"L\xff\xfe\0val\0"[:9],
    "a sender that is not UTF-8": _NEGOTIATE + struct.pack("!I", 7) + b"M<\xff\xfe>\0",
    "macros without end": _NEGOTIATE + struct.pack("!I", 6) + b"DMabcd",
}


@pytest.mark.behaviour("N1")
@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_costs_its_own_connection_and_nothing_else(milter: Installation, kind: str) -> None:
    children = milter.children()
    for _ in range(2):
        with MilterClient(milter.socket, timeout=2) as client:
            try:
                client.raw(GARBAGE[kind])
                for _ in range(3):
                    client.read()
            except OSError:
                pass
    _still_works(milter, children, 1000 + 10 * list(GARBAGE).index(kind))


@pytest.mark.behaviour("N1")
def test_commands_in_random_order_with_random_data_kill_nobody(milter: Installation) -> None:
    children = milter.children()
    chance = random.Random(20240607)
    for _ in range(60):
        with MilterClient(milter.socket, timeout=1) as client:
            try:
                client.negotiate()
                for _ in range(chance.randrange(1, 12)):
                    command = chance.choice([b"C", b"H", b"M", b"R", b"T", b"L", b"N", b"B", b"A", b"D", b"U", b"E"])
                    client.packet(command, chance.randbytes(chance.randrange(40)) + chance.choice([b"", b"\0"]))
            except OSError:
                pass
    _still_works(milter, children, 2000)


def test_a_bad_recipient_is_refused_and_the_others_go_on(milter: Installation) -> None:
    with MilterClient(milter.socket) as client:
        client.open()
        client.step(b"M", b"<ann@site.example>\0")
        refused = client.step(b"R", b"<\xff\xfe@portal-only.example>\0")
        assert refused.letter == REPLY
        assert refused.text.startswith("553 5.1.3")
        client.step(b"R", f"<{HELD_RECIPIENT}>\0".encode())
        client.content(sensitive(3000))
        assert client.step(b"E").letter == DISCARD
        client.quit()


def test_headers_above_the_limit_are_deferred_and_not_passed(milter: Installation) -> None:
    with MilterClient(milter.socket) as client:
        client.open()
        client.envelope(SENDER, [HELD_RECIPIENT])
        for number in range(30):
            client.step(b"L", f"X-Filling-{number}\0".encode() + b"y" * 60_000 + b"\0")
        client.step(b"N")
        assert client.step(b"E").deferred
        client.quit()
    assert milter.ask(sensitive(3001), HELD_RECIPIENT).letter == DISCARD


@pytest.mark.behaviour("F12")
@pytest.mark.parametrize("name", ["X-Restante-Notice", "X-Restante-Route"])
def test_a_forged_mark_changes_nothing(milter: Installation, name: str) -> None:
    content = f"{name}: tls level=encrypted AAAA\r\n".encode() + sensitive(4000 + len(name))
    assert milter.ask(content, HELD_RECIPIENT).letter == DISCARD


def test_the_same_message_twice_is_held_once(milter: Installation) -> None:
    recipient = "twice@portal-only.example"
    for _ in range(2):
        assert milter.ask(sensitive(5000), recipient).letter == DISCARD
    assert milter.ask(sensitive(5001), recipient).letter == DISCARD
    assert milter.held().count(recipient) == 2
