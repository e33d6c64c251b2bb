"""One SMTP session as libmilter shows it.

Guarantee: what is not understood, not decided or not stored is answered with 4xx.  A sensitive copy is committed to
the store before the MTA is told to forget it, and recipients are removed with the exact bytes of their RCPT, since
Postfix compares with ``strcmp`` and reports success when nothing matched.

libmilter runs the callbacks of one session on changing threads: all database work happens inside :meth:`Session.eom`.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from email.header import Header, decode_header, make_header

import Milter
import structlog

from restante.classify.finding import Classification
from restante.envelope import Address, BadAddress, Envelope
from restante.errors import RestanteError
from restante.expiry_wish import EXPIRE_HEADER, BadWish, seconds_kept, wished_seconds
from restante.marks import NOTICE_HEADER, ROUTE_HEADER, derive
from restante.policy import Action, Circumstances
from restante.routing import Decision, Route, decide, domains_to_judge, matching_rule
from restante.sendmail import is_secured, secured
from restante.settings import Mta
from restante.store import undelivered
from restante.store.engine import new_id
from restante.store.holding import HoldRequest, hold
from restante.summary import encode_summary, one_line
from restante.tls.evidence import Requirement
from restante.vault import DataKey
from restante_milter.handover import with_original
from restante_milter.inbound import MACROS, Arrival, claimed_domains, refusal
from restante_milter.message import MessageBuffer
from restante_milter.plan import Plan, make_plan
from restante_milter.reports import is_auto_reply, read_report
from restante_milter.services import Services
from restante_milter.terms import terms_of

MAX_HEADER_BYTES = 1_048_576
MAX_RECIPIENTS = 10_000
RETRY_SECONDS = 5 * 86_400.0  # how long an MTA goes on trying (RFC 5321, section 4.5.4.1)
ANONYMOUS_RETRY_SECONDS = 900.0  # a message without an id of its own may be meant twice
USER_MACRO = "{auth_authen}"
_OUR_HEADERS = frozenset({ROUTE_HEADER.lower(), NOTICE_HEADER.lower(), EXPIRE_HEADER.lower()})

log = structlog.get_logger()


class Session(Milter.Base):
    """The callbacks.  One instance for each connection; :meth:`_reset` begins each message."""

    def __init__(self, services: Services, finished: Callable[[], None], closed: Callable[[], None]) -> None:
        self._services = services
        self._by_recipient = services.settings.mta is Mta.SENDMAIL
        self._finished, self._closed = finished, closed
        self._message = MessageBuffer()
        self._reset()

    def _reset(self) -> None:
        self._message.close()
        self._message = MessageBuffer()
        self._sender = Address("", "")
        self._mail_parameters: tuple[str, ...] = ()
        self._recipients: list[tuple[bytes, Address, tuple[str, ...]]] = []
        self._expanded: set[int] = set()
        self._header_bytes = 0
        self._strangers: Counter[str] = Counter()
        self._wishes: list[bytes] = []
        self._failure = ""

    def negotiate(self, opts: list[int]) -> int:
        """Ask for what :mod:`restante_milter.inbound` judges at MAIL; we skip HELO, with which it would come else."""
        answer = super().negotiate(opts)
        if self._actions & Milter.SETSYMLIST:
            self._ctx.setsymlist(Milter.M_ENVFROM, " ".join(("i", USER_MACRO, *MACROS)))
        return answer

    @Milter.decode("bytes")
    def envfrom(self, address: bytes, *parameters: bytes) -> int:
        """MAIL FROM: a new message begins."""
        self._reset()
        try:
            self._sender = Address.parse(address)
        except BadAddress as error:
            return self._reply("553", "5.1.7", str(error))
        self._mail_parameters = _texts(parameters)
        return self._refuse_impostor((self._sender.domain,)) or int(Milter.CONTINUE)

    @Milter.decode("bytes")
    def envrcpt(self, address: bytes, *parameters: bytes) -> int:
        """RCPT TO: kept as parsed address and as the exact bytes."""
        if len(self._recipients) >= MAX_RECIPIENTS:
            return self._reply("452", "4.5.3", "too many recipients")
        try:
            parsed = Address.parse(address)
        except BadAddress as error:
            return self._reply("553", "5.1.3", str(error))
        if not parsed.is_mailbox:
            # Postfix would say that it deleted such a recipient, and keep it.
            return self._reply("553", "5.1.3", "the address is not a plain mailbox (RFC 5321, section 4.1.2)")
        if self._by_recipient and is_secured(parsed.domain):
            return self._reply("553", "5.1.2", "this domain is for Restante's own use")
        # Sendmail expands aliases at RCPT, and removing the alias later leaves what it became.
        if self._by_recipient and self.getsymval("{rcpt_mailer}") == "local":
            self._expanded.add(len(self._recipients))
        self._recipients.append((address, parsed, _texts(parameters)))
        return int(Milter.CONTINUE)

    @Milter.noreply
    @Milter.decode("bytes")
    def header(self, name: str, value: bytes) -> int:
        """One header field."""
        try:
            self._take_header(name, value)
        # libmilter ignores what a callback without a reply raises: without this, eom would judge a cut message.
        except Exception as error:  # noqa: BLE001
            self._failure = type(error).__name__
        return int(Milter.CONTINUE)

    def _take_header(self, name: str, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._failure = "header block too large"
        elif name.lower() in _OUR_HEADERS:
            # Of an earlier journey, or forged: it must not speak for this one.  A wish is for us alone.
            self._strangers[name.lower()] += 1
            if name.lower() == EXPIRE_HEADER.lower():
                self._wishes.append(value)
        else:
            self._message.add_header(name, value)

    @Milter.noreply
    def body(self, chunk: bytes) -> int:
        """A piece of the body.  A full disk is remembered and answered at the end of the message."""
        if not self._failure:
            try:
                self._message.add_body(chunk)
            except OSError as error:
                self._failure = f"cannot spool: {error.strerror}"
            # As in header(): unheard, it would leave a part of the body unseen.
            except Exception as error:  # noqa: BLE001
                self._failure = type(error).__name__
        return int(Milter.CONTINUE)

    def eom(self) -> int:
        """End of message: classify, decide, hold, answer."""
        try:
            return self._conclude()
        except BadWish as error:
            return self._reply("550", "5.6.0", f"Sensitive message not sent: {error}")
        except RestanteError as error:
            log.error("message-deferred", queue_id=self._queue_id(), error=str(error))
            return self._defer()
        # The boundary to libmilter: whatever went wrong, the answer is 4xx, and a traceback could show the message.
        except Exception as error:  # noqa: BLE001
            log.error("message-deferred", queue_id=self._queue_id(), error=type(error).__name__, at=_where(error))
            return self._defer()
        finally:
            self._reset()
            self._finished()

    def abort(self) -> int:
        """The client went away: forget the message."""
        self._reset()
        return int(Milter.CONTINUE)

    def close(self) -> int:
        """The connection is over."""
        self._message.close()
        self._closed()
        return int(Milter.CONTINUE)

    def _conclude(self) -> int:
        if self._failure:
            log.error("message-deferred", queue_id=self._queue_id(), error=self._failure)
            return self._defer()
        kind = self._message.header("Content-Type")
        if self._is_to_notices() and is_auto_reply(self._message.header("Auto-Submitted"), kind):
            log.info("auto-reply-dropped", queue_id=self._queue_id())
            return int(Milter.DISCARD)
        force = self._services.in_force
        refused = self._refuse_impostor(claimed_domains(self._message.header("From"))) if force.policy.inbound else 0
        if refused:
            return refused
        if self._is_to_notices() and not self._sender.text:
            self._take_report()  # and the mailbox gets it all the same
        turn = contextlib.nullcontext() if self._message.spooled else self._services.turns.taken()
        with turn, self._message.open() as source:
            classification = force.classifier.classify(source, waiting=self._still_working)
        envelope = Envelope(
            self._sender,
            tuple(parsed for _, parsed, _ in self._recipients),
            self._queue_id(),
            str(self.getsymval(USER_MACRO) or ""),
        )
        circumstances = Circumstances(acquaintances=self._services.acquaintances)
        rule, matched = matching_rule(force.policy, classification, envelope, circumstances)
        if rule is None:
            self._remove_strangers(frozenset({EXPIRE_HEADER.lower()}))
            self._learn(envelope.recipients)
            return int(Milter.ACCEPT)
        wanted = domains_to_judge(rule, force.policy, envelope)
        evidence = self._services.verdicts.ask(wanted) if wanted else {}
        decision = decide(force.policy, rule, matched, envelope, evidence)
        answer = self._carry_out(classification, decision, envelope)
        sent = (one.recipient for one in decision.recipients if one.route in {Route.RELAY, Route.TLS})
        self._learn(tuple(sent))
        return answer

    def _is_to_notices(self) -> bool:
        """Whether the message goes to the address that our notices come from, and nowhere else."""
        ours = self._services.settings.notice.sender.lower()
        return len(self._recipients) == 1 and self._recipients[0][1].text.lower() == ours

    def _take_report(self) -> None:
        """Have the sender of a message told where a report says that the notice about it did not arrive."""
        with self._message.open() as source:
            report = read_report(self._message.header("Content-Type"), source, self._services.route_secret)
        if report is not None:
            with self._services.store.write() as session:
                undelivered.note(session, report.lost, time.time(), proved_for=report.delivery_id)

    def _learn(self, recipients: tuple[Address, ...]) -> None:
        """Remember whom this site writes to, where it does."""
        learner, policy = self._services.learner, self._services.in_force.policy
        if learner is not None and self._sender.stays_here(policy.is_internal):
            outside = [one for one in recipients if not one.stays_here(policy.is_internal)]
            learner.note(self._sender, outside, now=time.time())

    def _still_working(self) -> None:
        """Tell the MTA, whose patience for an answer would end while a large attachment is read."""
        with contextlib.suppress(Milter.error):
            self.progress()

    def _carry_out(self, classification: Classification, decision: Decision, envelope: Envelope) -> int:
        now = time.time()
        parameters = tuple(parameters for _, _, parameters in self._recipients)
        kept = self._kept_seconds(decision)
        plan = make_plan(decision, parameters, now, by_recipient=self._by_recipient, kept_seconds=kept)
        log.info(
            "message-decided",
            queue_id=envelope.client_id,
            rule=decision.rule.name if decision.rule else "",
            routes=sorted({str(one.route) for one in decision.recipients}),
            recipients=len(envelope.recipients),
        )
        if plan.refuse:
            return self._reply("550", "5.7.1", plan.refuse)
        if any(self._recipients[index][1].domain.startswith("[") for index in plan.secured):
            return self._reply("550", "5.1.2", "Sensitive message not sent: an address literal takes no demand for TLS")
        if self._expanded & {*plan.removed, *plan.secured}:
            log.error("local-recipient", queue_id=envelope.client_id, remedy="add its domain to internal_domains")
            return self._defer()
        subject = self._subject_without(classification.subject_tags)
        if plan.removed:
            self._hold(plan, classification, decision, now, kept)
        # Only now, with everything committed, is the MTA told to forget anything.
        for index in plan.removed:
            self.delrcpt(self._recipients[index][0].decode("utf-8"))  # was checked to be UTF-8, so the bytes come back
        if len(plan.removed) == len(self._recipients):
            return int(Milter.DISCARD)
        if plan.mark is not None:
            self._secure(plan.secured, plan.mark.requirement)
        if subject is not None:
            self.chgheader("Subject", 1, subject)
        self._remove_strangers()
        if plan.mark is not None:
            self.addheader(ROUTE_HEADER, plan.mark.sign(self._services.route_secret))
        return int(Milter.ACCEPT)

    def _kept_seconds(self, decision: Decision) -> float:
        """How long the sender wishes the message to be kept; 0 without a wish.  Raises :class:`BadWish`."""
        rule = decision.rule
        wish = None if rule is None or rule.action is Action.RELAY else wished_seconds(self._wishes)
        return 0.0 if rule is None or wish is None else seconds_kept(rule, wish)

    def _remove_strangers(self, names: frozenset[str] = _OUR_HEADERS) -> None:
        for name in names & self._strangers.keys():
            for index in range(self._strangers[name], 0, -1):
                self.chgheader(name, index, None)

    def _secure(self, positions: tuple[int, ...], requirement: Requirement) -> None:
        """Exchange recipients for those that Sendmail reaches under mandatory TLS alone.  The new one comes first."""
        for index in positions:
            raw, parsed, parameters = self._recipients[index]
            original = with_original(parsed.text, tuple(one for one in parameters if _is_dsn(one)))
            self.addrcpt(f"<{secured(parsed.text, requirement)}>", " ".join(original))
            self.delrcpt(raw.decode("utf-8"))

    def _hold(self, plan: Plan, classification: Classification, decision: Decision, now: float, kept: float) -> None:
        rule = decision.rule
        if rule is None:
            raise ValueError("a message that no rule matched is never held")
        key = DataKey.fresh(new_id())
        secret = derive(self._services.route_secret, "fingerprint")
        request = HoldRequest(
            fingerprint=self._fingerprint(secret),
            retry_seconds=RETRY_SECONDS if self._has_own_id() else ANONYMOUS_RETRY_SECONDS,
            sender=self._sender.text,
            header_message_id=one_line(self._message.header("Message-ID")),
            size=self._message.size,
            key=key,
            chunks=lambda: self._message.sealed(key),
            summary=key.seal_note(
                encode_summary(
                    classification,
                    decision.matched,
                    self._message.header("From") or b"",
                    self._message.header("Date") or b"",
                ),
                "summary",
            ),
            **terms_of(rule, now),
            requirement=plan.requirement,
            otherwise=rule.otherwise,
            deadline=now + rule.deadline_hours * 3600,
            expires_at=now + (kept or rule.expires_after.total_seconds()),
            deliveries=plan.deliveries,
            mail_parameters=self._mail_parameters,
        )
        services = self._services
        hold(services.store, services.vault, services.worker, request, actor="milter", now=now)

    def _fingerprint(self, secret: bytes) -> bytes:
        """The same for a retry of the same message by the same client: sender, recipients, every byte of content.

        Not the Date of a message that carries its own Message-ID: where the client wrote none the MTA adds the
        moment of this try, and every retry would look like another message.
        """
        envelope = b"\0".join([self._sender.text.encode(), *sorted(raw for raw, _, _ in self._recipients)])
        without = frozenset({"date"} if self._has_own_id() else ())
        return self._message.digest(secret + envelope, without=without)

    def _has_own_id(self) -> bool:
        """Whether the client gave the message an id.  One that the MTA adds is made of its queue id."""
        message_id, queue_id = self._message.header("Message-ID") or b"", self._queue_id().encode()
        return bool(message_id) and (not queue_id or queue_id not in message_id)

    def _subject_without(self, tags: tuple[str, ...]) -> str | None:
        """The subject to send where the sender's tags are taken out; ``None`` where nothing is to change."""
        value = self._message.header("Subject")
        if not tags or value is None:
            return None
        try:
            text = str(make_header(decode_header(value.decode("utf-8"))))
        except (UnicodeDecodeError, LookupError, ValueError):
            return None  # unreadable: leave it as the sender wrote it
        for tag in tags:
            text = text.replace(tag, "", 1)
        shorter = " ".join(text.split())
        encoded = shorter if shorter.isascii() else Header(shorter, "utf-8").encode(linesep="\n")
        self._message.replace_header("Subject", encoded.encode("ascii"))
        return encoded

    def _refuse_impostor(self, domains: tuple[str, ...]) -> int:
        """Refuse mail that claims to come from a partner and does not prove what is agreed; 0 where it may go on."""
        partners = self._services.in_force.policy.inbound
        if not partners:
            return 0
        arrival = Arrival(*(str(self.getsymval(macro) or "") for macro in MACROS))
        reason = refusal(partners, domains, arrival)
        if not reason:
            return 0
        log.warning("impostor-refused", queue_id=self._queue_id(), reason=reason, tls=arrival.tls_version)
        return self._reply("550", "5.7.10" if not arrival.tls_version else "5.7.1", reason)

    def _queue_id(self) -> str:
        return str(self.getsymval("i") or "")

    def _defer(self) -> int:
        return self._reply("451", "4.7.1", "Message cannot be handled now, try again later")

    def _reply(self, code: str, extended: str, text: str) -> int:
        self.setreply(code, extended, text.replace("%", "%%"))
        return int(Milter.TEMPFAIL if code.startswith("4") else Milter.REJECT)


def _is_dsn(parameter: str) -> bool:
    return parameter.partition("=")[0].upper() in {"NOTIFY", "ORCPT"}


def _texts(parameters: tuple[bytes, ...]) -> tuple[str, ...]:
    return tuple(parameter.decode("utf-8", "replace") for parameter in parameters)


def _where(error: BaseException) -> str:
    """File and line of the innermost frame: enough to find the fault, without any of the message."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return f"{frame.tb_frame.f_code.co_filename.rpartition('/')[2]}:{frame.tb_lineno}" if frame else ""
