"""What replies hold, and how it is destroyed: with the copy that they answer, or once they are sent.

A draft's data key is sealed with the message's, the keys of its files with the draft's: who cannot open the message
cannot open the drafts about it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from restante.receipts import Receipt
from restante.store import audit, receipts
from restante.store.blobs import destroy_blob, put_blob
from restante.store.engine import new_id
from restante.store.models import Blob, Delivery, Reply, ReplyFile, ReplyState
from restante.vault import DataKey, Sealer

_ANSWER = re.compile(r"[45][0-9]{2}[ -]")  # how a mail server's words begin (RFC 5321, section 4.2)
_WITH_CONTENT = (ReplyState.DRAFT, ReplyState.QUEUED, ReplyState.FAILED)
_KEY, _ABOUT = "reply-key", "reply-file"


@dataclass(frozen=True, slots=True)
class DraftFile:
    """A file of a draft.  ``digest`` is keyed: the same file, sent twice, is known by it."""

    id: str
    name: str = field(repr=False)
    kind: str
    size: int
    digest: str
    key: DataKey = field(repr=False)


class _DraftSealer(Sealer):
    """Seals the key of a file with that of its draft."""

    def __init__(self, draft: DataKey) -> None:
        self.key_id = "draft"
        self._draft = draft

    def wrap(self, key: DataKey) -> bytes:
        return self._draft.seal_note(key.secret, f"{_KEY}/{key.blob_id}")


def wrap_draft_key(message: DataKey, draft: DataKey) -> bytes:
    """The draft's data key, sealed with the message's."""
    return message.seal_note(draft.secret, f"{_KEY}/{draft.blob_id}")


def open_draft_key(message: DataKey, reply_id: str, wrapped: bytes) -> DataKey:
    """Inverse of :func:`wrap_draft_key`.  Raises :class:`restante.vault.CannotOpen`."""
    return DataKey(reply_id, message.open_note(wrapped, f"{_KEY}/{reply_id}"))


def put_file(
    session: Session,
    draft: DataKey,
    number: int,
    about: DraftFile,
    chunks: Iterator[bytes],
) -> None:
    """Store a file of a draft; ``chunks`` are sealed with ``about.key``."""
    put_blob(session, about.key, _DraftSealer(draft), about.size, chunks)
    note = {"name": about.name, "kind": about.kind, "size": about.size, "digest": about.digest}
    note["key"] = base64.b64encode(about.key.secret).decode()
    session.add(
        ReplyFile(
            id=about.id,
            reply_id=draft.blob_id,
            number=number,
            blob_id=about.key.blob_id,
            about=draft.seal_note(json.dumps(note).encode(), f"{_ABOUT}/{about.id}"),
        )
    )


def files_of(session: Session, draft: DataKey) -> tuple[DraftFile, ...]:
    """The files of a draft in the order of their coming.  Raises :class:`restante.vault.CannotOpen`."""
    rows = session.scalars(
        select(ReplyFile).where(ReplyFile.reply_id == draft.blob_id).order_by(ReplyFile.number, ReplyFile.id)
    )
    found = []
    for row in rows:
        note = json.loads(draft.open_note(row.about, f"{_ABOUT}/{row.id}"))
        key = DataKey(row.blob_id, base64.b64decode(note["key"]))
        found.append(DraftFile(row.id, note["name"], note["kind"], note["size"], note["digest"], key))
    return tuple(found)


def forget_file(session: Session, reply_id: str, file_id: str) -> bool:
    """Destroy one file of a draft; false where it is not there."""
    row = session.scalar(select(ReplyFile).where(ReplyFile.reply_id == reply_id, ReplyFile.id == file_id))
    if row is None:
        return False
    _forget_blob(session, row)
    return True


def forget_draft(session: Session, reply: Reply) -> None:
    """Destroy text and files of a draft."""
    for row in session.scalars(select(ReplyFile).where(ReplyFile.reply_id == reply.id)).all():
        _forget_blob(session, row)
    reply.wrapped_key = reply.text = None


def forget_mail(session: Session, reply: Reply) -> None:
    """Destroy the finished mail of a reply that waited to be sent."""
    if reply.blob_id is not None:
        blob = session.get_one(Blob, reply.blob_id)
        reply.blob_id = None
        session.flush()
        destroy_blob(session, blob)
        session.delete(blob)


def erase_replies(session: Session, delivery_id: str, message_id: str, *, now: float) -> None:
    """The copy is over: so are drafts of replies to it, and replies not yet sent.  One audit record for each."""
    waiting = select(Reply).where(Reply.delivery_id == delivery_id, Reply.state.in_(_WITH_CONTENT)).with_for_update()
    for reply in session.scalars(waiting).all():
        before, reply.state, reply.changed_at = reply.state, ReplyState.ERASED, now
        forget_draft(session, reply)
        forget_mail(session, reply)
        audit.record(
            session, now, "worker", "erased-reply", message_id=message_id, delivery_id=delivery_id, was=str(before)
        )
        if before == ReplyState.QUEUED:
            tell_lost(session, reply, "", now=now)


def tell_lost(session: Session, reply: Reply, why: str, *, now: float) -> None:
    """Have the sender of the message told that ``reply`` did not come; ``why`` is empty where its message ended first.

    Of what went wrong only a mail server's words are told.
    """
    message_id = session.get_one(Delivery, reply.delivery_id).message_id
    words = receipts.in_one_line(why)[:200]
    detail = {"reply": words if _ANSWER.match(words) else "", "was": "" if why else "ended"}
    receipts.note(session, Receipt.REPLY_LOST, message_id, reply.delivery_id, now, occasion=reply.id, **detail)


def _forget_blob(session: Session, row: ReplyFile) -> None:
    blob = session.get_one(Blob, row.blob_id)
    session.delete(row)
    session.flush()
    destroy_blob(session, blob)
    session.delete(blob)


def new_file(key: DataKey, name: str, kind: str, size: int, digest: str) -> DraftFile:
    """A file that comes into a draft."""
    return DraftFile(new_id(), name, kind, size, digest, key)
