"""Notices that did not arrive, read from Postfix's log: whom the sender is told of, and with which status."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from restante.notice_ids import link_of, notice_message_id
from restante.receipts import Receipt
from restante.store import links
from restante.store.models import AuditRecord, DeliveryState, JobKind, OutboxJob
from restante.store.undelivered import LostNotice
from restante_milter.log_follower import LogFollower
from restante_milter.notice_log import NoticeLog
from tests.core.stores import Holder

LINK = "0123456789abcdef" * 2
HEADS = {"traditional": "Nov 22 05:13:48 mta ", "RFC 5424": "2026-11-22T05:13:48.123456+00:00 mta "}
BOUNCED = "dsn=5.1.1, status=bounced (host mx.x.example[192.0.2.1] said: 550 5.1.1 no such user (in reply to RCPT TO))"
DEFERRED = "dsn=4.4.1, status=deferred (connect to mx.x.example[192.0.2.1]:25: Connection timed out)"
EXPIRED = "postfix/qmgr[77]: F28922: from=<restante@site.example>, status=expired, returned to sender"


def queued(message_id: str, head: str = HEADS["traditional"], queue_id: str = "F28922") -> str:
    return f"{head}postfix/cleanup[26889]: {queue_id}: message-id={message_id}"


def told(
    rest: str, head: str = HEADS["traditional"], *, to: str = "bob@x.example", service: str = "postfix/smtp"
) -> str:
    return f"{head}{service}[26928]: F28922: to=<{to}>, relay=none, delay=0.12, delays=0.05/0/0.02/0.05, {rest}"


def read(*lines: str) -> list[LostNotice]:
    """What the lines say, with a restart between each two of them."""
    found, state = [], "{}"
    for line in lines:
        log = NoticeLog()
        log.restore(json.loads(state))
        one = log.feed(line)
        found += [one] if one is not None else []
        state = json.dumps(log.state())
    return found


NOTICE = notice_message_id(LINK, "mta.site.example")


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("service", ["postfix/smtp", "postfix/restante-tls/smtp", "postfix/error", "postfix-in/lmtp"])
def test_a_refusal_is_found_whoever_says_so(head: str, service: str) -> None:
    (lost,) = read(queued(NOTICE, head), told(BOUNCED, head, service=service))
    assert (lost.link_id, lost.recipient, lost.status) == (LINK, "bob@x.example", "5.1.1")
    assert "no such user" in lost.reply


def test_what_is_given_up_at_last_has_the_reason_of_its_last_try() -> None:
    lines = [queued(NOTICE), told(DEFERRED)]
    assert read(*lines) == []
    (lost,) = read(*lines, HEADS["traditional"] + EXPIRED)
    assert (lost.status, lost.recipient) == ("4.4.1", "bob@x.example")
    assert "timed out" in lost.reply


SENT = "dsn=2.0.0, status=sent (250 ok, status=bounced (no))"


@pytest.mark.parametrize(
    "lines",
    [
        (queued("<m@site.example>"), told(BOUNCED)),
        (queued(f"<{LINK}.notice@a@b>"), told(BOUNCED)),
        (told(BOUNCED),),
        (queued(NOTICE), told(SENT)),
        (queued(NOTICE), told(BOUNCED).replace("F28922", "ABC123")),
        (queued(NOTICE), HEADS["traditional"] + "postfix/qmgr[77]: F28922: removed", told(BOUNCED)),
        (queued(NOTICE), queued("<later@site.example>"), told(BOUNCED)),
        (queued(NOTICE), HEADS["traditional"] + f"postfix/smtpd[1]: warning: x {told(BOUNCED)}"),
        (HEADS["RFC 5424"] + f"postfix/smtpd[1]: warning: evil postfix/cleanup[1]: F28922: message-id={NOTICE}",
         told(BOUNCED)),
        (queued(NOTICE), told("dsn=2.0.0, status=sent (ok)", to='"> x, dsn=5.1.1, status=bounced (no)"@x.example')),
        ("", "x", HEADS["traditional"]),
    ],
)  # fmt: skip
def test_nothing_else_is_a_lost_notice(lines: tuple[str, ...]) -> None:
    assert read(*lines) == []


@given(st.lists(st.text(max_size=200), max_size=20))
def test_no_text_makes_it_fail(lines: list[str]) -> None:
    read(*lines, queued(NOTICE), *lines)


def test_only_so_many_are_remembered() -> None:
    log = NoticeLog()
    for number in range(2500):
        log.feed(queued(NOTICE, queue_id=f"A{number:05d}"))
    assert len(log.state()) == 2000


def test_a_message_id_names_its_link_and_no_other_does() -> None:
    assert link_of(NOTICE) == LINK
    for other in (
        "<m@x>",
        f"<{LINK}@x>",
        f"<{LINK}.notice@>",
        f"x{NOTICE}",
        NOTICE + "x",
        f"<{LINK.upper()}.notice@x>",
    ):
        assert link_of(other) == ""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    made = Holder(f"sqlite:///{tmp_path}/store.db")
    yield made
    made.store.close()


def noticed(holder: Holder) -> tuple[str, str]:
    """A copy that waits and the link that its notice brought."""
    message = holder.hold(holder.request(("bob@x.example", DeliveryState.HELD), expires_at=time.time() + 9999))
    delivery = holder.deliveries(message)[0].id
    minted = links.mint_link(holder.store, delivery, needs_code=False, new_code=False, now=time.time())
    assert minted is not None
    return delivery, minted.link_id


def follow(holder: Holder, path: Path, *lines: str) -> tuple[list[str], int]:
    """Follow a log with these lines more; the statuses of which the sender is to be told, and the audit records."""
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
    LogFollower.open(holder.store, str(path), 10025).read()
    with holder.store.read() as session:
        jobs = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.RECEIPT)).all()
        records = session.scalars(select(AuditRecord.id).where(AuditRecord.action == "notice-bounced")).all()
    return [job.payload["status"] for job in jobs if job.payload["event"] == Receipt.NOTICE_LOST], len(records)


@pytest.mark.behaviour("S1")
def test_the_sender_is_told_once_with_the_status(holder: Holder, tmp_path: Path) -> None:
    _, link_id = noticed(holder)
    path = tmp_path / "mail.log"
    message_id = notice_message_id(link_id, "mta.site.example")
    assert follow(holder, path, queued(message_id)) == ([], 0)
    assert follow(holder, path, told(BOUNCED)) == (["5.1.1"], 1)
    assert follow(holder, path, told(BOUNCED)) == (["5.1.1"], 1)


def test_another_recipients_words_about_a_notice_are_not_believed(holder: Holder, tmp_path: Path) -> None:
    """Who got a notice sends mail with its Message-ID to an address that does not exist."""
    _, link_id = noticed(holder)
    message_id = notice_message_id(link_id, "mta.site.example")
    assert follow(holder, tmp_path / "log", queued(message_id), told(BOUNCED, to="no@x.example")) == ([], 0)


def test_of_a_notice_that_a_later_one_replaced_nothing_is_told(holder: Holder, tmp_path: Path) -> None:
    delivery, link_id = noticed(holder)
    links.mint_link(holder.store, delivery, needs_code=False, new_code=False, now=time.time())
    message_id = notice_message_id(link_id, "mta.site.example")
    assert follow(holder, tmp_path / "log", queued(message_id), told(BOUNCED)) == ([], 0)
