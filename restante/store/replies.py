"""Replies that recipients write in the portal: drafts, sending once, and what the worker does with them.

A reply is named by an id that its page brought along, so that a form that is sent twice is one reply.  A draft belongs
to the recipient's copy, not to the browser: whoever opens the message again finds it.  What another page has saved
meanwhile is not overwritten: then there are two drafts, and the later one is shown first.

Every change of a reply's state is one function here, one transaction, one audit record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import CursorResult, Select, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from restante.receipts import Receipt
from restante.sealed_spool import SealedSpool
from restante.store import audit, receipts
from restante.store.blobs import put_blob
from restante.store.engine import Store, new_id
from restante.store.epochs import lock_key
from restante.store.holding import queue_job
from restante.store.models import (
    Blob,
    Delivery,
    DeliveryState,
    JobKind,
    Message,
    OutboxJob,
    OutboxState,
    Reply,
    ReplyState,
)
from restante.store.reply_content import (
    DraftFile,
    files_of,
    forget_draft,
    forget_file,
    forget_mail,
    new_file,
    open_draft_key,
    put_file,
    tell_lost,
    wrap_draft_key,
)
from restante.vault import DataKey, Opener, Sealer

MOST_DRAFTS = 5
MOST_FILES = 20


class AlreadySent(Exception):
    """This reply is on its way, or was sent.  Nothing was changed; say so to whoever sent the form again."""


class NotADraft(Exception):
    """The draft was changed or discarded meanwhile, or the message is over.  Look again."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft that was opened.  ``stamp`` names what was saved last; ``also`` are the others whom it is to reach."""

    reply_id: str
    stamp: str
    text: str = field(repr=False)
    also: tuple[str, ...]
    files: tuple[DraftFile, ...]
    key: DataKey = field(repr=False)

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Brought:
    """A file that came with a form, sealed in ``spool``.  ``digest`` is plain and not stored as it is."""

    name: str = field(repr=False)
    kind: str
    digest: bytes = field(repr=False)
    spool: SealedSpool = field(repr=False)


@dataclass(frozen=True, slots=True)
class Written:
    """What a form says of a reply.  ``stamp`` is that of the draft that its page showed; empty for none."""

    reply_id: str
    stamp: str
    text: str = field(repr=False)
    also: tuple[str, ...] = ()
    remove: frozenset[str] = frozenset()
    files: tuple[Brought, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """The draft after saving, and the names of files that it had no room for."""

    draft: Draft
    refused: tuple[str, ...] = field(default=(), repr=False)


def latest_draft(store: Store, message: DataKey, delivery_id: str) -> Draft | None:
    """The draft that was saved last; ``None`` where there is none.  Raises ``CannotOpen``."""
    with store.read() as session:
        row = session.scalars(_drafts_of(delivery_id).limit(1)).one_or_none()
        return _opened(session, message, row) if row is not None else None


def has_replied(store: Store, delivery_id: str) -> bool:
    """Whether a reply to this copy is on its way, or was sent."""
    with store.read() as session:
        on_its_way = Reply.state.in_([ReplyState.QUEUED, ReplyState.SENT])
        return session.scalar(select(Reply.id).where(Reply.delivery_id == delivery_id, on_its_way).limit(1)) is not None


def recipients_of(store: Store, message_id: str) -> tuple[str, ...]:
    """Everyone whom the message reached, or will reach without a reviewer."""
    gone = [DeliveryState.QUARANTINED, DeliveryState.REJECTED, DeliveryState.DELETED, DeliveryState.RECALLED]
    with store.read() as session:
        rows = session.scalars(
            select(Delivery.recipient).where(Delivery.message_id == message_id, Delivery.state.not_in(gone))
        )
        return tuple(rows)


def save(store: Store, message: DataKey, delivery_id: str, written: Written, *, most_bytes: int, now: float) -> Saved:
    """Keep what was written as a draft.  Raises :class:`AlreadySent`, :class:`NotADraft` and ``CannotOpen``.

    ``most_bytes`` bounds all files together; those that do not fit are refused, the rest is kept.
    """
    for _ in range(3):
        try:
            with store.write() as session:
                message_id = _locked_message(session, delivery_id)
                row = _row_for(session, message, delivery_id, message_id, written, now)
                return _keep(session, message, row, written, most_bytes, now)
        except IntegrityError:
            continue  # the other click of a double click made the draft
    raise NotADraft


def discard(store: Store, delivery_id: str, reply_id: str, *, now: float) -> None:
    """Destroy a draft; nothing happens where there is none."""
    with store.write() as session:
        row = session.get(Reply, reply_id, with_for_update=True)
        if row is None or row.delivery_id != delivery_id or row.state != ReplyState.DRAFT:
            return
        _end(session, row, ReplyState.ERASED, "recipient", "discarded-reply", now)


def drop_file(store: Store, delivery_id: str, draft: Draft, file: DraftFile, *, found: str, now: float) -> None:
    """Destroy a file of a draft in which a scanner found something, and record it under the name ``found``."""
    with store.write() as session:
        if forget_file(session, draft.reply_id, file.id):
            message_id = session.get_one(Delivery, delivery_id).message_id
            audit.record(
                session,
                now,
                "recipient",
                "refused-infected-file",
                message_id=message_id,
                delivery_id=delivery_id,
                found=found[:80],
                size=file.size,
            )


def send(
    store: Store,
    worker: Sealer,
    delivery_id: str,
    draft: Draft,
    mail: SealedSpool,
    recipients: Sequence[str],
    parameters: Sequence[str],
    *,
    now: float,
) -> None:
    """The draft becomes a mail that the worker sends: once, however often this is called.

    ``mail`` is the finished mail, which from here on the worker alone opens; ``parameters`` are those of MAIL.
    Raises :class:`AlreadySent` and :class:`NotADraft`.
    """
    with store.write() as session:
        message_id = _locked_message(session, delivery_id)
        won = session.execute(
            update(Reply)
            .where(Reply.id == draft.reply_id, Reply.delivery_id == delivery_id, Reply.state == ReplyState.DRAFT)
            .values(state=ReplyState.QUEUED, changed_at=now)
        )
        if not isinstance(won, CursorResult) or won.rowcount != 1:
            raise AlreadySent if _is_sent(session, draft.reply_id) else NotADraft
        row = session.get_one(Reply, draft.reply_id, populate_existing=True)
        if row.text is None or _stamp(row.text) != draft.stamp:
            raise NotADraft  # something else was saved while this was being made ready
        forget_draft(session, row)
        put_blob(session, lock_key(session, mail.key, now), worker, mail.size, mail.chunks())
        row.blob_id = mail.key.blob_id
        payload = {"reply": row.id, "recipients": list(recipients), "mail": list(parameters), "deliveries": []}
        queue_job(session, JobKind.REPLY, message_id, payload, now)
        receipts.note(session, Receipt.REPLIED, message_id, delivery_id, now, occasion=row.id)
        audit.record(
            session,
            now,
            "recipient",
            "replied",
            message_id=message_id,
            delivery_id=delivery_id,
            recipients=len(recipients),
            files=len(draft.files),
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """A reply that the worker is to send.  ``key`` opens its mail of ``size`` bytes."""

    size: int
    key: DataKey = field(repr=False)


def waiting(store: Store, opener: Opener, reply_id: str) -> Waiting | None:
    """The reply, where it still waits to be sent.  Raises ``CannotOpen``."""
    with store.read() as session:
        row = session.get(Reply, reply_id)
        if row is None or row.state != ReplyState.QUEUED or row.blob_id is None:
            return None
        blob = session.get_one(Blob, row.blob_id)
        return Waiting(blob.size, opener.unwrap(blob.id, blob.wrapped_key))


def settle(store: Store, job_id: str, reply_id: str, *, error: str = "", lost: str = "", now: float) -> None:
    """The MTA has the reply, or with an ``error``, will not have it: then it stays sealed until its message ends.

    ``lost`` is why somebody does not get it, which the sender of the message is told.
    """
    with store.write() as session:
        failed = bool(error)
        session.execute(
            update(OutboxJob)
            .where(OutboxJob.id == job_id)
            .values(state=OutboxState.FAILED if failed else OutboxState.DONE, last_error=error[:500])
        )
        row = session.get(Reply, reply_id, with_for_update=True)
        if row is None or row.state != ReplyState.QUEUED:
            return
        if failed:
            row.state, row.changed_at = ReplyState.FAILED, now
            _record(session, row, "worker", "reply-failed", now, error=error[:200])
        else:
            _end(session, row, ReplyState.SENT, "worker", "sent-reply", now)
        if lost:
            tell_lost(session, row, lost, now=now)


def _drafts_of(delivery_id: str) -> Select[Reply]:
    drafts = select(Reply).where(Reply.delivery_id == delivery_id, Reply.state == ReplyState.DRAFT)
    return drafts.order_by(Reply.changed_at.desc(), Reply.id)


def _locked_message(session: Session, delivery_id: str) -> str:
    """The id of the message, locked against its end meanwhile.  Raises :class:`NotADraft` where it has come."""
    message_id = session.scalar(
        select(Message.id).join(Delivery).where(Delivery.id == delivery_id).with_for_update(of=Message)
    )
    delivery = session.get(Delivery, delivery_id, populate_existing=True)
    if (
        message_id is None
        or delivery is None
        or delivery.state != DeliveryState.OPENED
        or delivery.frozen_at is not None
    ):
        raise NotADraft
    return message_id


def _row_for(
    session: Session, message: DataKey, delivery_id: str, message_id: str, written: Written, now: float
) -> Reply:
    """The row to write to: that of the form, or a new one where that would overwrite what its page did not show."""
    row = session.get(Reply, written.reply_id, with_for_update=True)
    if row is not None and row.delivery_id != delivery_id:
        raise NotADraft
    if row is not None and row.state in {ReplyState.QUEUED, ReplyState.SENT}:
        raise AlreadySent
    if row is not None and row.state == ReplyState.DRAFT:
        known = _opened(session, message, row)
        if known.stamp == written.stamp or known.text in written.text:
            return row
    reply_id = written.reply_id if row is None else new_id()
    drafts = session.scalars(_drafts_of(delivery_id)).all()
    for oldest in drafts[MOST_DRAFTS - 1 :]:
        _end(session, oldest, ReplyState.ERASED, "recipient", "discarded-reply", now)
    key = DataKey.fresh(reply_id)
    row = Reply(
        id=reply_id,
        delivery_id=delivery_id,
        state=ReplyState.DRAFT,
        wrapped_key=wrap_draft_key(message, key),
        text=None,
        blob_id=None,
        created_at=now,
        changed_at=now,
    )
    session.add(row)
    session.flush()
    audit.record(session, now, "recipient", "began-reply", message_id=message_id, delivery_id=delivery_id)
    return row


def _keep(session: Session, message: DataKey, row: Reply, written: Written, most_bytes: int, now: float) -> Saved:
    if row.wrapped_key is None:
        raise NotADraft
    key = open_draft_key(message, row.id, row.wrapped_key)
    for file_id in written.remove:
        forget_file(session, row.id, file_id)
    session.flush()
    have = list(files_of(session, key))
    refused = []
    for brought in written.files:
        digest = hashlib.blake2b(brought.digest, key=key.secret, digest_size=16).hexdigest()
        if any((file.name, file.digest) == (brought.name, digest) for file in have):
            continue  # the same form, sent again
        if len(have) >= MOST_FILES or sum(file.size for file in have) + brought.spool.size > most_bytes:
            refused.append(brought.name)
            continue
        file = new_file(brought.spool.key, brought.name, brought.kind, brought.spool.size, digest)
        put_file(session, key, len(have), file, brought.spool.chunks())
        have.append(file)
    note = json.dumps({"text": written.text, "also": list(written.also)}).encode()
    row.text, row.changed_at = key.seal_note(note, "reply"), now
    draft = Draft(row.id, _stamp(row.text), written.text, written.also, tuple(have), key)
    return Saved(draft, tuple(refused))


def _opened(session: Session, message: DataKey, row: Reply) -> Draft:
    if row.wrapped_key is None or row.text is None:
        raise NotADraft
    key = open_draft_key(message, row.id, row.wrapped_key)
    note = json.loads(key.open_note(row.text, "reply"))
    return Draft(row.id, _stamp(row.text), note["text"], tuple(note["also"]), files_of(session, key), key)


def _stamp(sealed: bytes) -> str:
    return hashlib.sha256(sealed).hexdigest()[:16]


def _is_sent(session: Session, reply_id: str) -> bool:
    row = session.get(Reply, reply_id, populate_existing=True)
    return row is not None and row.state in {ReplyState.QUEUED, ReplyState.SENT}


def _end(session: Session, row: Reply, state: ReplyState, actor: str, action: str, now: float) -> None:
    row.state, row.changed_at = state, now
    forget_draft(session, row)
    forget_mail(session, row)
    _record(session, row, actor, action, now)


def _record(session: Session, row: Reply, actor: str, action: str, now: float, **detail: str) -> None:
    message_id = session.get_one(Delivery, row.delivery_id).message_id
    audit.record(session, now, actor, action, message_id=message_id, delivery_id=row.delivery_id, **detail)
