"""Evidence of delivery: how each copy really left, read from the MTA's log.

A batch of deliveries and the position behind it are one transaction, so that a restart neither loses nor doubles
anything.  A copy on a mandatory transport without TLS is an alarm that must never fire: it is recorded all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select

from restante.envelope import BadAddress, domain_of
from restante.store import audit, tls_history, undelivered
from restante.store.engine import Store
from restante.store.models import DeliveryEvidence, LogPosition
from restante.store.rows import put_rows
from restante.store.undelivered import LostNotice

UNOBSERVED = "unobserved"
"""The certificate of a delivery of whose session nothing was seen, because reading began in its middle."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """One copy that a peer accepted.

    ``relay`` is Postfix's ``host[address]:port``.  ``tls_version`` is empty where no TLS was seen; ``certificate`` is
    Postfix's word for what the peer proved: verified, trusted, untrusted or anonymous.
    """

    queue_id: str
    recipient: str
    transport: str
    relay: str
    tls_version: str
    cipher: str
    certificate: str
    reply: str
    header_message_id: str = ""

    @property
    def alarming(self) -> bool:
        """Whether the copy left in clear where TLS was mandatory."""
        return not self.tls_version and self.certificate != UNOBSERVED


@dataclass(frozen=True, slots=True)
class Found:
    """A delivery with the moment at which it was read, in Unix seconds."""

    at: float
    delivered: Delivered


def position(store: Store, source: str) -> dict[str, Any]:
    """Where reading ``source`` stopped; empty when it never began."""
    with store.read() as session:
        row = session.get(LogPosition, source)
        return dict(row.position) if row is not None else {}


def keep(
    store: Store,
    source: str,
    deliveries: Sequence[Delivered],
    reached: dict[str, Any],
    *,
    now: float,
    lost: Sequence[LostNotice] = (),
) -> None:
    """Record ``deliveries``, ``lost`` notices and that ``source`` was read up to ``reached``: all of it or nothing."""
    with store.write() as session:
        for notice in lost:
            undelivered.note(session, notice, now)
        put_rows(session, DeliveryEvidence, [{**asdict(one), "at": now} for one in deliveries])
        for one in deliveries:
            if one.alarming:
                audit.record(
                    session,
                    now,
                    "worker",
                    "clear-delivery",
                    queue_id=one.queue_id,
                    recipient=one.recipient,
                    relay=one.relay,
                )
        for domain in {_domain(one.recipient) for one in deliveries if one.tls_version} - {""}:
            tls_history.seen(session, domain, now)
        session.merge(LogPosition(source=source, position=reached))


def _domain(recipient: str) -> str:
    try:
        return domain_of(recipient)[:255]
    except BadAddress:
        return ""


def find(
    store: Store, *, recipient: str = "", queue_id: str = "", message_id: str = "", limit: int = 200
) -> list[Found]:
    """Deliveries that fit every criterion given, the latest first."""
    query = select(DeliveryEvidence).order_by(DeliveryEvidence.id.desc()).limit(limit)
    if recipient:
        query = query.where(DeliveryEvidence.recipient == recipient)
    if queue_id:
        query = query.where(DeliveryEvidence.queue_id == queue_id)
    if message_id:
        query = query.where(DeliveryEvidence.header_message_id == message_id)
    fields = Delivered.__dataclass_fields__
    with store.read() as session:
        rows = session.scalars(query).all()
    return [Found(row.at, Delivered(**{name: getattr(row, name) for name in fields})) for row in rows]


def of_message(store: Store, message_id: str, recipients: Collection[str]) -> list[Found]:
    """Deliveries of the message with this Message-ID, which its sender chose, to some of ``recipients`` alone."""
    if not message_id:
        return []
    return [one for one in find(store, message_id=message_id) if one.delivered.recipient in recipients]


def forget_before(store: Store, moment: float) -> None:
    """Delete what is older than ``moment``."""
    with store.write() as session:
        session.execute(delete(DeliveryEvidence).where(DeliveryEvidence.at < moment))
