"""Reports and automatic replies that come to the address of notices, through the milter."""

from __future__ import annotations

import io
import time
from email.message import EmailMessage, Message
from pathlib import Path

import pytest
from sqlalchemy import select

from restante.credentials import Credential, read_credential
from restante.marks import NoticeMark
from restante.notice_ids import notice_message_id
from restante.receipts import Receipt
from restante.settings import load_settings
from restante.store import links
from restante.store.models import Delivery, JobKind, OutboxJob
from restante_milter.reports import is_auto_reply, read_report
from tests.milter.client import ACCEPT, DISCARD, Answer, ask
from tests.milter.conftest import HELD_RECIPIENT, MARKER, SENDER, Installation, sensitive

SECRET = b"r" * 32
LINK, DELIVERY = "0123456789abcdef" * 2, "d" * 32
NOTICES = "restante@site.example"


def notice(link_id: str, mark: NoticeMark, secret: bytes = SECRET) -> EmailMessage:
    """A notice as far as a report returns it."""
    made = EmailMessage()
    made["From"] = NOTICES
    made["Message-ID"] = notice_message_id(link_id, "mta.example")
    made["X-Restante-Notice"] = mark.sign(secret)
    made.set_content("A message waits.")
    return made


def report(about: EmailMessage, *, action: str = "failed", status: str = "5.1.1", whole: bool = True) -> bytes:
    """A delivery status notification as Postfix makes them (RFC 3464)."""
    kind, returned = ("message/rfc822", about.as_bytes()) if whole else ("text/rfc822-headers", _head(about))
    parts = [
        b"Content-Type: text/plain\r\n\r\nThis is the mail system at host mx.x.example.\r\n",
        b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.x.example\r\n\r\n"
        b"Final-Recipient: rfc822; bob@x.example\r\n"
        + f"Action: {action}\r\nStatus: {status}\r\n".encode()
        + b"Diagnostic-Code: smtp; 550 5.1.1 no\r\n    such user\r\n",
        f"Content-Type: {kind}\r\n\r\n".encode() + returned.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
    ]
    head = (
        b"From: MAILER-DAEMON@mx.x.example\r\nTo: restante@site.example\r\nAuto-Submitted: auto-replied\r\n"
        b'MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\tboundary="=_b"\r\n\r\n'
    )
    return head + b"".join(b"--=_b\r\n" + part + b"\r\n" for part in parts) + b"--=_b--\r\n"


def _head(message: Message) -> bytes:
    return message.as_bytes().partition(b"\n\n")[0] + b"\n"


KIND = b'multipart/report; report-type=delivery-status;\n\tboundary="=_b"'


@pytest.mark.parametrize("whole", [True, False])
def test_a_report_that_returns_the_notice_is_understood(*, whole: bool) -> None:
    raw = report(notice(LINK, NoticeMark("m" * 32, DELIVERY)), whole=whole)
    found = read_report(KIND, io.BytesIO(raw), SECRET)
    assert found is not None
    assert (found.delivery_id, found.lost.link_id, found.lost.status) == (DELIVERY, LINK, "5.1.1")
    assert " ".join(found.lost.reply.split()) == "550 5.1.1 no such user"


def test_what_is_forged_or_no_failure_is_none() -> None:
    mark = NoticeMark("m" * 32, DELIVERY)
    good = report(notice(LINK, mark))
    bad = {
        "another secret": report(notice(LINK, mark, b"x" * 32)),
        "for the sender": report(notice(LINK, NoticeMark("m" * 32))),
        "delayed": report(notice(LINK, mark), action="delayed", status="4.4.1"),
        "no link": good.replace(b".notice@", b"@"),
        "no status part": good.replace(b"Action:", b"Auction:"),
        "nothing": b"",
        "marks without end": b"Action: failed\r\n" + b"X-Restante-Notice: x\r\n" * 10_000,
        "one long line": b"Action: failed\r\n" + b"X-Restante-Notice: " + b"x" * 300_000,
    }
    assert read_report(KIND, io.BytesIO(good), SECRET) is not None
    began = time.process_time()
    for name, raw in bad.items():
        assert read_report(KIND, io.BytesIO(raw), SECRET) is None, name
    for kind in (None, b"", b"text/plain", b"multipart/report; report-type=disposition-notification"):
        assert read_report(kind, io.BytesIO(good), SECRET) is None
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"auto-replied", True), (b" Auto-Replied; x", True), (b"auto-generated", False), (b"no", False), (None, False)],
)
def test_what_a_program_answered_says_so(value: bytes | None, *, expected: bool) -> None:
    assert is_auto_reply(value, b"text/plain") is expected
    assert not is_auto_reply(value, KIND)


def told(milter: Installation) -> list[tuple[str, str]]:
    """Of which notices senders are to be told, with the status."""
    with milter.store.read() as session:
        jobs = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.RECEIPT)).all()
    return [
        (job.payload["delivery"], job.payload["status"]) for job in jobs if job.payload["event"] == Receipt.NOTICE_LOST
    ]


def sent(milter: Installation, content: bytes, sender: str = "", to: str = NOTICES) -> Answer:
    return ask(milter.socket, content, sender, [to])


@pytest.mark.behaviour("S1")
def test_the_sender_is_told_what_a_report_says_and_the_mailbox_keeps_the_report(milter: Installation) -> None:
    assert milter.ask(sensitive(), HELD_RECIPIENT).letter == DISCARD
    with milter.store.read() as session:
        copy = session.scalars(select(Delivery).where(Delivery.recipient == HELD_RECIPIENT)).one()
    minted = links.mint_link(milter.store, copy.id, needs_code=False, new_code=False, now=time.time())
    assert minted is not None
    secret = read_credential(load_settings(Path(milter.folder / "restante.toml")).credentials, Credential.ROUTE)
    content = report(notice(minted.link_id, NoticeMark(copy.message_id, copy.id), secret))
    elsewhere = report(notice(minted.link_id, NoticeMark(copy.message_id, "e" * 32), secret))
    for mail, sender, to in (
        (content, "eve@x.example", NOTICES),  # no report comes from a person
        (content, "", SENDER),
        (elsewhere, "", NOTICES),
    ):
        assert sent(milter, mail.replace(b"Auto-Submitted: auto-replied\r\n", b""), sender, to).letter == ACCEPT
    assert told(milter) == []
    assert sent(milter, content).letter == ACCEPT
    assert told(milter) == [(copy.id, "5.1.1")]
    assert sent(milter, content).letter == ACCEPT
    assert len(told(milter)) == 1


def test_an_automatic_reply_to_a_notice_is_dropped_and_no_other_mail_is(milter: Installation) -> None:
    head = b"From: bob@x.example\r\nSubject: Out of office\r\nAuto-Submitted: auto-replied\r\n\r\n"
    assert sent(milter, head + b"Back on Monday.\r\n").letter == DISCARD
    assert sent(milter, head + b"Back on Monday.\r\n", "bob@x.example", NOTICES.upper()).letter == DISCARD
    assert sent(milter, head + b"Back on Monday.\r\n", to=SENDER).letter == ACCEPT
    assert sent(milter, head.replace(b"auto-replied", b"no") + b"Who are you?\r\n").letter == ACCEPT
    answer = ask(milter.socket, head + MARKER.encode(), "", [NOTICES, SENDER])
    assert (answer.letter, answer.deleted) == (ACCEPT, [])
