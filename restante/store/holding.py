"""Every state change of a held message: one function, one transaction, one audit record for each delivery.

A change that the present state does not allow raises :class:`IllegalTransition` and changes nothing, so that two
reviewers, or a reviewer and the clock, cannot both have their way.  When the last delivery of a message leaves the
live states, the data key and the sealed bytes are destroyed in the same transaction.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from restante.access import CodeWay, NoticeForm, Proof
from restante.receipts import Receipt
from restante.reply import ReplyTo
from restante.routing import Route
from restante.store import audit, receipts
from restante.store.approval import agreed
from restante.store.blobs import destroy_blob, put_blob
from restante.store.engine import Store, new_id
from restante.store.epochs import lock_key
from restante.store.jobs import job_row
from restante.store.models import (
    LIVE_STATES,
    AuditRecord,
    Base,
    Delivery,
    DeliveryState,
    JobKind,
    Link,
    LinkState,
    Message,
    OutboxJob,
    OutboxState,
    PickupSession,
)
from restante.store.reply_content import erase_replies
from restante.store.rows import put_rows
from restante.tls.evidence import Requirement
from restante.vault import DataKey, Opener, Sealer

S = DeliveryState

TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    S.QUARANTINED: frozenset({S.HELD, S.HANDOVER, S.REJECTED, S.DELETED, S.EXPIRED}),
    S.HELD: frozenset({S.QUARANTINED, S.OPENED, S.HANDOVER, S.DELETED, S.RECALLED, S.EXPIRED}),
    S.OPENED: frozenset({S.OPENED, S.DELETED, S.RECALLED, S.EXPIRED}),
    S.HANDOVER: frozenset({S.HANDED_OVER, S.REJECTED, S.QUARANTINED}),
}
"""What may follow what.  A state that is not a key is final."""

# Built once: building a statement costs more than running it.
_LOCK_MESSAGE = (
    select(Message.id).join(Delivery).where(Delivery.id == bindparam("delivery")).with_for_update(of=Message)
)
_MOVE = (
    update(Base.metadata.tables[Delivery.__tablename__])
    .where(Delivery.id == bindparam("delivery"), Delivery.state.in_(bindparam("allowed", expanding=True)))
    .values(state=bindparam("to"), changed_at=bindparam("now"))
)
_OPEN = _MOVE.where(Delivery.frozen_at.is_(None))

EXPIRING = frozenset(state for state, following in TRANSITIONS.items() if S.EXPIRED in following)


class IllegalTransition(Exception):
    """The delivery is not in a state that allows the change: someone was first.  Show its present state."""

    def __init__(self, delivery_id: str, wanted: DeliveryState) -> None:
        super().__init__(f"delivery {delivery_id} can no longer become {wanted}")
        self.delivery_id, self.wanted = delivery_id, wanted


@dataclass(frozen=True, slots=True)
class HandOver:
    """How a copy is to be delivered by the MTA.

    ``otherwise`` is the way out, ``deadline`` (Unix seconds) the moment from which it is taken; ``next_hop`` is empty
    for the domain's MX hosts.  Copies that differ in any of this are handed over apart.
    """

    requirement: Requirement
    otherwise: str
    deadline: float
    next_hop: str = ""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """One recipient of a message that is being held.

    ``parameters`` are the client's ESMTP parameters of RCPT (NOTIFY, ORCPT: RFC 3461), kept for a hand-over;
    ``handover`` says how; ``None`` means as the message.  ``heal`` has the worker keep a data key of its own, so that
    it can deliver a copy that waits unopened once its domain does TLS; the key goes with the message's.
    """

    recipient: str
    domain: str
    route: Route
    state: DeliveryState
    reason: str
    parameters: tuple[str, ...] = ()
    handover: HandOver | None = None
    heal: bool = False


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A sealed message and what is to become of each recipient's copy.

    ``chunks`` gives the sealed chunks of ``size`` plain bytes, afresh at each call.  ``summary`` is sealed with
    ``key`` as the note "summary".  ``fingerprint`` is the same for a retry of the same message.
    ``mail_parameters`` are the client's ESMTP parameters of MAIL.  Times are Unix seconds.  What was held longer than
    ``retry_seconds`` ago is not what is being retried, but the same message sent again on purpose.  Its sender may
    have it kept until ``extend_until``.
    """

    fingerprint: bytes
    sender: str
    header_message_id: str
    size: int
    key: DataKey = field(repr=False)
    chunks: Callable[[], Iterable[bytes]] = field(repr=False)
    summary: bytes = field(repr=False)
    rule: str
    requirement: Requirement
    otherwise: str
    deadline: float
    expires_at: float
    always_code: bool
    deliveries: tuple[NewDelivery, ...]
    mail_parameters: tuple[str, ...] = ()
    view_only: bool = False
    four_eyes: bool = False
    retry_seconds: float = math.inf
    code_way: CodeWay = CodeWay.SENDER
    notice: NoticeForm = NoticeForm.LINK
    reply: ReplyTo = ReplyTo.SENDER
    enrolled: bool = True
    extend_until: float = 0


def hold(store: Store, vault: Sealer, worker: Sealer, request: HoldRequest, *, actor: str, now: float) -> str:
    """Commit the message; when this returns, it is on disk.  Returns the message's id.

    Idempotent by ``fingerprint``: what an earlier try committed is recognised, and only recipients that it did not
    have are added.  Raises ``StoreUnavailable``; then nothing was kept and the client must be told 4xx.
    """
    for _ in range(3):
        try:
            with store.write() as session:
                request, known_id = _not_yet_held(session, request, now)
                if not request.deliveries:
                    return known_id
                return _insert(session, vault, worker, request, actor, now)
        except IntegrityError:
            # The client's retry and its first try ran side by side, and the other one won: look again.
            continue
    raise RuntimeError("a message lost the race to be held three times")


_MESSAGES = Base.metadata.tables[Message.__tablename__]
_KNOWN = select(_MESSAGES.c.id, _MESSAGES.c.created_at).where(_MESSAGES.c.fingerprint == bindparam("fingerprint"))


def _not_yet_held(session: Session, request: HoldRequest, now: float) -> tuple[HoldRequest, str]:
    """What is left to hold of ``request``, and the id of what was held before; all of it where nothing was."""
    connection = session.connection()
    known_id = ""
    while request.deliveries:
        known = connection.execute(_KNOWN, {"fingerprint": request.fingerprint}).one_or_none()
        if known is None:
            break
        if known.created_at < now - request.retry_seconds:
            request = replace(request, fingerprint=_salted(request.fingerprint, known.id))
            continue
        known_id = known.id
        rows = connection.execute(select(Delivery.recipient, Delivery.state).where(Delivery.message_id == known_id))
        missing = _missing(request.deliveries, {row.recipient: row.state for row in rows})
        salt = "\0".join(sorted(new.recipient for new in missing))
        request = replace(request, deliveries=missing, fingerprint=_salted(request.fingerprint, salt))
    return request, known_id


def _missing(deliveries: tuple[NewDelivery, ...], have: dict[str, str]) -> tuple[NewDelivery, ...]:
    """Those that were never ours.  What was left with the MTA at the first try may have to be taken at this one."""
    ours = {recipient for recipient, state in have.items() if state != S.LEFT_WITH_MTA}
    return tuple(
        new
        for new in deliveries
        if new.recipient not in ours and not (new.recipient in have and new.state == S.LEFT_WITH_MTA)
    )


def _salted(fingerprint: bytes, salt: str) -> bytes:
    """The fingerprint of the rest of a message, or of its next sending."""
    return hashlib.sha256(fingerprint + salt.encode("utf-8", "surrogateescape")).digest()


def _insert(session: Session, vault: Sealer, worker: Sealer, request: HoldRequest, actor: str, now: float) -> str:
    request = replace(request, key=lock_key(session, request.key, now))
    put_blob(session, request.key, vault, request.size, request.chunks())
    message_id = new_id()
    message = {
        "id": message_id,
        "created_at": now,
        "expires_at": request.expires_at,
        "extend_until": request.extend_until or None,
        "sender": request.sender,
        "header_message_id": request.header_message_id,
        "fingerprint": request.fingerprint,
        "blob_id": request.key.blob_id,
        "size": request.size,
        "rule": request.rule,
        "requirement": request.requirement,
        "always_code": request.always_code,
        "view_only": request.view_only,
        "four_eyes": request.four_eyes,
        "code_way": request.code_way,
        "notice": request.notice,
        "reply": request.reply,
        "enrolled": request.enrolled,
        "summary": request.summary,
    }
    put_rows(session, Message, [message])
    rows = [(new, new_id()) for new in request.deliveries]
    put_rows(session, Delivery, [_new_delivery(message_id, new, delivery_id, now) for new, delivery_id in rows])
    taken = [
        audit.row(now, actor, f"took-{new.state}", message_id=message_id, delivery_id=delivery_id, reason=new.reason)
        for new, delivery_id in rows
    ]
    put_rows(session, AuditRecord, taken)
    _queue_jobs(session, worker, request, message_id, rows, now)
    if not any(new.state in LIVE_STATES for new in request.deliveries):
        _destroy_when_finished(session, message_id)  # every copy was refused: only the notice is left to send
    return message_id


def _new_delivery(message_id: str, new: NewDelivery, delivery_id: str, now: float) -> dict[str, Any]:
    return {
        "id": delivery_id,
        "message_id": message_id,
        "recipient": new.recipient,
        "domain": new.domain,
        "route": new.route,
        "state": new.state,
        "reason": new.reason,
        "created_at": now,
        "changed_at": now,
    }


def _queue_jobs(
    session: Session,
    worker: Sealer,
    request: HoldRequest,
    message_id: str,
    rows: list[tuple[NewDelivery, str]],
    now: float,
) -> None:
    """The promises that holding makes: copies to hand over, recipients and sender to tell."""
    as_message = HandOver(request.requirement, request.otherwise, request.deadline)
    handover: dict[HandOver, dict[str, list[str]]] = {}
    for new, delivery_id in rows:
        if new.state == S.HANDOVER:
            handover.setdefault(new.handover or as_message, {})[delivery_id] = list(new.parameters)
    for way, copies in handover.items():
        payload: dict[str, Any] = {
            "requirement": way.requirement,
            "otherwise": way.otherwise,
            "deadline": way.deadline,
            "mail": list(request.mail_parameters),
            "deliveries": copies,
        }
        queue_job(session, JobKind.HANDOVER, message_id, payload, now, sealed=worker.wrap(request.key))
    _queue_healing(session, worker, request, message_id, rows, now)
    held = [delivery_id for new, delivery_id in rows if new.state == S.HELD]
    sender_cares = any(new.state in {S.HELD, S.QUARANTINED, S.REJECTED} for new, _ in rows)
    if held or (sender_cares and request.sender):
        queue_job(session, JobKind.NOTIFY, message_id, {"deliveries": held, "cause": "held"}, now)


def _queue_healing(
    session: Session,
    worker: Sealer,
    request: HoldRequest,
    message_id: str,
    rows: list[tuple[NewDelivery, str]],
    now: float,
) -> None:
    """One job for each copy that may be delivered after all, with the data key sealed to the worker."""
    for new, delivery_id in rows:
        if new.heal and new.state == S.HELD:
            way = new.handover or HandOver(request.requirement, request.otherwise, request.deadline)
            payload: dict[str, Any] = {
                "requirement": way.requirement,
                "otherwise": way.otherwise,
                "patience": max(0.0, way.deadline - now),
                "mail": list(request.mail_parameters),
                "deliveries": {delivery_id: list(new.parameters)},
                "seen": 0,
            }
            queue_job(session, JobKind.HEAL, message_id, payload, now, sealed=worker.wrap(request.key))


def queue_job(
    session: Session,
    kind: JobKind,
    message_id: str,
    payload: dict[str, Any],
    now: float,
    *,
    sealed: bytes | None = None,
) -> None:
    """Add a job for the worker, due at once, in the caller's transaction."""
    put_rows(session, OutboxJob, [job_row(kind, message_id, payload, now, sealed=sealed)])


def _move(
    session: Session,
    delivery_id: str,
    to: DeliveryState,
    actor: str,
    now: float,
    *,
    only_from: DeliveryState | None = None,
    **detail: Any,
) -> Delivery:
    """Change the state by one conditional UPDATE, and record it.  Raises :class:`IllegalTransition`."""
    session.flush()  # what follows goes past the session
    connection = session.connection()
    # PostgreSQL lets two copies of one message finish side by side; each must see the other's end.
    connection.execute(_LOCK_MESSAGE, {"delivery": delivery_id})
    allowed = [state for state, following in TRANSITIONS.items() if to in following and only_from in (None, state)]
    values = {"delivery": delivery_id, "allowed": allowed, "to": to, "now": now}
    if connection.execute(_OPEN if to == S.OPENED else _MOVE, values).rowcount != 1:
        raise IllegalTransition(delivery_id, to)
    delivery = session.get_one(Delivery, delivery_id, populate_existing=True)
    if to == S.QUARANTINED:
        delivery.approved_by = delivery.approved_at = None  # what was agreed on was another release
    audit.record(session, now, actor, f"became-{to}", message_id=delivery.message_id, delivery_id=delivery_id, **detail)
    if to not in LIVE_STATES:
        _revoke_links(session, delivery_id, now)
        erase_replies(session, delivery_id, delivery.message_id, now=now)
        _destroy_when_finished(session, delivery.message_id)
    return delivery


def _revoke_links(session: Session, delivery_id: str, now: float) -> None:
    session.execute(
        update(Link)
        .where(Link.delivery_id == delivery_id, Link.state.in_([LinkState.LIVE, LinkState.USED]))
        .values(state=LinkState.REVOKED)
    )
    session.execute(
        update(PickupSession)
        .where(PickupSession.delivery_id == delivery_id, PickupSession.ends_at > now)
        .values(ends_at=now)
    )


def _destroy_when_finished(session: Session, message_id: str) -> None:
    alive = session.scalar(
        select(func.count())
        .select_from(Delivery)
        .where(Delivery.message_id == message_id, Delivery.state.in_(list(LIVE_STATES)))
    )
    if alive:
        return
    destroy_blob(session, session.get_one(Message, message_id).blob)
    session.execute(update(OutboxJob).where(OutboxJob.message_id == message_id).values(sealed=None))


def release_to_portal(store: Store, delivery_id: str, *, actor: str, now: float) -> bool:
    """A reviewer lets the recipient pick the message up: quarantined → held, and the notices are queued.

    False where that was the first of the two reviewers whom the message needs.  Raises ``SameReviewer``.
    """
    with store.write() as session:
        if not agreed(session, delivery_id, S.HELD, actor, now):
            return False
        delivery = _move(session, delivery_id, S.HELD, actor, now)
        payload = {"deliveries": [delivery_id], "cause": "released"}
        queue_job(session, JobKind.NOTIFY, delivery.message_id, payload, now)
    return True


def release_to_tls(
    store: Store, vault: Opener, worker: Sealer, delivery_id: str, *, deadline: float, actor: str, now: float
) -> bool:
    """A reviewer sends the message on under mandatory TLS: quarantined → handover.

    False where that was the first of the two reviewers whom the message needs.  Raises ``SameReviewer``.  The data
    key is re-sealed to the worker, which can open nothing else.  Raises ``CannotOpen`` before any change.
    """
    with store.write() as session:
        if not agreed(session, delivery_id, S.HANDOVER, actor, now):
            return False
        delivery = _move(session, delivery_id, S.HANDOVER, actor, now, only_from=S.QUARANTINED)
        message = session.get_one(Message, delivery.message_id)
        key = vault.unwrap(message.blob_id, message.blob.wrapped_key)
        payload: dict[str, Any] = {
            "requirement": message.requirement,
            "otherwise": "portal" if message.sender else "quarantine",
            "deadline": deadline,
            "mail": [],
            "deliveries": {delivery_id: []},
        }
        queue_job(session, JobKind.HANDOVER, message.id, payload, now, sealed=worker.wrap(key))
    return True


def reject(store: Store, delivery_id: str, *, text: str, actor: str, now: float) -> None:
    """A reviewer refuses: quarantined → rejected, and the sender is told ``text``."""
    with store.write() as session:
        delivery = _move(session, delivery_id, S.REJECTED, actor, now)
        payload = {"deliveries": [delivery_id], "text": text}
        queue_job(session, JobKind.TELL_REJECTED, delivery.message_id, payload, now)


def delete(store: Store, delivery_id: str, *, actor: str, now: float) -> None:
    """A reviewer removes the recipient's copy for good, telling nobody."""
    with store.write() as session:
        _move(session, delivery_id, S.DELETED, actor, now)


def recall(store: Store, delivery_id: str, *, actor: str, now: float) -> None:
    """The sender takes the message back: the link is dead and an open pickup window ends."""
    with store.write() as session:
        _move(session, delivery_id, S.RECALLED, actor, now)


def opened(session: Session, delivery_id: str, *, now: float, proof: Proof = Proof.NUMBER) -> None:
    """The recipient won the claim on a link: held or opened → opened, within the claim's own transaction.

    Never a frozen copy (:mod:`restante.store.freezing`).  The sender is told of the first opening.
    """
    delivery = _move(session, delivery_id, S.OPENED, "recipient", now, proof=proof)
    receipts.note(session, Receipt.OPENED, delivery.message_id, delivery_id, now)


def handed_over(store: Store, job_id: str, taken: Sequence[str], refused: dict[str, str], *, now: float) -> None:
    """The MTA answered: what it took becomes handed-over; what it refused for good a reviewer finds in quarantine.

    ``refused`` maps delivery ids to the MTA's reply.  The job is done.
    """
    with store.write() as session:
        for delivery_id in taken:
            _move(session, delivery_id, S.HANDED_OVER, "worker", now)
        for delivery_id, reply in refused.items():
            _move(session, delivery_id, S.QUARANTINED, "worker", now, only_from=S.HANDOVER, reply=reply)
        session.execute(
            update(OutboxJob).where(OutboxJob.id == job_id).values(state=OutboxState.DONE, sealed=None, last_error="")
        )


def heal(store: Store, job_id: str, delivery_id: str, payload: dict[str, Any], sealed: bytes, *, now: float) -> None:
    """The domain of a copy that waits unopened does TLS now: held → handover, its links are dead, the sender is told.

    ``sealed`` is the data key, sealed to the worker when the message was held.  Raises :class:`IllegalTransition` when
    the recipient, or somebody else, was first.
    """
    with store.write() as session:
        delivery = _move(session, delivery_id, S.HANDOVER, "worker", now, only_from=S.HELD, cause="healed")
        _revoke_links(session, delivery_id, now)
        order = {name: payload[name] for name in ("requirement", "otherwise", "mail", "deliveries")}
        order["deadline"] = now + payload["patience"]
        queue_job(session, JobKind.HANDOVER, delivery.message_id, order, now, sealed=sealed)
        told: dict[str, Any] = {"deliveries": [], "cause": "healed", "healed": [delivery_id]}
        queue_job(session, JobKind.NOTIFY, delivery.message_id, told, now)
        session.execute(
            update(OutboxJob).where(OutboxJob.id == job_id).values(state=OutboxState.DONE, sealed=None, last_error="")
        )


def notice_failed(store: Store, job_id: str, delivery_ids: Sequence[str], error: str, *, now: float) -> None:
    """Nobody could be told that the message waits: held → quarantined, where a reviewer sees why."""
    with store.write() as session:
        for delivery_id in delivery_ids:
            with suppress(IllegalTransition):  # collected, recalled or expired meanwhile
                _move(session, delivery_id, S.QUARANTINED, "worker", now, only_from=S.HELD, reply=error)
                _revoke_links(session, delivery_id, now)
        session.execute(
            update(OutboxJob)
            .where(OutboxJob.id == job_id)
            .values(state=OutboxState.FAILED, sealed=None, last_error=error[:500])
        )


def expire_due(store: Store, *, now: float, limit: int = 200) -> int:
    """Expire what has waited too long, at most ``limit`` deliveries in one transaction; how many were expired."""
    with store.write() as session:
        due = session.execute(
            select(Delivery.id, Delivery.message_id, Delivery.state)
            .join(Message)
            .where(Message.expires_at <= now, Delivery.state.in_(list(EXPIRING)))
            .order_by(Delivery.message_id)
            .limit(limit)
        ).all()
        for delivery_id, message_id, state in due:
            with suppress(IllegalTransition):  # somebody was first: then it needs no expiry any more
                _move(session, delivery_id, S.EXPIRED, "worker", now)
                if state != S.OPENED:
                    receipts.note(session, Receipt.EXPIRED, message_id, delivery_id, now, was=state)
    return len(due)
