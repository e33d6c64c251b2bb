"""Enrolments: a recipient who opened a message sets a way to sign in, and later messages open with it.

An enrolment rests on what the pickup window was opened with (:class:`restante.access.Proof`).  One that rests on the
number of a notice shows that somebody reads the mailbox; where a rule always asks for a code, that is not enough
(:meth:`Enrolled.may_open`).  Enrolling anew replaces what was set before, passkeys, password and sessions, so that a
lost device is shut out with it; a weaker proof never replaces a stronger one.

Whatever is set, changed or removed, the address is told (:mod:`restante.store.sign_in_notices`).

Addresses are found by keyed hash; all that proves somebody is sealed (:mod:`restante.enrolment_keys`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from restante.access import Proof
from restante.enrolment_keys import EnrolmentKeys, PortalKeys, RecordSeal
from restante.errors import RestanteError
from restante.sign_in_changes import Change
from restante.store import audit, sign_in_notices
from restante.store.engine import Store, new_id
from restante.store.models import (
    AuditRecord,
    Delivery,
    DeliveryState,
    Enrolment,
    Message,
    Passkey,
    PickupSession,
    RecipientSession,
)
from restante.store.sign_in_notices import ENROLLED
from restante.tokens import token_hash
from restante.vault import CannotOpen

MOST_PASSKEYS = 8
LONGEST_GREETING = 80
OPERATOR = "operator:"
"""How an actor is named who removes somebody's enrolment from outside the portal."""


class NotEnrolled(RestanteError):
    """Nobody is enrolled with this address."""


class NotAllowed(Exception):
    """Nothing was set: an earlier enrolment has a stronger proof, there are too many passkeys, or a race was lost."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What somebody may enrol on: an open pickup window, and what it was opened with."""

    delivery_id: str
    message_id: str
    recipient: str
    proof: Proof


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A passkey whose registration was verified."""

    credential_id: bytes
    public_key: bytes = field(repr=False)
    sign_count: int


@dataclass(frozen=True, slots=True)
class NewPassword:
    """A password's slow hash and the secret of its one-time codes, of which the one of ``step`` was typed."""

    password_hash: str = field(repr=False)
    secret: bytes = field(repr=False)
    step: int


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Who is enrolled, on what proof, with which ways.  ``passkeys`` are the times at which they were set."""

    id: str
    address: str
    proof: Proof
    user_handle: bytes
    greeting: str
    has_password: bool
    created_at: float
    passkeys: tuple[float, ...] = ()

    def may_open(self, *, accepted: bool, always_code: bool) -> bool:
        """Whether signing in opens a message that a code would open: its rule accepts it, and the proof is as good."""
        return accepted and (self.proof is Proof.CODE or not always_code)


def ground_of(store: Store, secret: str, *, now: float) -> Ground | None:
    """What the pickup window of ``secret`` allows to enrol on; ``None`` where it is closed, or proved nothing new."""
    with store.read() as session:
        row = session.execute(
            select(PickupSession.proof, Delivery.id, Delivery.message_id, Delivery.recipient)
            .join(Delivery, Delivery.id == PickupSession.delivery_id)
            .where(
                PickupSession.secret_hash == token_hash(secret),
                PickupSession.ends_at > now,
                PickupSession.proof.in_([Proof.NUMBER, Proof.CODE]),
                Delivery.state == DeliveryState.OPENED,
                Delivery.frozen_at.is_(None),
            )
        ).one_or_none()
    return Ground(row[1], row[2], row[3], Proof(row[0])) if row is not None else None


def find(store: Store, keys: EnrolmentKeys, address: str) -> Enrolled | None:
    """Who is enrolled with ``address``; ``None`` where nobody is, or the row is not for these keys."""
    with store.read() as session:
        row = session.scalar(select(Enrolment).where(Enrolment.address_hash == keys.address_hash(address)))
        return _enrolled(session, keys, row) if row is not None else None


def load(session: Session, keys: EnrolmentKeys, enrolment_id: str) -> Enrolled | None:
    """The enrolment with this id."""
    row = session.get(Enrolment, enrolment_id)
    return _enrolled(session, keys, row) if row is not None else None


def enrol(
    store: Store, keys: PortalKeys, ground: Ground, way: NewPasskey | NewPassword, *, handle: bytes, now: float
) -> str:
    """Enrol the recipient of ``ground`` with ``way``, in the place of whatever was set before; the enrolment's id.

    ``handle`` is the name that the passkey was given for its owner.  Raises :class:`NotAllowed`.
    """
    hashed = keys.common.address_hash(ground.recipient)
    try:
        with store.write() as session:
            if _is_frozen(session, ground):
                raise NotAllowed
            earlier = session.scalar(select(Enrolment).where(Enrolment.address_hash == hashed).with_for_update())
            if earlier is not None:
                if not replaces(ground.proof, Proof(earlier.proof)):
                    raise NotAllowed
                _delete(session, earlier.id)
            row = Enrolment(
                id=new_id(),
                address_hash=hashed,
                address=b"",
                proof=ground.proof,
                user_handle=handle,
                greeting=None,
                password=None,
                last_step=0,
                created_at=now,
            )
            row.address = keys.common.shared.seal(ground.recipient.encode(), _context("address", row.id))
            session.add(row)
            session.flush()
            _put_way(session, keys.proofs, row, way, now)
            anew = earlier is not None
            _record(session, now, row.id, ENROLLED, ground, way=_name(way), proof=ground.proof, anew=anew)
            changes = [Change.REMOVED, _change(way)] if anew else [_change(way)]
            sign_in_notices.promise(session, hashed, ground.delivery_id, changes, now=now)
            return row.id
    except IntegrityError:
        raise NotAllowed from None


def _is_frozen(session: Session, ground: Ground) -> bool:
    """Message, then copy, both locked: as a claim takes them, and a freeze meanwhile either stops this or ends it."""
    session.execute(
        select(Message.id).where(Message.id == ground.message_id).with_for_update(read=True, key_share=True)
    )
    copy = select(Delivery.frozen_at).where(Delivery.id == ground.delivery_id).with_for_update()
    return session.scalar(copy) is not None


def replaces(proof: Proof, earlier: Proof) -> bool:
    """Whether an enrolment that rests on ``earlier`` gives way to one that rests on ``proof``."""
    return proof is Proof.CODE or earlier is not Proof.CODE


def add_way(store: Store, keys: PortalKeys, enrolment_id: str, way: NewPasskey | NewPassword, *, now: float) -> None:
    """Another passkey, or a password in the place of an earlier one, for somebody who is signed in.

    Raises :class:`NotAllowed`.
    """
    try:
        with store.write() as session:
            row = session.get(Enrolment, enrolment_id, with_for_update=True)
            count = session.scalar(select(func.count()).where(Passkey.enrolment_id == enrolment_id)) or 0
            if row is None or (isinstance(way, NewPasskey) and count >= MOST_PASSKEYS):
                raise NotAllowed
            change = _change(way, again=row.password is not None)
            _put_way(session, keys.proofs, row, way, now)
            _record(session, now, row.id, "added-sign-in", None, way=_name(way))
            copy = sign_in_notices.copy_of(session, row)
            sign_in_notices.promise(session, row.address_hash, copy, [change], now=now)
    except IntegrityError:
        raise NotAllowed from None


def set_greeting(store: Store, keys: EnrolmentKeys, enrolment_id: str, greeting: str, *, now: float) -> None:
    """The phrase by which the recipient knows our notices; empty: none."""
    plain = greeting[:LONGEST_GREETING].encode("utf-8", "replace")
    with store.write() as session:
        row = session.get(Enrolment, enrolment_id, with_for_update=True)
        if row is None:
            return
        row.greeting = keys.shared.seal(plain, _context("greeting", row.id)) if plain else None
        _record(session, now, row.id, "set-greeting" if plain else "removed-greeting", None)


def remove(
    store: Store, keys: EnrolmentKeys, address: str, *, actor: str, now: float, ground: Ground | None = None
) -> None:
    """End the enrolment and its sessions: from the next notice on there are codes again.

    Raises :class:`NotEnrolled`, and :class:`NotAllowed` where ``ground`` proves less than the enrolment rests on.
    """
    with store.write() as session:
        row = session.scalar(
            select(Enrolment).where(Enrolment.address_hash == keys.address_hash(address)).with_for_update()
        )
        if row is None:
            raise NotEnrolled(f"nobody is enrolled with {address}")
        if ground is not None and not replaces(ground.proof, Proof(row.proof)):
            raise NotAllowed
        copy = ground.delivery_id if ground is not None else sign_in_notices.copy_of(session, row)
        _end(session, row, copy, ground, actor=actor, now=now)


def end_those_from(session: Session, delivery_id: str, *, actor: str, now: float) -> None:
    """End the enrolments that were made on a copy, in the caller's transaction: somebody else had opened it."""
    delivery = session.get_one(Delivery, delivery_id)
    ground = Ground(delivery.id, delivery.message_id, delivery.recipient, Proof.NUMBER)
    made = select(AuditRecord.detail).where(
        AuditRecord.message_id == ground.message_id,
        AuditRecord.delivery_id == delivery_id,
        AuditRecord.action == ENROLLED,
    )
    for detail in session.scalars(made).all():
        row = session.get(Enrolment, detail["enrolment"], with_for_update=True)
        if row is not None:
            _end(session, row, delivery_id, ground, actor=actor, now=now)


def everyone(store: Store, keys: EnrolmentKeys) -> Sequence[Enrolled]:
    """Who is enrolled, by address; without those that were sealed to other keys."""
    with store.read() as session:
        found = [_enrolled(session, keys, row) for row in session.scalars(select(Enrolment))]
    return sorted((each for each in found if each is not None), key=lambda each: each.address)


def credential_hash(credential_id: bytes) -> bytes:
    """What a passkey is found by."""
    return hashlib.sha256(b"restante-passkey/" + credential_id).digest()


def open_password(keys: PortalKeys, row: Enrolment) -> tuple[str, bytes] | None:
    """The password's slow hash and the secret of its codes; ``None`` where none is set, or it does not open."""
    kept = _open(keys.proofs, row.password, _proving("password", row))
    return (kept["hash"], base64.b64decode(kept["secret"])) if kept is not None else None


def open_passkey(keys: PortalKeys, row: Enrolment, passkey: Passkey) -> bytes | None:
    """The public key (COSE) of a passkey; ``None`` where it does not open."""
    kept = _open(keys.proofs, passkey.sealed, _proving("passkey", row, passkey.credential_hash.hex()))
    return base64.b64decode(kept["key"]) if kept is not None else None


def fresh_handle() -> bytes:
    """What a passkey calls its owner: random, and no address (WebAuthn, section 14.6.1)."""
    return secrets.token_bytes(32)


def _enrolled(session: Session, keys: EnrolmentKeys, row: Enrolment) -> Enrolled | None:
    set_at = session.scalars(
        select(Passkey.created_at).where(Passkey.enrolment_id == row.id).order_by(Passkey.created_at)
    ).all()
    try:
        address = keys.shared.open(row.address, _context("address", row.id)).decode()
        greeting = keys.shared.open(row.greeting, _context("greeting", row.id)).decode() if row.greeting else ""
    except CannotOpen:
        return None
    return Enrolled(
        row.id,
        address,
        Proof(row.proof),
        row.user_handle,
        greeting,
        row.password is not None,
        row.created_at,
        tuple(set_at),
    )


def _put_way(session: Session, seal: RecordSeal, row: Enrolment, way: NewPasskey | NewPassword, now: float) -> None:
    if isinstance(way, NewPassword):
        kept = {"hash": way.password_hash, "secret": base64.b64encode(way.secret).decode()}
        row.password = seal.seal(json.dumps(kept).encode(), _proving("password", row))
        row.last_step = way.step
        return
    hashed = credential_hash(way.credential_id)
    kept = {"key": base64.b64encode(way.public_key).decode()}
    sealed = seal.seal(json.dumps(kept).encode(), _proving("passkey", row, hashed.hex()))
    session.add(
        Passkey(
            id=new_id(),
            enrolment_id=row.id,
            credential_hash=hashed,
            sealed=sealed,
            sign_count=way.sign_count,
            created_at=now,
        )
    )
    session.flush()


def _open(seal: RecordSeal, sealed: bytes | None, context: str) -> dict[str, Any] | None:
    if sealed is None:
        return None
    try:
        kept: dict[str, Any] = json.loads(seal.open(sealed, context))
    except CannotOpen:
        return None
    return kept


def _context(kind: str, *parts: str) -> str:
    return "/".join((kind, *parts))


def _proving(kind: str, row: Enrolment, *parts: str) -> str:
    """Whoever writes to the database moves no proof to another address, and lends none more weight."""
    return _context(kind, row.id, row.address_hash.hex(), row.proof, *parts)


def _name(way: NewPasskey | NewPassword) -> str:
    return "passkey" if isinstance(way, NewPasskey) else "password"


def _change(way: NewPasskey | NewPassword, *, again: bool = False) -> Change:
    if isinstance(way, NewPasskey):
        return Change.PASSKEY
    return Change.NEW_PASSWORD if again else Change.PASSWORD


def _end(
    session: Session, row: Enrolment, delivery_id: str | None, ground: Ground | None, *, actor: str, now: float
) -> None:
    enrolment_id, hashed = row.id, row.address_hash
    _delete(session, enrolment_id)
    _record(session, now, enrolment_id, "removed-enrolment", ground, actor=actor)
    change = Change.REMOVED_BY_OPERATOR if actor.startswith(OPERATOR) else Change.REMOVED
    sign_in_notices.promise(session, hashed, delivery_id, [change], now=now)


def _delete(session: Session, enrolment_id: str) -> None:
    for model in (Passkey, RecipientSession):
        session.execute(delete(model).where(model.enrolment_id == enrolment_id))
    session.execute(delete(Enrolment).where(Enrolment.id == enrolment_id))
    session.expire_all()


def _record(
    session: Session,
    now: float,
    enrolment_id: str,
    action: str,
    ground: Ground | None,
    *,
    actor: str = "recipient",
    **detail: Any,
) -> None:
    """No address in the record: the message that it rested on names the recipient."""
    ids = {"message_id": ground.message_id, "delivery_id": ground.delivery_id} if ground is not None else {}
    audit.record(session, now, actor, action, **ids, enrolment=enrolment_id, **detail)
