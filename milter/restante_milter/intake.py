"""The delivery-time fallback: what Postfix does when a peer could not be reached over TLS ends here.

A small SMTP server behind ``smtp_fallback_relay``.  Its answers (RFC 5321, section 4.2; RFC 3463):

- the domain does TLS, or we do not know yet and the deadline has not passed → 451, Postfix keeps the message;
- the domain does not do TLS, or the deadline has passed → into the store, 250 after the commit;
- the domain does not exist or takes no mail (RFC 7505) → 550, an ordinary bounce.

Only messages with a routing mark of ours are dealt with; everything else gets 451, and so does every failure.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message as ParsedMessage
from email.parser import BytesHeaderParser
from email.policy import compat32

import structlog
from aiosmtpd.smtp import SMTP, Envelope, Session

from restante.classify.finding import Classification
from restante.envelope import Address, BadAddress
from restante.envelope import Envelope as MailEnvelope
from restante.errors import RestanteError
from restante.marks import NOTICE, NOTICE_HEADER, ROUTE_HEADER, BadMark, NoticeMark, RouteMark, derive
from restante.policy import Rule
from restante.routing import Route, matching_rule
from restante.settings import Settings
from restante.store import holding, sign_in_notices
from restante.store.engine import Store, new_id
from restante.store.holding import HandOver, HoldRequest, NewDelivery, hold
from restante.store.models import DeliveryState, JobKind
from restante.summary import encode_summary, one_line
from restante.tls.agreed import Engine
from restante.tls.evidence import Ability, Evidence
from restante.vault import CHUNK, DataKey, Sealer, seal_stream
from restante_milter.services import PolicyInForce
from restante_milter.terms import terms_of

OK = "250 2.0.0 Accepted"
TRY_LATER = "451 4.7.0"
NOT_OURS = "451 4.7.1 Only what Restante sent out under mandatory TLS is taken here"
OTHER_DOMAIN = "452 4.5.3 One domain in each transaction"
NO_MAIL = "550 5.1.2 Domain does not exist or takes no mail"
ENCRYPTION_NEEDED = "550 5.7.10 Encryption needed: the recipient's domain cannot receive it over TLS"

NOTICE_PATIENCE_SECONDS = 3600
_HEAD_LIMIT = 2_097_152
_MARK_LINES = re.compile(rb"(?im)^X-Restante-Route:[^\n]*\n(?:[ \t][^\n]*\n)*")
_HEAD_END = re.compile(rb"(\r?\n)\r?\n")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A message that could not be delivered, with its verified mark."""

    sender: Address
    recipients: tuple[Address, ...]
    mark: RouteMark
    notice: NoticeMark | None
    content: bytes


class Intake:
    """aiosmtpd's handler.  :meth:`factory` makes the protocol for each connection."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        vault: Sealer,
        worker: Sealer,
        route_secret: bytes,
        in_force: Callable[[], PolicyInForce],
    ) -> None:
        self._settings, self._store, self._engine = settings, store, engine
        self._vault, self._worker, self._secret = vault, worker, route_secret
        self._in_force = in_force

    def factory(self) -> SMTP:
        """A protocol instance for one connection."""
        return SMTP(
            self,
            # Not the MTA's own name, by which it would take this for a loop of its own.
            hostname=f"restante-intake.{self._settings.hostname}",
            ident="Restante intake",
            enable_SMTPUTF8=True,
            data_size_limit=self._settings.worker.message_size_limit,
            decode_data=False,
            timeout=300,
        )

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """RCPT TO: one domain in each transaction, since one answer must serve all of it."""
        try:
            domain = Address.parse(address).domain
            first = Address.parse(envelope.rcpt_tos[0]).domain if envelope.rcpt_tos else domain
        except BadAddress as error:
            return f"553 5.1.3 {error}"
        if domain != first:
            return OTHER_DOMAIN
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """End of DATA: decide, and answer only after the commit."""
        try:
            return await self._answer(envelope)
        except (RestanteError, BadAddress) as error:
            log.error("intake-deferred", error=str(error))
            return f"{TRY_LATER} Cannot be handled now, try again later"
        # The boundary of the request: whatever went wrong, Postfix keeps the message.
        except Exception as error:  # noqa: BLE001
            log.error("intake-deferred", error=type(error).__name__)
            return f"{TRY_LATER} Cannot be handled now, try again later"

    async def _answer(self, envelope: Envelope) -> str:
        arrival = self._read(envelope)
        if arrival is None:
            return NOT_OURS
        domain = arrival.recipients[0].domain
        evidence = await self._engine.evidence(domain, recheck=True)
        ability = evidence.ability(arrival.mark.requirement)
        log.info(
            "intake-judged", domain=domain, level=evidence.level, reason=evidence.reason, route=arrival.mark.route_id
        )
        if ability is Ability.NO_MAIL:
            return NO_MAIL
        if arrival.mark.otherwise == NOTICE:
            return await asyncio.to_thread(self._renotify, arrival, ability)
        if ability is not Ability.NO and time.time() < arrival.mark.deadline:
            return f"{TRY_LATER} Not delivered over TLS yet, will be tried again"
        if arrival.mark.otherwise == "reject":
            return ENCRYPTION_NEEDED
        await asyncio.to_thread(self._take, arrival, evidence)
        return OK

    def _read(self, envelope: Envelope) -> _Arrival | None:
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        head = BytesHeaderParser(policy=compat32).parsebytes(content[:_HEAD_LIMIT])
        mark = self._route_mark(head)
        if mark is None or not envelope.rcpt_tos:
            return None
        recipients = tuple(Address.parse(address) for address in envelope.rcpt_tos)
        return _Arrival(Address.parse(envelope.mail_from or ""), recipients, mark, self._notice_mark(head), content)

    def _route_mark(self, head: ParsedMessage) -> RouteMark | None:
        """The last mark that verifies: an older one may have come with a message that was sent on."""
        for value in reversed(head.get_all(ROUTE_HEADER, [])):
            try:
                return RouteMark.verify(self._secret, str(value))
            except BadMark:
                continue
        return None

    def _notice_mark(self, head: ParsedMessage) -> NoticeMark | None:
        for value in head.get_all(NOTICE_HEADER, []):
            try:
                return NoticeMark.verify(self._secret, str(value))
            except BadMark:
                continue
        return None

    def _renotify(self, arrival: _Arrival, ability: Ability) -> str:
        """A notice under TLS did not arrive: where TLS is gone, send another in clear, whose link needs a code.

        One about ways to sign in is sent again as it is: nothing in it opens anything.

        A notice to a sender holds codes and has no other way; it goes back to where notices come from.
        """
        if ability is not Ability.NO and time.time() < arrival.mark.deadline + NOTICE_PATIENCE_SECONDS:
            return f"{TRY_LATER} Notice not delivered over TLS yet"
        notice = arrival.notice
        if notice is None or not notice.delivery_id:
            return ENCRYPTION_NEEDED
        now = time.time()
        if notice.job_id:
            again = sign_in_notices.again_in_clear(self._store, notice.job_id, now=now)
            return OK if again else ENCRYPTION_NEEDED
        payload = {"deliveries": [notice.delivery_id], "clear": [notice.delivery_id], "cause": "later"}
        with self._store.write() as session:
            holding.queue_job(session, JobKind.NOTIFY, notice.message_id, payload, now)
        return OK

    def _take(self, arrival: _Arrival, evidence: Evidence) -> None:
        now = time.time()
        content = _without_marks(arrival.content)
        force = self._in_force()
        classification = force.classifier.classify(io.BytesIO(content))
        rule = self._rule(force, arrival, classification)
        key = DataKey.fresh(new_id())
        head = BytesHeaderParser(policy=compat32).parsebytes(content[:_HEAD_LIMIT])
        author, date = (str(head.get(name, "")).encode("utf-8", "replace") for name in ("From", "Date"))
        summary = encode_summary(classification, classification.findings, author, date)
        request = HoldRequest(
            fingerprint=self._fingerprint(arrival.mark.route_id),
            sender=arrival.sender.text,
            header_message_id=one_line(str(head.get("Message-ID", "")).encode("utf-8", "replace")),
            size=len(content),
            key=key,
            chunks=lambda: seal_stream(key, (content[at : at + CHUNK] for at in range(0, len(content), CHUNK))),
            summary=key.seal_note(summary, "summary"),
            **terms_of(rule, now),
            requirement=arrival.mark.requirement,
            otherwise=arrival.mark.otherwise,
            deadline=arrival.mark.deadline,
            expires_at=now + (arrival.mark.kept_seconds or rule.expires_after.total_seconds()),
            deliveries=_deliveries(arrival, evidence, rule, now),
        )
        hold(self._store, self._vault, self._worker, request, actor="intake", now=now)

    def _rule(self, force: PolicyInForce, arrival: _Arrival, classification: Classification) -> Rule:
        """The rule that sent the message out; where a reload removed it, the one that matches now, or the first."""
        known = force.policy.rule_named(arrival.mark.rule)
        if known is not None:
            return known
        matching, _ = matching_rule(force.policy, classification, MailEnvelope(arrival.sender, arrival.recipients))
        return matching or Rule.model_validate({"name": arrival.mark.rule, "when": [{"detectors": ["*"]}]})

    def _fingerprint(self, route_id: str) -> bytes:
        """The same for each try of one routed message, whatever trace fields were added on the way."""
        return hmac.new(derive(self._secret, "intake"), route_id.encode(), hashlib.sha256).digest()


def _without_marks(content: bytes) -> bytes:
    """The message without our routing mark; the body is not touched."""
    end = _HEAD_END.search(content, 0, _HEAD_LIMIT)
    head = end.end(1) if end else min(len(content), _HEAD_LIMIT)
    return _MARK_LINES.sub(b"", content[:head]) + content[head:]


def _deliveries(arrival: _Arrival, evidence: Evidence, rule: Rule, now: float) -> tuple[NewDelivery, ...]:
    """Into the portal, or to a reviewer where the rule says so or nobody could pass an access code on."""
    portal = arrival.mark.otherwise == "portal" and bool(arrival.sender.text)
    route, state = (Route.PORTAL, DeliveryState.HELD) if portal else (Route.QUARANTINE, DeliveryState.QUARANTINED)
    reason = f"could not be delivered over TLS: {evidence.reason}"
    again = HandOver(arrival.mark.requirement, arrival.mark.otherwise, now + rule.deadline_hours * 3600)
    return tuple(
        NewDelivery(one.text, one.domain, route, state, reason, handover=again, heal=portal and rule.heal)
        for one in arrival.recipients
    )
