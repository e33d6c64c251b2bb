"""One running site and its small internet, as the end-to-end tests see them.

Every test gets recipients' domains, peers and a marker of its own, so that nothing that an earlier test left under
way can be taken for its mail.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from sqlalchemy import delete, select

from restante.credentials import Credential, read_credential
from restante.store.blobs import BlobReader
from restante.store.engine import Store
from restante.store.models import (
    AuditRecord,
    Base,
    Blob,
    Delivery,
    DeliveryState,
    Message,
    OutboxJob,
    OutboxState,
)
from restante.store.ring import KeyRing
from restante.tls.verdict_client import VerdictClient
from restante.vault import Opener
from tests.lab import mail
from tests.lab.lab import SITE, Lab
from tests.lab.peers import Peer, ReceivedMail
from tests.lab.services import REVIEW_RULE, RestanteServices, Service
from tests.lab.waiting import LabError, wait_until

SENDER = mail.SENDER

# Each rule is chosen by its sender, so that one running policy serves every test.
EXCLUSIVE = "exclusive@site.example"  # where there is no TLS: refuse
PROVE = "prove@site.example"  # the peer must prove its name
HASTY = "hasty@site.example"  # two seconds of trying, then the portal
EXCLUSIVE_HASTY = "exclusive-hasty@site.example"  # two seconds of trying, then a bounce
REFUSED = "refused@site.example"  # whatever is sensitive is refused
DEADLINE_SECONDS = 2.0
LOOK_SECONDS = 30.0

# The worker remembers what it saw of a domain, so that each test needs names of its own, for agreements as well.
_PORTAL_ONLY = tuple(f"portal-only-{number}.example" for number in range(1, 17))
_PARTNERS = tuple(f"partner-{number}.example" for number in range(1, 9))
_AGREEMENTS = "".join(f'[[domain]]\nname = "{name}"\nmode = "portal-only"\n\n' for name in _PORTAL_ONLY) + "".join(
    f'[[domain]]\nname = "{name}"\ntls = "authenticated"\n\n' for name in _PARTNERS
)

_TRIGGER = 'when = [{ detectors = ["trigger-*"] }]'
POLICY = f"""
[[rule]]
name = "tls-exclusive"
otherwise = "reject"
senders = ["{EXCLUSIVE}"]
{_TRIGGER}

[[rule]]
name = "prove"
tls = "authenticated"
senders = ["{PROVE}"]
{_TRIGGER}

[[rule]]
name = "hasty"
deadline_hours = {DEADLINE_SECONDS / 3600:.8f}
senders = ["{HASTY}"]
{_TRIGGER}

[[rule]]
name = "exclusive-hasty"
otherwise = "reject"
deadline_hours = {DEADLINE_SECONDS / 3600:.8f}
senders = ["{EXCLUSIVE_HASTY}"]
{_TRIGGER}

[[rule]]
name = "refused"
action = "reject"
senders = ["{REFUSED}"]
{_TRIGGER}

{_AGREEMENTS}
{REVIEW_RULE}
"""

# Tables that describe mail, children first; evidence and administrators stay.
_MAIL_TABLES = tuple(
    table
    for table in reversed(Base.metadata.sorted_tables)
    if table.name not in {"tls_evidence", "administrators", "admin_sessions", "alembic_version"}
)


@dataclass(frozen=True, slots=True)
class Held:
    """One recipient's copy as the store has it."""

    delivery_id: str
    message_id: str
    sender: str
    recipient: str
    route: str
    state: DeliveryState
    reason: str
    rule: str


class World:
    """See the module.  ``lab``, ``services`` and ``store`` are there for what has no method here."""

    _numbers = itertools.count(1)

    def __init__(self, lab: Lab, services: RestanteServices, store: Store) -> None:
        self.lab, self.services, self.store = lab, services, store
        self._guests: list[str] = []
        self._portal_only, self._partners = iter(_PORTAL_ONLY), iter(_PARTNERS)
        self.marker = ""
        self._log_start: dict[Service, int] = {}

    # --- between tests -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A new test: nobody has received anything, nothing is queued, nothing is held."""
        self.marker = f"MARKER-{secrets.token_hex(8)}"
        self.lab.reset()
        with self.store.write() as session:
            for table in _MAIL_TABLES:
                session.execute(delete(table))
        self._log_start = {service: len(self.services.process(service).log_text()) for service in self._running()}

    def end(self) -> None:
        """The test is over: its peers leave."""
        self.lab.server.clear()
        while self._guests:
            self.lab.remove_peer(self._guests.pop())

    def _running(self) -> list[Service]:
        return [service for service in Service if self.services.runs(service)]

    # --- peers ---------------------------------------------------------------------------------------------------

    def peer(self, behaviour: str, *, domain: str = "", **changes: Any) -> Peer:
        """A new peer with a domain of its own, that nobody has looked at yet; gone after the test."""
        domain = domain or f"d{next(self._numbers)}.example"
        peer = self.lab.add_peer(domain, behaviour, **changes)
        self._guests.append(domain)
        return peer

    def portal_only(self, behaviour: str = "tls") -> Peer:
        """A new peer whose sensitive mail goes to the portal, whatever it does: so it is agreed."""
        return self.peer(behaviour, domain=next(self._portal_only))

    def partner(self, behaviour: str = "tls") -> Peer:
        """A new peer that must prove its name, for every rule: so it is agreed."""
        return self.peer(behaviour, domain=next(self._partners))

    def new_domain(self) -> str:
        """The name of a domain that does not exist (yet)."""
        return f"d{next(self._numbers)}.example"

    def seen_with_tls(self, behaviour: str = "tls", **changes: Any) -> Peer:
        """A new peer that the worker has looked at and found to do TLS."""
        peer = self.peer(behaviour, **changes)
        self.look(peer.domain)
        return peer

    def look(self, domain: str) -> None:
        """Have the worker look at the domain, and keep what it sees."""
        worker = VerdictClient(self.services.settings.worker.socketmap, LOOK_SECONDS)
        assert domain in worker.ask([domain])

    def described(self, domain: str) -> str:
        """What ``restante domain`` prints."""
        return self.services.command("domain", domain)

    # --- sending -------------------------------------------------------------------------------------------------

    def sensitive(self, *recipients: str, sender: str = SENDER) -> EmailMessage:
        """A message that its sender marked, with this test's marker in subject and body."""
        return mail.triggered(self.marker, sender=sender, to=recipients)

    def ordinary(self, *recipients: str, sender: str = SENDER) -> EmailMessage:
        """A message that no rule matches, with this test's marker in subject and body."""
        text = f"The fair opens on Saturday. {self.marker}"
        return mail.message(f"Our news {self.marker}", text, sender=sender, to=recipients)

    def send(
        self, content: bytes | EmailMessage, *recipients: str, sender: str = SENDER, **options: Any
    ) -> mail.Submission:
        """Hand a message to Postfix, whatever it answers; see :func:`tests.lab.mail.send`."""
        return self.lab.send(content, recipients, sender=sender, **options)

    def post(self, *recipients: str, sender: str = SENDER, **options: Any) -> EmailMessage:
        """Send a sensitive message that Postfix must take for every recipient."""
        message = self.sensitive(*recipients, sender=sender)
        answer = self.send(message, *recipients, sender=sender, **options)
        assert answer.accepted, answer
        assert not answer.refused
        return message

    # --- what became of it ---------------------------------------------------------------------------------------

    def mails(self, peer: Peer) -> list[ReceivedMail]:
        """What ``peer`` received of this test's content."""
        return [one for one in peer.mails() if self.marker.encode() in one.content]

    def wait_for_mail(self, peer: Peer, count: int = 1, seconds: float = 40) -> list[ReceivedMail]:
        """This test's content at ``peer``, once there is enough of it.  Raises :class:`LabError`."""
        return peer.wait_for_mails(count, seconds, lambda one: self.marker.encode() in one.content)

    def wait_for_notice(self, recipient: str, seconds: float = 40) -> ReceivedMail:
        """The first notice that ``recipient`` got, a sender of this site or somebody elsewhere."""
        peer = self.lab.peer(recipient.rpartition("@")[2])
        return peer.wait_for_mails(1, seconds, lambda one: recipient in one.recipients and _is_notice(one))[0]

    def notices(self, recipient: str) -> list[ReceivedMail]:
        """Every notice that ``recipient`` got so far."""
        peer = self.lab.peer(recipient.rpartition("@")[2])
        return [one for one in peer.mails() if recipient in one.recipients and _is_notice(one)]

    def held(self, *, recipient: str = "") -> list[Held]:
        """Every copy that the store knows, in the order of recipients, or only that of ``recipient``."""
        query = select(Delivery, Message).join(Delivery.message).order_by(Delivery.recipient)
        if recipient:
            query = query.where(Delivery.recipient == recipient)
        with self.store.read() as session:
            return [
                Held(
                    delivery.id,
                    message.id,
                    message.sender,
                    delivery.recipient,
                    delivery.route,
                    DeliveryState(delivery.state),
                    delivery.reason,
                    message.rule,
                )
                for delivery, message in session.execute(query)
            ]

    def wait_until_held(self, recipient: str, state: DeliveryState = DeliveryState.HELD, seconds: float = 40) -> Held:
        """The one copy of ``recipient``, once it is in ``state``.  Raises :class:`LabError`."""

        def found() -> list[Held]:
            return [one for one in self.held(recipient=recipient) if one.state is state]

        copies = wait_until(found, seconds, f"{recipient} to be {state}; the store has {self.held()}")
        assert len(copies) == 1
        return copies[0]

    def states(self) -> dict[str, str]:
        """Recipient to state, for everything that the store knows."""
        return {one.recipient: str(one.state) for one in self.held()}

    def content_of(self, held: Held) -> bytes:
        """The held message in plain, opened with the vault's private key as the portal would."""
        with self.store.read() as session:
            message = session.get_one(Message, held.message_id)
            blob = session.get_one(Blob, message.blob_id)
        settings = self.services.settings
        opener = Opener(read_credential(settings.credentials, Credential.VAULT), KeyRing(settings.ring_path))
        key = opener.unwrap(blob.id, blob.wrapped_key)
        return b"".join(BlobReader(self.store, key, blob.size).read())

    def audit(self) -> list[str]:
        """The recorded actions, in order."""
        with self.store.read() as session:
            return list(session.scalars(select(AuditRecord.action).order_by(AuditRecord.id)))

    def settle(self, seconds: float = 60) -> None:
        """Wait until nothing is under way any more: no job of the outbox, no mail in the queue."""
        wait_until(lambda: not self._pending_jobs() and not self.lab.server.queued(), seconds, "everything to settle")

    def _pending_jobs(self) -> bool:
        with self.store.read() as session:
            pending = select(OutboxJob.id).where(OutboxJob.state == OutboxState.PENDING).limit(1)
            return session.scalar(pending) is not None

    def log(self, service: Service) -> str:
        """What ``service`` has logged since the test began."""
        if service not in self._log_start:
            return ""
        return self.services.process(service).log_text()[self._log_start[service] :]

    # --- the invariant -------------------------------------------------------------------------------------------

    def assert_never_clear(self, *needles: str) -> None:
        """No peer outside of this site read the marker, or one of ``needles``, outside of TLS."""
        for peer in self.lab.peers:
            if peer.domain != SITE:
                read = peer.clear_bytes()
                for needle in (self.marker, *needles):
                    assert needle.encode() not in read, f"{peer.domain} read {needle} in clear"

    def stays_true(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Whether ``condition`` holds all the time for ``seconds``: for what must *not* happen."""
        deadline = time.monotonic() + seconds
        try:
            wait_until(lambda: not condition() or time.monotonic() > deadline, seconds + 5, "a steady state")
        except LabError:
            return False
        return condition()


def _is_notice(received: ReceivedMail) -> bool:
    return received.message["X-Restante-Notice"] is not None


def text_of(received: ReceivedMail) -> str:
    """The plain text of a notice."""
    part = received.message.get_body(("plain",))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def recipients_of(mails: Sequence[ReceivedMail]) -> list[str]:
    """Every recipient of ``mails``, once for each time that a copy came, sorted."""
    return sorted(recipient for one in mails for recipient in one.recipients)
