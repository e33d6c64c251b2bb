"""``restante replay``: stored mail of every kind, two policies, the difference, and nothing that stops it."""

from __future__ import annotations

import csv
import itertools
import json
import mailbox
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from restante import corpus
from restante.cli import cli
from restante.commands.replay import DIFFERENT
from restante.corpus import Located, messages
from restante.init import Answers, initialise
from restante.policy import Policy, load_policy
from restante.replay import Judge, Outcome, Totals
from restante.replay_pool import BATCH, outcomes
from restante.store.engine import Store
from restante.store.evidence import StoredEvidence
from restante.tls.evidence import Evidence, Level
from restante.toml_source import BadFile
from tests.lab.process import alive
from tests.lab.waiting import wait_until
from tests.migrated import upgrade

CARD = "4111111111111111"
PLAIN = b"From: a@site.example\nTo: b@there.example\nSubject: hello\n\nNothing here.\n"
SENSITIVE = (
    b"From: a@site.example\nTo: b@there.example, c@plain.example\nSubject: card\n\n"
    b"Pay with 4111 1111 1111 1111 please.\nFrom here on: nothing.\n"
)
NEW = """
[[rule]]
name = "stop-cards"
action = "quarantine"
when = [{ detectors = ["payment-card"] }]
"""


def _known(_domains: object) -> dict[str, Evidence]:
    return {"plain.example": Evidence("plain.example", Level.NONE, "no STARTTLS", 1, 2, 3)}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("policy") / "new.toml"
    path.write_text(NEW)
    return path


@pytest.fixture(scope="module")
def judge(other: Path) -> Judge:
    return Judge(Policy.default(), load_policy(other), lambda: _known)


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """A Maildir with a subfolder, an mbox, a folder of files, and what is no mail at all."""
    top = tmp_path / "mail"
    top.mkdir()
    box = mailbox.Maildir(top / "Maildir")
    box.add(PLAIN)
    box.add_folder("Sent").add(SENSITIVE)
    (top / "Maildir" / "dovecot.index").write_bytes(b"\0index")
    (top / "Maildir" / "tmp" / "half").write_bytes(SENSITIVE)
    mbox = mailbox.mbox(top / "old.mbox")
    for _ in range(3):
        mbox.add(SENSITIVE)
    mbox.add(PLAIN)
    mbox.close()
    (top / "eml").mkdir()
    (top / "eml" / "one.eml").write_bytes(SENSITIVE)
    (top / "eml" / "junk.bin").write_bytes(os.urandom(64) + b"\0:")
    (top / "eml" / "empty").write_bytes(b"")
    os.mkfifo(top / "eml" / "pipe")
    return top


def _restante(*arguments: object, settings: Path | None = None) -> Result:
    given = ["--settings", str(settings or "/nonexistent.toml"), *map(str, arguments)]
    return CliRunner().invoke(cli, given, catch_exceptions=False)


@pytest.mark.behaviour("C7")
def test_every_kind_of_mail_is_found_and_what_is_none_is_named(mail: Path) -> None:
    found = sorted((one.name.removeprefix(f"{mail}/"), bool(one.problem)) for one in messages([mail]))
    assert [each for each in found if not each[0].startswith("Maildir")] == [
        ("eml/empty", True),
        ("eml/junk.bin", True),
        ("eml/one.eml", False),
        *((f"old.mbox#{number}", False) for number in (1, 2, 3, 4)),
    ]
    in_maildir = [name for name, _ in found if name.startswith("Maildir")]
    assert sorted(name.rpartition("/")[0] for name in in_maildir) == ["Maildir/.Sent/new", "Maildir/new"]


@pytest.mark.behaviour("C7")
def test_a_mailbox_gives_back_each_message_whole(mail: Path) -> None:
    read = []
    for located in messages([mail / "old.mbox"]):
        with located.open() as file:
            read.append(file.read())
            file.seek(-8, 2)
            assert read[-1].endswith(file.read())
    assert len(read) == 4
    assert [each.replace(b">From", b"From").strip() for each in read] == [SENSITIVE.strip()] * 3 + [PLAIN.strip()]


@pytest.mark.behaviour("C7")
def test_a_mailbox_of_one_endless_line_is_read_in_pieces(tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.write_bytes(b"From a@b Sat Nov 21 10:00:00 2026\nSubject: x\n\n" + b"y" * 300_000 + b"\n\nFrom no separator\n")
    (only,) = messages([box])
    assert only.end == box.stat().st_size


@pytest.mark.behaviour("C7")
def test_the_difference_is_told_by_message_rule_and_route(judge: Judge, mail: Path) -> None:
    found = {one.name.rpartition("/")[2]: one for one in outcomes(messages([mail]), judge, 1)}
    one = found["one.eml"]
    assert one.changed
    assert one.now is not None
    assert one.new is not None
    assert (one.now.rule, one.new.rule) == ("default", "stop-cards")
    assert [(way.recipient, way.route) for way in one.now.ways] == [
        ("b@there.example", "tls"),
        ("c@plain.example", "portal"),
    ]
    assert {way.route for way in one.new.ways} == {"quarantine"}
    assert one.new.findings == ("payment-card ************1111 in body (high)",)
    assert (one.unknown, found["old.mbox#4"].changed, found["junk.bin"].changed) == (1, False, False)
    assert CARD not in "".join(c for c in repr(found) if c.isdigit())
    totals = Totals()
    for outcome in found.values():
        totals.add(outcome)
    assert (totals.messages, totals.failed, totals.changed) == (len(found), 2, 5)
    assert totals.rules["default", "stop-cards"] == 5
    assert totals.routes["portal", "quarantine"] == 5
    assert totals.found_in["payment-card"] == 5


@pytest.mark.behaviour("C7")
def test_a_policy_with_words_of_its_own_finds_what_the_other_cannot(mail: Path, tmp_path: Path) -> None:
    path = tmp_path / "words.toml"
    path.write_text(
        '[[lexicon]]\nname = "greeting"\nwords = ["nothing here"]\n'
        '[[rule]]\nname = "greetings"\naction = "reject"\n'
        'when = [{ detectors = ["lexicon:greeting"], confidence = "medium" }]\n'
    )
    judge = Judge(Policy.default(), load_policy(path), lambda: _known)
    found = [one for one in outcomes(messages([mail / "old.mbox"]), judge, 1) if one.now and one.new]
    assert [(one.now.rule, one.new.rule) for one in found if one.now and one.new] == [
        *[("default", "none")] * 3,
        ("none", "greetings"),
    ]


@pytest.mark.behaviour("C7")
def test_several_processes_tell_the_same_in_the_same_order(judge: Judge, mail: Path) -> None:
    corpus_of_many = list(messages([mail])) * 12
    alone = list(outcomes(iter(corpus_of_many), judge, 1))
    assert list(outcomes(iter(corpus_of_many), judge, 3)) == alone


class _Deadly(Judge):
    """Kills its process at one message, as a lack of memory would."""

    def judge(self, located: Located) -> Outcome:
        if located.name.endswith("#2"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().judge(located)


@pytest.mark.behaviour("C7")
def test_a_message_that_kills_its_process_is_named_and_the_others_are_judged(mail: Path, judge: Judge) -> None:
    deadly = _Deadly.__new__(_Deadly)
    deadly.__dict__.update(judge.__dict__)
    found = list(outcomes(messages([mail / "old.mbox"]), deadly, 2))
    assert [(one.name.rpartition("#")[2], one.problem) for one in found] == [
        ("1", ""), ("2", "the process that read it was ended by SIGKILL"), ("3", ""), ("4", ""),
    ]  # fmt: skip


@pytest.mark.behaviour("C7")
def test_processes_that_missed_a_signal_end_with_the_replay(mail: Path, judge: Judge) -> None:
    """A fork has the handlers of the program that it came from, and one of them may swallow SIGTERM."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert len(list(outcomes(messages([mail / "old.mbox"]), judge, 2))) == 4
    finally:
        signal.signal(signal.SIGTERM, before)


class _Telling(Judge):
    """Says which process judges."""

    def judge(self, located: Located) -> Outcome:
        return Outcome(str(os.getpid()), located.end - located.start, "")


@pytest.mark.behaviour("C7")
def test_processes_end_with_a_parent_that_is_killed(mail: Path, judge: Judge) -> None:
    telling = _Telling.__new__(_Telling)
    telling.__dict__.update(judge.__dict__)
    (one,) = messages([mail / "eml" / "one.eml"])
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        try:
            stream = outcomes(itertools.repeat(one), telling, 2)
            os.write(writing, " ".join({next(stream).name for _ in range(10 * BATCH)}).encode())
            signal.pause()
        finally:
            os._exit(1)
    processes = os.read(reading, 1 << 10).decode().split()
    os.close(reading)
    os.close(writing)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert processes
    wait_until(lambda: not any(map(alive, map(int, processes))), 20, "the processes of the replay end")


class _Broken(Judge):
    def _judge(self, *_given: Any) -> Outcome:
        raise ValueError(CARD)


@pytest.mark.behaviour("C7")
def test_a_defect_names_the_message_and_quotes_nothing(mail: Path, judge: Judge) -> None:
    broken = _Broken.__new__(_Broken)
    broken.__dict__.update(judge.__dict__)
    (found,) = outcomes(messages([mail / "eml" / "one.eml"]), broken, 1)
    assert found.problem == "a defect in Restante: ValueError"


@pytest.mark.behaviour("C7")
def test_any_number_of_messages_takes_the_memory_of_a_few(judge: Judge, mail: Path) -> None:
    taken = 0

    def many() -> Iterator[Located]:
        nonlocal taken
        (one,) = messages([mail / "eml" / "one.eml"])
        while True:
            taken += 1
            yield one

    stream = outcomes(many(), judge, 2)
    for _ in range(50):
        next(stream)
    stream.close()  # type: ignore[attr-defined]  # a generator, as the name says
    assert taken < 2000


@pytest.mark.behaviour("C7")
def test_the_command_reports_and_exits_by_the_difference(
    mail: Path, tmp_path: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "restante.toml"

    database = f"sqlite:///{tmp_path}/restante.db"
    initialise(tmp_path, Answers("mta.site.example", "Site", "https://p.site.example", "r@site.example", database))
    upgrade(database)
    store = Store(database)
    StoredEvidence(store).put(Evidence("plain.example", Level.NONE, "no STARTTLS", 1, 4e9, 4e9))
    store.close()
    monkeypatch.setattr("socket.socket.connect", _no_network)
    monkeypatch.setattr("socket.socket.sendto", _no_network)
    report = tmp_path / "out.csv"
    result = _restante("replay", mail, "--policy", other, "--json", "--csv", report, "--jobs", "1", settings=settings)
    assert result.exit_code == DIFFERENT
    told = json.loads(result.stdout)
    assert (told["totals"]["messages"], told["totals"]["changed"], told["totals"]["failed"]) == (9, 5, 2)
    assert (told["totals"]["recipients"], told["totals"]["recipients_with_unknown_tls"]) == (12, 5)
    assert {"now": "portal", "new": "quarantine", "count": 5} in told["totals"]["routes"]
    assert CARD not in "".join(c for c in result.stdout if c.isdigit())
    with report.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["problem"]) for row in rows) == 2
    assert {(row["recipient"], row["route_now"], row["route_new"]) for row in rows if not row["problem"]} == {
        ("b@there.example", "tls", "quarantine"),
        ("c@plain.example", "portal", "quarantine"),
    }
    same = _restante("replay", mail / "eml", "--jobs", "1", settings=settings)
    assert same.exit_code == 0
    assert "1 of 2 recipients" in same.stdout
    assert "junk.bin: not judged: has no header" in same.stdout


def _no_network(*_arguments: object) -> None:
    raise AssertionError("the network was asked")


@pytest.mark.behaviour("C7")
def test_bad_paths_and_policies_are_told_in_a_line(tmp_path: Path, mail: Path) -> None:
    with pytest.raises(corpus.BadCorpus, match="is not there"):
        _restante("replay", tmp_path / "missing")
    bad = tmp_path / "bad.toml"
    bad.write_text("[[rule]]\nname = 3\n")
    with pytest.raises(BadFile, match=r"bad\.toml:1: rule"):
        _restante("replay", mail, "--policy", bad)
    with pytest.raises(corpus.BadCorpus, match="cannot be written"):
        _restante("replay", mail, "--csv", tmp_path / "no" / "out.csv")
    assert _restante("replay").exit_code == 2
