"""The worker sends replies: by which way, again after an outage, and what remains when it gives up."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update

from restante.marks import NOTICE, RouteMark
from restante.receipt_texts import subject_of
from restante.receipts import Receipt
from restante.sealed_spool import SealedSpool
from restante.settings import HostPort
from restante.store import holding, replies
from restante.store.engine import new_id
from restante.store.models import AuditRecord, Blob, JobKind, OutboxJob, OutboxState, Reply, ReplyState
from restante.tls.evidence import Requirement
from restante.vault import DataKey
from restante_milter.reply_sender import ReplySender
from tests.milter.test_jobs import Office

SECRET = b"s" * 32
MAIL = b"From: Rita <restante@site.example>\r\nTo: ann@site.example\r\nSubject: Re: results\r\n\r\nthanks\r\n"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.holder.store.close()


def queue_reply(office: Office, *recipients: str) -> str:
    """A reply that waits to be sent; the id of the copy that it answers."""
    holder = office.holder
    delivery_id = office.hold("bob@x.example")[0]
    with holder.store.write() as session:
        holding.opened(session, delivery_id, now=time.time())
        session.execute(update(OutboxJob).values(state=OutboxState.DONE))
    message = DataKey.fresh(new_id())
    written = replies.Written(new_id(), "", "thanks")
    draft = replies.save(holder.store, message, delivery_id, written, most_bytes=100, now=time.time()).draft
    spool = SealedSpool(DataKey.fresh(new_id()))
    spool.write(MAIL)
    spool.finish()
    replies.send(holder.store, holder.keys.worker, delivery_id, draft, spool, recipients, (), now=time.time())
    spool.close()
    with holder.store.write() as session:  # the receipt is another's work
        session.execute(update(OutboxJob).where(OutboxJob.kind != JobKind.REPLY).values(state=OutboxState.DONE))
    return delivery_id


def without_way_out(office: Office) -> ReplySender:
    """What sends replies where nobody listens on the way to other sites."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = HostPort("127.0.0.1", probe.getsockname()[1])
    settings = office.runner._settings
    closed = settings.model_copy(update={"worker": settings.worker.model_copy(update={"reinject_tls": nobody})})
    return ReplySender(
        closed, office.holder.store, office.holder.keys.worker_opener, SECRET, {"site.example"}.__contains__
    )


def state(office: Office) -> str:
    with office.holder.store.read() as session:
        return session.scalars(select(Reply.state)).one()


def told_of_loss(office: Office) -> str:
    """The one mail that tells the sender of a lost reply, once everybody takes mail again."""
    office.mailbox.refused.clear()
    office.mailbox.full = ""
    mta = office.up()
    try:
        office.run()
        office.run()
    finally:
        mta.stop()
    [mail] = [one for _, one in office.mailbox.mails if one["Subject"] == subject_of(Receipt.REPLY_LOST)]
    body = mail.get_body(("plain",))
    assert body is not None
    return " ".join(str(body.get_content()).split())


def readable(office: Office) -> list[bool]:
    """Of each blob that is sealed to the worker, whether it still has its key."""
    with office.holder.store.read() as session:
        keys = session.scalars(select(Blob.wrapped_key).where(Blob.key_id == "worker")).all()
    return [key is not None for key in keys]


@pytest.mark.behaviour("P8")
def test_a_reply_outlives_an_outage_and_is_sent_once(office: Office) -> None:
    queue_reply(office, "ann@site.example")
    office.run()  # nobody listens
    assert state(office) == ReplyState.QUEUED
    mta = office.up()
    try:
        office.run()
        office.run()
    finally:
        mta.stop()
    [(recipients, mail)] = office.mailbox.mails
    assert (recipients, mail["Subject"], mail.get_content().strip()) == (["ann@site.example"], "Re: results", "thanks")
    assert mail["X-Restante-Route"] is None
    assert state(office) == ReplyState.SENT
    assert readable(office) == []


@pytest.mark.behaviour("P8")
def test_a_sender_elsewhere_is_reached_under_mandatory_tls_alone(office: Office) -> None:
    queue_reply(office, "ann@elsewhere.example")
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    [(recipients, mail)] = office.mailbox.mails
    assert recipients == ["ann@elsewhere.example"]
    mark = RouteMark.verify(SECRET, str(mail["X-Restante-Route"]))
    assert (mark.requirement, mark.otherwise) == (Requirement.ENCRYPTED, NOTICE)


@pytest.mark.behaviour("P8")
def test_who_has_it_does_not_get_it_again(office: Office) -> None:
    queue_reply(office, "ann@site.example", "out@elsewhere.example")
    runner = office.runner
    ordinary = runner._replies
    runner._replies = without_way_out(office)
    mta = office.up()
    try:
        office.run()
        assert [to for to, _ in office.mailbox.mails] == [["ann@site.example"]]
        assert state(office) == ReplyState.QUEUED
        runner._replies = ordinary
        office.run()
    finally:
        mta.stop()
    assert [to for to, _ in office.mailbox.mails] == [["ann@site.example"], ["out@elsewhere.example"]]
    assert state(office) == ReplyState.SENT


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize("why", ["refused", "given up"])
def test_what_cannot_be_sent_is_kept_sealed_until_the_message_ends(tmp_path: Path, why: str) -> None:
    office = Office(tmp_path, give_up_hours=1e-9 if why == "given up" else 120)
    delivery_id = queue_reply(office, "ann@site.example")
    office.mailbox.refused.add("ann@site.example")
    mta = office.up() if why == "refused" else None
    office.run()
    if mta is not None:
        mta.stop()
    assert state(office) == ReplyState.FAILED
    assert readable(office) == [True]
    with office.holder.store.read() as session:
        actions = session.scalars(select(AuditRecord.action).where(AuditRecord.delivery_id == delivery_id)).all()
        job = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.REPLY)).one()
    assert actions[-1] == "reply-failed"
    assert job.state == OutboxState.FAILED
    assert job.last_error
    told = told_of_loss(office)
    assert "could not be brought" in told
    assert ("550 5.1.1" in told) == (why == "refused")
    assert "127.0.0.1" not in told
    assert "bob@x.example" in told
    holding.recall(office.holder.store, delivery_id, actor="sender", now=time.time())
    assert state(office) == ReplyState.ERASED
    assert readable(office) == []
    office.holder.store.close()


@pytest.mark.behaviour("P12")
def test_a_reply_whose_message_ended_is_not_sent(office: Office) -> None:
    delivery_id = queue_reply(office, "ann@site.example")
    holding.recall(office.holder.store, delivery_id, actor="sender", now=time.time())
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    assert [mail for _, mail in office.mailbox.mails if mail["Subject"] == "Re: results"] == []
    assert readable(office) == []
    assert "ended before it was certain" in told_of_loss(office)


@pytest.mark.behaviour("P8")
def test_a_reply_that_is_too_large_is_given_up_at_once_and_the_sender_told(office: Office) -> None:
    queue_reply(office, "ann@site.example", "carol@site.example")
    office.mailbox.full = "552 5.3.4 Message size exceeds fixed limit"
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    assert state(office) == ReplyState.FAILED
    assert "552 5.3.4 Message size exceeds fixed limit" in told_of_loss(office)


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize("refused", ["here", "away"])
def test_what_was_refused_is_remembered_until_everybody_was_tried(office: Office, refused: str) -> None:
    """One recipient gets an answer at once, the other only when the way to it is open again."""
    queue_reply(office, "ann@site.example", "out@elsewhere.example")
    ordinary = office.runner._replies
    office.runner._replies = without_way_out(office)
    office.mailbox.refused.add("ann@site.example" if refused == "here" else "out@elsewhere.example")
    mta = office.up()
    try:
        office.run()
        assert state(office) == ReplyState.QUEUED
        office.runner._replies = ordinary
        office.run()
    finally:
        mta.stop()
    assert state(office) == ReplyState.SENT
    assert "550 5.1.1 no such user" in told_of_loss(office)


@pytest.mark.behaviour("P8")
def test_the_sender_hears_of_a_reply_that_some_could_not_get(office: Office) -> None:
    queue_reply(office, "ann@site.example", "carol@site.example")
    office.mailbox.refused.add("carol@site.example")
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    assert state(office) == ReplyState.SENT
    assert "could not be brought to everybody" in told_of_loss(office)


def test_the_spool_gives_back_what_it_was_given() -> None:
    for size in (0, 1, 65_535, 65_536, 65_537, 200_000):
        spool = SealedSpool(DataKey.fresh(new_id()))
        content = bytes(index % 251 for index in range(size))
        for start in range(0, size, 7_001):
            spool.write(content[start : start + 7_001])
        spool.finish()
        assert b"".join(spool.read()) == content
        assert b"".join(spool.read()) == content
        assert content[:16] not in b"".join(spool.chunks()) or size < 16
        spool.close()
