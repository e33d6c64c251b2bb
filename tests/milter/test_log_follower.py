"""Following a log through rotation, truncation, half lines and restarts: nothing lost, nothing twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from restante.store.delivered import find
from restante.store.engine import Store
from restante.store.models import AuditRecord
from restante_milter.log_follower import JournalSource, LogFollower
from tests.migrated import upgrade
from tests.milter.test_mail_log import TLS, sent

pytestmark = pytest.mark.behaviour("S4")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/store.db"
    upgrade(url)
    opened = Store(url)
    yield opened
    opened.close()


def _append(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + end)


def _recipients(store: Store) -> list[str]:
    return [one.delivered.recipient for one in reversed(find(store, queue_id="F289220E08F"))]


def _alarms(store: Store) -> int:
    with store.read() as session:
        return len(session.scalars(select(AuditRecord).where(AuditRecord.action == "clear-delivery")).all())


def test_a_restart_between_two_lines_loses_and_doubles_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    for number, line in enumerate([TLS, sent("a@d4.example"), sent("b@d4.example")], 1):
        _append(path, line)
        assert LogFollower.open(store, str(path), 10025).read() == 1
        assert len(_recipients(store)) == number - 1
    assert LogFollower.open(store, str(path), 10025).read() == 0
    assert _recipients(store) == ["a@d4.example", "b@d4.example"]
    assert [one.delivered.tls_version for one in find(store, recipient="b@d4.example")] == ["TLSv1.3"]


def test_half_a_line_waits_for_its_other_half(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    follower = LogFollower.open(store, str(path), 10025)
    assert follower.read() == 0
    line = sent("a@d4.example")
    _append(path, TLS, line[:90], end="")
    assert follower.read() == 1
    assert follower.read() == 0
    _append(path, line[90:])
    assert follower.read() == 1
    assert _recipients(store) == ["a@d4.example"]


@pytest.mark.parametrize("restarted", [True, False])
def test_a_rotation_is_read_to_the_end_of_the_old_file(store: Store, tmp_path: Path, *, restarted: bool) -> None:
    path = tmp_path / "mail.log"
    _append(path, TLS)
    follower = LogFollower.open(store, str(path), 10025)
    assert follower.read() == 1
    _append(path, sent("a@d4.example"))
    path.rename(tmp_path / "mail.log.1")
    _append(path, sent("b@d4.example"))
    if restarted:
        follower = LogFollower.open(store, str(path), 10025)
    assert follower.read() == 2
    assert _recipients(store) == ["a@d4.example", "b@d4.example"]
    assert all(one.delivered.tls_version for one in find(store, queue_id="F289220E08F"))


def test_a_truncated_file_is_read_from_its_beginning_and_alarms_for_nothing(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    _append(path, TLS, sent("a@d4.example"))
    follower = LogFollower.open(store, str(path), 10025)
    assert follower.read() == 2
    path.write_text(sent("b@d4.example", queue_id="BBBB1111") + "\n", encoding="utf-8")
    assert follower.read() == 1
    assert [one.delivered.recipient for one in find(store, queue_id="BBBB1111")] == ["b@d4.example"]
    assert _alarms(store) == 0


def test_a_sensitive_delivery_without_tls_is_recorded_and_alarms(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    _append(path, TLS)
    now = [1_800_000_000.0]
    follower = LogFollower.open(store, str(path), 10025)
    follower.clock = lambda: now[0]
    follower.read()
    now[0] += 3600
    _append(path, sent("a@d4.example"), sent("b@d4.example", queue_id="BBBB1111"))
    follower.read()
    assert _alarms(store) == 1
    assert [one.delivered.alarming for one in find(store, recipient="b@d4.example")] == [True]


def test_the_journal_is_read_after_its_cursor() -> None:
    asked: list[list[str]] = []

    def journal(arguments: list[str]) -> str:
        asked.append(arguments)
        return f"{TLS}\n-- cursor: s=abc;i={len(asked)}\n"

    source = JournalSource({}, journal)
    assert list(source.lines(10)) == [TLS]
    assert list(JournalSource(source.position(), journal).lines(10)) == [TLS]
    assert asked[0][0] == "--lines=10"
    assert asked[1][0] == "--after-cursor=s=abc;i=1"
