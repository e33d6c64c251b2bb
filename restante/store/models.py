"""The tables.  What could betray a message (subject, file names, findings) is only here sealed."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    true,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

ID = String(32)
AUTOINCREMENT = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can speak of them on both databases."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {float: Double(), bytes: LargeBinary(), dict[str, Any]: JSON()}  # noqa: RUF012  SQLAlchemy's own form


class DeliveryState(StrEnum):
    """Where one recipient's copy is."""

    LEFT_WITH_MTA = "left-with-mta"  # never ours: recorded so that the sender can be told
    HANDOVER = "handover"  # the worker will give it to the MTA under mandatory TLS
    HANDED_OVER = "handed-over"
    QUARANTINED = "quarantined"
    HELD = "held"
    OPENED = "opened"
    REJECTED = "rejected"
    DELETED = "deleted"
    RECALLED = "recalled"
    EXPIRED = "expired"


LIVE_STATES = frozenset({DeliveryState.HANDOVER, DeliveryState.QUARANTINED, DeliveryState.HELD, DeliveryState.OPENED})
"""States in which the content is still needed; when no delivery is in one, the data key is destroyed."""


class LinkState(StrEnum):
    """A link opens only while live."""

    LIVE = "live"
    USED = "used"
    SUPERSEDED = "superseded"
    REVOKED = "revoked"


class OutboxState(StrEnum):
    """A job of the worker."""

    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"


class JobKind(StrEnum):
    """What the worker is asked to do."""

    NOTIFY = "notify"  # mint links, tell recipients, then tell the sender
    HANDOVER = "handover"  # give the message to the MTA for mandatory TLS
    HEAL = "heal"  # deliver a copy that waits unopened, once its domain was seen with TLS twice
    TELL_REJECTED = "tell-rejected"  # tell the sender that a reviewer or a rule refused
    REPLY = "reply"  # send what a recipient wrote in the portal
    RECEIPT = "receipt"  # tell the sender, or the operator, what became of one copy
    SIGN_IN = "sign-in"  # tell an address that its ways to sign in were changed


class ReplyState(StrEnum):
    """Where a recipient's reply is.  Only a draft and a queued reply have content."""

    DRAFT = "draft"
    QUEUED = "queued"  # the worker will send it
    SENT = "sent"
    FAILED = "failed"  # the MTA would not have it; kept sealed until the message ends
    ERASED = "erased"  # the message ended before it was sent


class Epoch(Base):
    """A span of time in which shares are sealed to one key, whose private half only the key ring has.

    Nobody seals to it after ``seals_until``, nor once ``closed_at`` is set.
    """

    __tablename__ = "epochs"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    public_key: Mapped[bytes]
    opened_at: Mapped[float]
    seals_until: Mapped[float]
    closed_at: Mapped[float | None]


class Erasure(Base):
    """A blob whose data key was destroyed here, and whose share is still to be erased from the key ring."""

    __tablename__ = "erasures"
    blob_id: Mapped[str] = mapped_column(ID, primary_key=True)
    epoch_id: Mapped[str] = mapped_column(ID)


class Blob(Base):
    """Sealed bytes.  ``wrapped_key`` is NULL once destroyed; then nothing opens it.

    ``epoch_id`` is NULL where the key is not locked: it opens without the key ring, in old backups too.
    """

    __tablename__ = "blobs"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    key_id: Mapped[str] = mapped_column(String(32))
    epoch_id: Mapped[str | None] = mapped_column(ID, index=True)
    wrapped_key: Mapped[bytes | None]
    size: Mapped[int] = mapped_column(BigInteger)


class BlobSegment(Base):
    """Consecutive sealed chunks of a blob, :data:`restante.store.blobs.CHUNKS_PER_SEGMENT` of them in each row."""

    __tablename__ = "blob_segments"
    blob_id: Mapped[str] = mapped_column(ForeignKey("blobs.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    data: Mapped[bytes]


class Message(Base):
    """A message of which at least one recipient's copy is or was ours.

    ``fingerprint`` is keyed: it recognises a retry and tells nothing to who has only the database.  ``summary`` is
    sealed JSON: subject, attachments' names, findings.  ``extend_until`` is as long as its sender may have it kept.
    """

    __tablename__ = "messages"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    created_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)
    extend_until: Mapped[float | None]
    sender: Mapped[str] = mapped_column(Text)
    header_message_id: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[bytes] = mapped_column(unique=True)
    blob_id: Mapped[str] = mapped_column(ForeignKey("blobs.id"), unique=True)
    size: Mapped[int] = mapped_column(BigInteger)
    rule: Mapped[str] = mapped_column(String(64))
    requirement: Mapped[str] = mapped_column(String(16))
    always_code: Mapped[bool]
    view_only: Mapped[bool] = mapped_column(default=False, server_default=false())
    four_eyes: Mapped[bool] = mapped_column(default=False, server_default=false())
    code_way: Mapped[str] = mapped_column(String(16), default="sender", server_default="sender")
    notice: Mapped[str] = mapped_column(String(16), default="link", server_default="link")
    reply: Mapped[str] = mapped_column(String(16), default="sender", server_default="sender")
    enrolled: Mapped[bool] = mapped_column(default=True, server_default=true())
    summary: Mapped[bytes]

    blob: Mapped[Blob] = relationship()
    deliveries: Mapped[list[Delivery]] = relationship(back_populates="message", order_by="Delivery.recipient")


class Delivery(Base):
    """One recipient's copy of a message.

    ``approved_by`` is the first of two reviewers where the message needs two; NULL until then.  While ``frozen_at`` is
    set, nobody opens it (:mod:`restante.store.freezing`).
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        UniqueConstraint("message_id", "recipient"),
        Index("ix_deliveries_state_created_at_id", "state", "created_at", "id"),
    )
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"))
    recipient: Mapped[str] = mapped_column(Text)
    domain: Mapped[str] = mapped_column(Text, index=True)
    route: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[float]
    changed_at: Mapped[float]
    approved_by: Mapped[str | None] = mapped_column(String(80))
    approved_at: Mapped[float | None]
    frozen_at: Mapped[float | None]

    message: Mapped[Message] = relationship(back_populates="deliveries")


class Correspondent(Base):
    """Somebody, or some domain, that this site has written to: a keyed digest, on how many days, and when last.

    ``last_day`` counts days since 1970 in UTC.
    """

    __tablename__ = "correspondents"
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    days: Mapped[int]
    last_day: Mapped[int] = mapped_column(index=True)


class Link(Base):
    """A one-time link.  Only hashes of token, number and code are kept.

    ``number_hash`` is NULL for a notice without a link, whose number is the token; ``code_way`` is by which way the
    code went (:class:`restante.access.CodeWay`).
    """

    __tablename__ = "links"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    number_hash: Mapped[bytes | None]
    code_hash: Mapped[str | None] = mapped_column(Text)
    code_way: Mapped[str] = mapped_column(String(16), default="sender", server_default="sender")
    state: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[float]
    expires_at: Mapped[float]
    used_at: Mapped[float | None]


class FreshAsk(Base):
    """Somebody asked for a fresh link.  Whether there is one to send, the worker finds out: the portal must not show.

    ``number_hash`` is NULL where the notice had no link.  ``by_code``: they can no longer sign in, and want a code.
    """

    __tablename__ = "fresh_asks"
    id: Mapped[int] = mapped_column(AUTOINCREMENT, primary_key=True, autoincrement=True)
    token_hash: Mapped[bytes]
    number_hash: Mapped[bytes | None]
    asked_at: Mapped[float]
    by_code: Mapped[bool] = mapped_column(default=False, server_default=false())


class AgreedPhrase(Base):
    """A phrase that was agreed with a recipient beforehand; only its slow hash is kept."""

    __tablename__ = "agreed_phrases"
    recipient: Mapped[str] = mapped_column(String(320), primary_key=True)
    phrase_hash: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[float]
    changed_by: Mapped[str] = mapped_column(String(80))


class PickupSession(Base):
    """The pickup window: one browser may read until ``ends_at``.

    ``proof`` is what it was opened with (:class:`restante.access.Proof`); empty for those of an earlier release.
    """

    __tablename__ = "pickup_sessions"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    link_id: Mapped[str] = mapped_column(ForeignKey("links.id"), unique=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"), index=True)
    opened_at: Mapped[float]
    ends_at: Mapped[float]
    proof: Mapped[str] = mapped_column(String(16), default="", server_default="")


class Enrolment(Base):
    """That a recipient has set a way to sign in (:mod:`restante.store.enrolments`).

    ``address_hash`` is keyed; ``address`` and ``greeting`` are sealed to portal and worker; ``password``, the slow hash
    of a password with the key of its one-time codes, to the portal alone.  ``proof`` is what the enrolment rests on,
    ``user_handle`` what passkeys call it, ``last_step`` the step of the latest one-time code that was used.
    """

    __tablename__ = "enrolments"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    address_hash: Mapped[bytes] = mapped_column(unique=True)
    address: Mapped[bytes]
    proof: Mapped[str] = mapped_column(String(16))
    user_handle: Mapped[bytes]
    greeting: Mapped[bytes | None]
    password: Mapped[bytes | None]
    last_step: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]


class Passkey(Base):
    """A passkey of an enrolled recipient.  ``sealed`` holds its public key, sealed to the portal alone."""

    __tablename__ = "passkeys"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    enrolment_id: Mapped[str] = mapped_column(ForeignKey("enrolments.id", ondelete="CASCADE"), index=True)
    credential_hash: Mapped[bytes] = mapped_column(unique=True)
    sealed: Mapped[bytes]
    sign_count: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[float]


class RecipientSession(Base):
    """A signed-in browser of an enrolled recipient; ended on the server, not by the cookie."""

    __tablename__ = "recipient_sessions"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    enrolment_id: Mapped[str] = mapped_column(ForeignKey("enrolments.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[float]
    ends_at: Mapped[float]


class SpentChallenge(Base):
    """What was used and is good for one use, until it would be out of date: a challenge to a passkey that was answered,
    the address of a file.
    """

    __tablename__ = "spent_challenges"
    challenge_hash: Mapped[bytes] = mapped_column(primary_key=True)
    ends_at: Mapped[float] = mapped_column(index=True)


class SenderLink(Base):
    """The way of a message's sender to the page about it.  Only hashes of token and number are kept.

    ``sender_digest`` is the sender's address, keyed: by it the page finds the sender's preferences.
    """

    __tablename__ = "sender_links"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    number_hash: Mapped[bytes]
    sender_digest: Mapped[bytes]
    created_at: Mapped[float]


class SenderSession(Base):
    """One browser in which the sender may see and steer a message until ``ends_at``."""

    __tablename__ = "sender_sessions"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    link_id: Mapped[str] = mapped_column(ForeignKey("sender_links.id"), index=True)
    opened_at: Mapped[float]
    ends_at: Mapped[float]


class ReceiptNote(Base):
    """Something happened to a copy of which its sender is told, once for each ``occasion``."""

    __tablename__ = "receipts"
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"), primary_key=True)
    event: Mapped[str] = mapped_column(String(16), primary_key=True)
    occasion: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[float]


class SenderPreference(Base):
    """Which receipts a sender wants by mail, by name and apart by commas.  The address is only here as keyed digest."""

    __tablename__ = "sender_preferences"
    digest: Mapped[bytes] = mapped_column(primary_key=True)
    mailed: Mapped[str] = mapped_column(Text)
    changed_at: Mapped[float]


class Reply(Base):
    """What a recipient writes back.

    Of a draft, ``wrapped_key`` is a data key, sealed with that of the message, and ``text`` a note under it.  Of a
    queued reply, ``blob_id`` names the finished mail, sealed to the worker.
    """

    __tablename__ = "replies"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    delivery_id: Mapped[str] = mapped_column(ForeignKey("deliveries.id"), index=True)
    state: Mapped[str] = mapped_column(String(16))
    wrapped_key: Mapped[bytes | None]
    text: Mapped[bytes | None]
    blob_id: Mapped[str | None] = mapped_column(ForeignKey("blobs.id"))
    created_at: Mapped[float]
    changed_at: Mapped[float]


class ReplyFile(Base):
    """A file of a draft: a blob whose key is sealed with the draft's; ``about`` holds its name and kind, sealed."""

    __tablename__ = "reply_files"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    reply_id: Mapped[str] = mapped_column(ForeignKey("replies.id"), index=True)
    number: Mapped[int] = mapped_column(Integer)
    blob_id: Mapped[str] = mapped_column(ForeignKey("blobs.id"), unique=True)
    about: Mapped[bytes]


class OutboxJob(Base):
    """A promise that the worker keeps.  ``sealed`` holds a data key, sealed to the worker; NULL once done."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_state_due_at", "state", "due_at"),)
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    kind: Mapped[str] = mapped_column(String(24))
    message_id: Mapped[str] = mapped_column(ForeignKey("messages.id"), index=True)
    payload: Mapped[dict[str, Any]]
    sealed: Mapped[bytes | None]
    state: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int]
    created_at: Mapped[float]
    due_at: Mapped[float]
    last_error: Mapped[str] = mapped_column(Text)


class TlsEvidence(Base):
    """The evidence cache: :class:`restante.tls.evidence.Evidence` as JSON."""

    __tablename__ = "tls_evidence"
    domain: Mapped[str] = mapped_column(String(255), primary_key=True)
    level: Mapped[str] = mapped_column(String(16))
    checked_at: Mapped[float]
    stale_until: Mapped[float] = mapped_column(index=True)
    evidence: Mapped[dict[str, Any]]


class StsPolicyRow(Base):
    """An MTA-STS policy (:class:`restante.tls.sts_policy.KnownPolicy`), in force until ``expires_at``."""

    __tablename__ = "sts_policies"
    domain: Mapped[str] = mapped_column(String(255), primary_key=True)
    policy_id: Mapped[str] = mapped_column(String(32))
    mode: Mapped[str] = mapped_column(String(16))
    mx: Mapped[dict[str, Any]]
    max_age: Mapped[int]
    fetched_at: Mapped[float]
    expires_at: Mapped[float] = mapped_column(index=True)


class TlsHistory(Base):
    """Since when and how often a domain was seen with TLS: what the strip alarm compares with.  0 means never."""

    __tablename__ = "tls_history"
    domain: Mapped[str] = mapped_column(String(255), primary_key=True)
    positives: Mapped[int]
    last_positive_at: Mapped[float]
    alarmed_at: Mapped[float]


class DeliveryEvidence(Base):
    """One copy that a peer accepted, as the MTA's log has it (:class:`restante.store.delivered.Delivered`)."""

    __tablename__ = "delivery_evidence"
    id: Mapped[int] = mapped_column(AUTOINCREMENT, primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(index=True)
    queue_id: Mapped[str] = mapped_column(String(32), index=True)
    header_message_id: Mapped[str] = mapped_column(Text, index=True)
    recipient: Mapped[str] = mapped_column(Text, index=True)
    transport: Mapped[str] = mapped_column(String(32))
    relay: Mapped[str] = mapped_column(Text)
    tls_version: Mapped[str] = mapped_column(String(32))
    cipher: Mapped[str] = mapped_column(String(80))
    certificate: Mapped[str] = mapped_column(String(16))
    reply: Mapped[str] = mapped_column(Text)


class LogPosition(Base):
    """How far a mail log was read, and what the reader must know to go on from there."""

    __tablename__ = "log_positions"
    source: Mapped[str] = mapped_column(String(255), primary_key=True)
    position: Mapped[dict[str, Any]]


class Administrator(Base):
    """Someone who may review.  ``role`` is for later roles; now everyone is a reviewer."""

    __tablename__ = "administrators"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    password_hash: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[float]
    disabled_at: Mapped[float | None]


class AdminSession(Base):
    """A signed-in browser of an administrator; ended on the server, not by the cookie."""

    __tablename__ = "admin_sessions"
    id: Mapped[str] = mapped_column(ID, primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    administrator_id: Mapped[str] = mapped_column(ForeignKey("administrators.id"), index=True)
    created_at: Mapped[float]
    ends_at: Mapped[float]


class Throttle(Base):
    """How often something was tried within a window.  ``bucket`` is a hash of what is counted."""

    __tablename__ = "throttles"
    bucket: Mapped[bytes] = mapped_column(primary_key=True)
    count: Mapped[int]
    window_ends_at: Mapped[float]


class AuditRecord(Base):
    """What happened, to what, by whom.  Written in the transaction of the change itself."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(AUTOINCREMENT, primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(80))
    action: Mapped[str] = mapped_column(String(40))
    message_id: Mapped[str | None] = mapped_column(ID, index=True)
    delivery_id: Mapped[str | None] = mapped_column(ID)
    detail: Mapped[dict[str, Any]]
