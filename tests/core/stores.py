"""A migrated store with keys, and ready-made requests to hold a message in it."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from restante.routing import Route
from restante.store.engine import Store, new_id
from restante.store.holding import HoldRequest, NewDelivery, hold
from restante.store.models import Delivery, DeliveryState
from restante.tls.evidence import Requirement
from restante.vault import DataKey, Opener, Sealer, generate_keypair, seal_stream
from tests.migrated import upgrade

NOW = 1_700_000_000.0
CONTENT = b"Subject: results\r\n\r\nCONFIDENTIAL-MARKER\r\n"


@dataclass(frozen=True)
class Keys:
    """Both key pairs of an installation."""

    vault: Sealer
    vault_opener: Opener
    worker: Sealer
    worker_opener: Opener

    @classmethod
    def fresh(cls) -> Keys:
        vault, worker = generate_keypair(), generate_keypair()
        return cls(Sealer("k1", vault[1]), Opener(vault[0]), Sealer("worker", worker[1]), Opener(worker[0]))


class Holder:
    """Holds messages in a fresh store."""

    def __init__(self, url: str) -> None:
        upgrade(url)
        self.url = url
        self.store = Store(url)
        self.keys = Keys.fresh()

    def request(
        self,
        *recipients: tuple[str, DeliveryState],
        fingerprint: bytes | None = None,
        content: bytes = CONTENT,
        sender: str = "ann@site.example",
        expires_at: float = NOW + 1000,
        always_code: bool = False,
    ) -> HoldRequest:
        key = DataKey.fresh(new_id())
        return HoldRequest(
            fingerprint=fingerprint or secrets.token_bytes(32),
            sender=sender,
            header_message_id="<1@site.example>",
            size=len(content),
            key=key,
            chunks=lambda: seal_stream(key, [content]),
            summary=key.seal_note(b'{"subject": "results"}', "summary"),
            rule="default",
            requirement=Requirement.ENCRYPTED,
            otherwise="portal",
            deadline=NOW + 500,
            expires_at=expires_at,
            always_code=always_code,
            deliveries=tuple(
                NewDelivery(address, address.partition("@")[2], Route.PORTAL, state, "no TLS")
                for address, state in recipients
            ),
        )

    def hold(self, request: HoldRequest, now: float = NOW) -> str:
        return hold(self.store, self.keys.vault, self.keys.worker, request, actor="milter", now=now)

    def held(self, recipient: str = "bob@x.example", state: DeliveryState = DeliveryState.HELD) -> str:
        """Hold one message for one recipient and return the id of the delivery."""
        message_id = self.hold(self.request((recipient, state)))
        return self.deliveries(message_id)[0].id

    def deliveries(self, message_id: str) -> Sequence[Delivery]:
        with self.store.read() as session:
            return session.scalars(
                select(Delivery).where(Delivery.message_id == message_id).order_by(Delivery.recipient)
            ).all()

    def state(self, delivery_id: str) -> str:
        with self.store.read() as session:
            return session.get_one(Delivery, delivery_id).state
