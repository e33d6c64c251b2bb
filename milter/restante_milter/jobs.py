"""What the worker does for each job of the outbox: tell people, or hand copies to the MTA.

Links and codes are minted at the moment a notice is sent and exist nowhere else.  A job that fails is tried again
with back-off; the part that was done is not done twice, except that a submission whose answer was lost may be
repeated (RFC 1047 explains why that cannot be excluded).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from typing import Any

import structlog

from restante import languages
from restante.enrolment_keys import EnrolmentKeys
from restante.envelope import Address
from restante.marks import NOTICE, ROUTE_HEADER, NoticeMark, RouteMark
from restante.notice_ids import notice_message_id
from restante.notices import NoticeWriter, Told
from restante.settings import Settings
from restante.store import fresh, holding, outbox, tls_history
from restante.store.blobs import BlobReader
from restante.store.engine import Store
from restante.store.models import DeliveryState, JobKind
from restante.store.outbox import Case, Copy, Job
from restante.tls.agreed import Engine
from restante.tls.evidence import Ability, Requirement
from restante.vault import CannotOpen, Opener
from restante_milter.access_maker import AccessMaker
from restante_milter.handover import TlsWay
from restante_milter.receipt_teller import ReceiptTeller
from restante_milter.reply_sender import ReplySender
from restante_milter.sign_in_teller import SignInTeller
from restante_milter.submit import NotSubmitted, Recipient, submit

log = structlog.get_logger()

_OUTCOMES = {
    DeliveryState.HELD: "waits in the portal, a notice was sent",
    DeliveryState.OPENED: "was collected from the portal",
    DeliveryState.QUARANTINED: "is held for review before it is sent",
    DeliveryState.HANDOVER: "goes out under mandatory TLS",
    DeliveryState.HANDED_OVER: "goes out under mandatory TLS",
    DeliveryState.REJECTED: "was not sent",
    DeliveryState.DELETED: "was not sent",
    DeliveryState.RECALLED: "was recalled",
    DeliveryState.EXPIRED: "has expired",
}


_HEALED = "its domain can receive it over TLS now: it was sent that way, and the link to the portal is closed"
AT_ONCE = 4  # jobs under way in one worker
QUESTIONS_AT_ONCE = 50  # domains that one job has looked at
SEEN_TO_HEAL = 2


@dataclass(slots=True)
class _Round:
    """One attempt at a notify job: what was told with which code, and whose notice could not be submitted."""

    told: list[Told] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    error: str = ""


def _none_agreed(_domain: str) -> None:
    return None


class JobRunner:
    """Runs jobs.  Blocking work happens in threads, so that Postfix's questions are answered meanwhile."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: Engine,
        opener: Opener,
        route_secret: bytes,
        next_hop: Callable[[str], str],
        is_internal: Callable[[str], bool],
        agreed_language: Callable[[str], str | None] = _none_agreed,
        keys: EnrolmentKeys | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._engine = engine
        self._opener = opener
        self._secret = route_secret
        self._next_hop, self._is_internal = next_hop, is_internal
        self._agreed_language = agreed_language
        self._writer = NoticeWriter(settings, route_secret)
        self._access = AccessMaker(settings, store, keys)
        self._receipts = ReceiptTeller(
            settings, store, self._writer, route_secret, self._submit_to_sender, self._submit_here_to
        )
        self._replies = ReplySender(settings, store, opener, route_secret, is_internal)
        self._sign_ins = SignInTeller(settings, store, self._writer, keys, self._language, self._submit_notice)
        self._handing_over = asyncio.Lock()

    async def run_due(self) -> int:
        """Run what is due now; how many jobs that were.  Raises ``StoreUnavailable`` when they cannot be read."""
        await asyncio.to_thread(fresh.serve, self._store, now=time.time())
        due = await asyncio.to_thread(outbox.due_ids, self._store, now=time.time())
        room = asyncio.Semaphore(AT_ONCE)
        await asyncio.gather(*(self._lease_and_run(job_id, room) for job_id in due))
        return len(due)

    async def _lease_and_run(self, job_id: str, room: asyncio.Semaphore) -> None:
        async with room:  # leased only when its turn has come, so that the lease covers its work and nothing else
            job = await asyncio.to_thread(outbox.lease, self._store, job_id, now=time.time())
            if job is not None:
                await self._run(job)

    async def _run(self, job: Job) -> None:
        try:
            if job.kind == JobKind.NOTIFY:
                await self._notify(job)
            elif job.kind == JobKind.HEAL:
                await self._heal(job)
            elif job.kind == JobKind.SIGN_IN:
                await self._tell_sign_in(job)
            elif job.kind == JobKind.RECEIPT:
                await asyncio.to_thread(self._receipts.tell, job)
            elif job.kind == JobKind.REPLY:
                await asyncio.to_thread(self._reply, job)
            elif job.kind == JobKind.HANDOVER:
                # One at a time: between the MTA's 250 and our commit a crash would repeat whatever is there.
                async with self._handing_over:
                    await asyncio.to_thread(self._hand_over, job)
            else:
                await asyncio.to_thread(self._tell_rejected, job)
        except NotSubmitted as error:
            await asyncio.to_thread(self._later, job, str(error))
        except CannotOpen as error:
            # Retried like the rest: the operator may yet put the right key in place.
            await asyncio.to_thread(self._later, job, str(error))
        # The boundary of the task: one bad job must not stop the others, and it stays in the outbox.
        except Exception as error:  # noqa: BLE001
            log.error("job-failed", job=job.id, kind=job.kind, error=type(error).__name__)
            await asyncio.to_thread(self._later, job, type(error).__name__)

    def _later(self, job: Job, error: str, payload: dict[str, Any] | None = None) -> None:
        """Try again with back-off, or give up after the time that the settings allow."""
        worker = self._settings.worker
        now = time.time()
        if now - job.created_at > worker.give_up_hours * 3600:
            log.error("job-given-up", job=job.id, kind=job.kind, error=error)
            if job.kind == JobKind.HANDOVER:
                refused = dict.fromkeys(job.payload["deliveries"], f"given up: {error}")
                holding.handed_over(self._store, job.id, [], refused, now=now)
            elif job.kind == JobKind.NOTIFY:
                holding.notice_failed(self._store, job.id, job.payload["deliveries"], error, now=now)
            elif job.kind == JobKind.REPLY:
                self._replies.give_up(job, error)
            else:
                outbox.give_up(self._store, job.id, error)
            return
        pause = min(worker.retry_first_seconds * 2 ** min(job.attempts - 1, 20), worker.retry_last_seconds)
        log.warning("job-retried", job=job.id, kind=job.kind, attempts=job.attempts, error=error, pause=pause)
        outbox.retry(self._store, job, error, due_at=now + pause, payload=payload)

    def _reply(self, job: Job) -> None:
        rest, error = self._replies.send(job)
        if rest:
            self._later(job, error, rest)

    # --- notices -------------------------------------------------------------------------------------------------

    async def _notify(self, job: Job) -> None:
        case = await asyncio.to_thread(outbox.load_case, self._store, job.message_id)
        clear = set(job.payload.get("clear", ()))
        copies = {delivery_id: case.copy(delivery_id) for delivery_id in job.payload["deliveries"]}
        by_tls = await self._by_tls(case, copies, clear)
        await asyncio.to_thread(self._tell, job, case, by_tls)

    async def _tell_sign_in(self, job: Job) -> None:
        """About ways to sign in: nothing in it opens anything, so that it goes in clear where there is no TLS."""
        case = await asyncio.to_thread(outbox.load_case, self._store, job.message_id)
        named = job.payload["delivery"]
        by_tls = await self._by_tls(case, {named: case.copy(named)}, {named} if job.payload.get("clear") else set())
        await asyncio.to_thread(self._sign_ins.tell, job, case, tls=by_tls[named])

    async def _by_tls(self, case: Case, copies: Mapping[str, Copy | None], clear: Collection[str]) -> dict[str, bool]:
        """Whose notice goes under TLS, or stays here; those in ``clear`` have been tried that way."""
        domains = {copy.domain for copy in copies.values() if copy is not None and not self._stays_here(copy.recipient)}
        abilities = await self._abilities(domains, Requirement(case.requirement))
        return {
            delivery_id: copy is not None
            and delivery_id not in clear
            and (self._stays_here(copy.recipient) or abilities[copy.domain] is Ability.YES)
            for delivery_id, copy in copies.items()
        }

    async def _abilities(self, domains: Collection[str], requirement: Requirement) -> dict[str, Ability]:
        room = asyncio.Semaphore(QUESTIONS_AT_ONCE)

        async def ability(domain: str) -> Ability:
            async with room:
                return (await self._engine.evidence(domain)).ability(requirement)

        return dict(zip(domains, await asyncio.gather(*map(ability, domains)), strict=True))

    def _stays_here(self, address: str) -> bool:
        return Address.parse(address).stays_here(self._is_internal)

    def _tell(self, job: Job, case: Case, by_tls: Mapping[str, bool]) -> None:
        attempt = self._tell_recipients(job, case, by_tls)
        try:
            self._tell_sender(job, case, attempt)
        except NotSubmitted as error:
            self._later(job, str(error))  # with fresh links and codes for everyone: the sender knows none of these
            return
        if attempt.failed:
            # The sender knows of the others; what is left is told when it is done.
            self._later(job, attempt.error, {**job.payload, "deliveries": attempt.failed, "cause": "later"})
            return
        outbox.finish(self._store, job.id)

    def _tell_recipients(self, job: Job, case: Case, by_tls: Mapping[str, bool]) -> _Round:
        attempt = _Round()
        for delivery_id, tls in by_tls.items():
            copy = case.copy(delivery_id)
            first_try = job.attempts == 1 and job.payload.get("code") != "new"
            by_code = bool(job.payload.get("by_code")) or job.payload.get("code") == "new"
            access = self._access.mint(case, copy, tls=tls, first_try=first_try, by_code=by_code) if copy else None
            if copy is None or access is None:
                continue
            language = self._language(copy.domain)
            notice = self._writer.for_recipient(
                mark=NoticeMark(case.message_id, delivery_id),
                recipient=copy.recipient,
                sender=case.sender or self._settings.notice.sender,
                way=access.way,
                expires_at=case.expires_at,
                language=language,
            )
            notice.replace_header("Message-ID", notice_message_id(access.link_id, self._settings.hostname))
            try:
                self._submit_notice(notice, copy.recipient, case if tls else None)
            except NotSubmitted as error:
                attempt.failed.append(delivery_id)
                attempt.error = str(error)
                continue
            access = self._access.send_code(access, case.sender, language=language)
            outcome = "; ".join(filter(None, (_outcome(copy), access.remark)))
            attempt.told.append(Told(copy.recipient, outcome, access.for_sender))
        return attempt

    def _language(self, domain: str) -> str:
        """What its recipients are written to in: as agreed with the domain, else by its country, else as set."""
        return self._agreed_language(domain) or languages.of_domain(domain, self._settings.notice.language)

    def _tell_sender(self, job: Job, case: Case, attempt: _Round) -> None:
        if not case.sender:
            return
        told = {one.recipient: one for one in attempt.told}
        if job.payload["cause"] == "held":
            waiting = set(attempt.failed)
            everyone = [told.get(copy.recipient) or Told(copy.recipient, _outcome(copy)) for copy in case.copies]
            lines = [
                replace(one, outcome="will be told shortly that it waits in the portal")
                if any(copy.recipient == one.recipient and copy.delivery_id in waiting for copy in case.copies)
                else one
                for one in everyone
            ]
        elif job.payload["cause"] == "healed":
            healed = set(job.payload["healed"])
            lines = [Told(copy.recipient, _HEALED) for copy in case.copies if copy.delivery_id in healed]
        elif job.payload["cause"] == "fresh":
            lines = [one for one in attempt.told if one.code]
        else:
            lines = list(attempt.told)
        if not lines:
            return
        notice = self._writer.for_sender(
            mark=NoticeMark(case.message_id),
            sender=case.sender,
            about=case.header_message_id,
            sent_at=case.created_at,
            told=lines,
            expires_at=case.expires_at,
            page=self._receipts.page(case),
        )
        self._submit_to_sender(notice, case.sender)

    def _tell_rejected(self, job: Job) -> None:
        case = outbox.load_case(self._store, job.message_id)
        if case.sender:
            recipients = [copy.recipient for copy in case.copies if copy.delivery_id in job.payload["deliveries"]]
            notice = self._writer.of_refusal(
                mark=NoticeMark(case.message_id),
                sender=case.sender,
                about=case.header_message_id,
                sent_at=case.created_at,
                recipients=recipients,
                text=job.payload["text"],
            )
            self._submit_to_sender(notice, case.sender)
        outbox.finish(self._store, job.id)

    def _submit_to_sender(self, notice: EmailMessage, sender: str) -> None:
        """A sender of this site has a mailbox here; to any other, a code travels only under TLS."""
        if self._stays_here(sender):
            self._submit(None, notice, sender, b"")
            return
        mark = RouteMark.fresh(Requirement.ENCRYPTED, NOTICE, "", time.time())
        self._submit(Requirement.ENCRYPTED, notice, sender, _mark_header(mark, self._secret))

    def _submit_here_to(self, notice: EmailMessage, address: str) -> None:
        """The operator's own mailbox is reached in the ordinary way."""
        self._submit(None, notice, address, b"")

    def _submit_notice(self, notice: EmailMessage, recipient: str, case: Case | None) -> None:
        """Submit a recipient's notice: under the case's TLS requirement, or in the ordinary way without a case."""
        if case is None or self._stays_here(recipient):
            self._submit(None, notice, recipient, b"")
            return
        requirement = Requirement(case.requirement)
        mark = RouteMark.fresh(requirement, NOTICE, case.rule, time.time())
        self._submit(requirement, notice, recipient, _mark_header(mark, self._secret))

    def _submit(self, requirement: Requirement | None, notice: EmailMessage, recipient: str, prefix: bytes) -> None:
        parameters = () if recipient.isascii() else ("SMTPUTF8",)
        way = TlsWay(self._settings, requirement) if requirement is not None else None
        refused = submit(
            way.endpoint if way else self._settings.worker.submit,
            self._settings.hostname,
            self._settings.notice.sender,
            parameters,
            way.recipients([Recipient(recipient)]) if way else [Recipient(recipient)],
            [prefix, notice.as_bytes()],
        )
        if refused:
            raise NotSubmitted(next(iter(refused.values())))

    # --- healing -------------------------------------------------------------------------------------------------

    async def _heal(self, job: Job) -> None:
        """Look again at the domain of a copy that waits; after two looks that show TLS, deliver the copy."""
        case = await asyncio.to_thread(outbox.load_case, self._store, job.message_id)
        copy = case.copy(next(iter(job.payload["deliveries"])))
        if copy is None or copy.state != DeliveryState.HELD or job.sealed is None:
            await asyncio.to_thread(outbox.finish, self._store, job.id)
            return
        evidence = await self._engine.evidence(copy.domain, recheck=True)
        able = evidence.ability(Requirement(job.payload["requirement"])) is Ability.YES
        seen = job.payload["seen"] + 1 if able else 0
        now = time.time()
        if seen < SEEN_TO_HEAL:
            due_at = now + self._settings.worker.heal_seconds
            again = {**job.payload, "seen": seen}
            await asyncio.to_thread(outbox.retry, self._store, job, evidence.reason, due_at=due_at, payload=again)
            return
        log.info("message-healed", domain=copy.domain, level=evidence.level, delivery=copy.delivery_id)
        try:
            await asyncio.to_thread(
                holding.heal, self._store, job.id, copy.delivery_id, job.payload, job.sealed, now=now
            )
        except holding.IllegalTransition:
            await asyncio.to_thread(outbox.finish, self._store, job.id)

    def tell_alarms(self) -> int:
        """Tell the operator of domains that lost their TLS, at most once in a day; how many domains that were."""
        postmaster = self._settings.notice.postmaster
        domains = tls_history.alarms_to_tell(self._store, now=time.time()) if postmaster else []
        if domains:
            try:
                self._submit_here_to(self._writer.of_alarm(postmaster=postmaster, domains=domains), postmaster)
            except NotSubmitted as error:
                log.warning("alarm-not-told", error=str(error))
                return 0
            tls_history.told(self._store, domains, now=time.time())
        return len(domains)

    # --- hand-over -----------------------------------------------------------------------------------------------

    def _hand_over(self, job: Job) -> None:
        case = outbox.load_case(self._store, job.message_id)
        copies = [copy for copy in case.copies if copy.delivery_id in job.payload["deliveries"]]
        waiting = [copy for copy in copies if copy.state == DeliveryState.HANDOVER]
        if not waiting:
            outbox.finish(self._store, job.id)
            return
        refused: dict[str, str] = {}
        here = [copy for copy in waiting if self._stays_here(copy.recipient)]
        if here:
            refused |= self._submit_here(job, case, here)
        away = [copy for copy in waiting if copy not in here]
        # One next hop at a time, since it moves a whole message; a reload may have parted what was held together.
        for hop in dict.fromkeys(self._next_hop(copy.domain) for copy in away):
            batch = [copy for copy in away if self._next_hop(copy.domain) == hop]
            refused |= self._submit_copies(job, case, batch)
        by_address = {copy.recipient: copy.delivery_id for copy in waiting}
        holding.handed_over(
            self._store,
            job.id,
            [copy.delivery_id for copy in waiting if copy.recipient not in refused],
            {by_address[address]: reply for address, reply in refused.items()},
            now=time.time(),
        )

    def _submit_here(self, job: Job, case: Case, copies: Sequence[Copy]) -> dict[str, str]:
        """A mailbox of this site is reached in the ordinary way: mandatory TLS would look for it outside."""
        key = self._opener.unwrap(case.blob_id, job.sealed)
        content = BlobReader(self._store, key, case.size).read()
        named = [Recipient(copy.recipient, tuple(job.payload["deliveries"][copy.delivery_id])) for copy in copies]
        endpoint = self._settings.worker.submit
        return submit(endpoint, self._settings.hostname, case.sender, job.payload["mail"], named, content)

    def _submit_copies(self, job: Job, case: Case, copies: Sequence[Copy]) -> dict[str, str]:
        key = self._opener.unwrap(case.blob_id, job.sealed)
        requirement = Requirement(job.payload["requirement"])
        # The job's id names the route, so that the intake recognises what it has taken already.
        kept = max(0.0, case.expires_at - case.created_at)
        mark = RouteMark(job.id, requirement, job.payload["otherwise"], case.rule, job.payload["deadline"], kept)
        parameters = job.payload["deliveries"]
        way = TlsWay(self._settings, requirement)
        named = way.recipients([Recipient(copy.recipient, tuple(parameters[copy.delivery_id])) for copy in copies])
        refused = submit(
            way.endpoint,
            self._settings.hostname,
            case.sender,
            job.payload["mail"],
            named,
            self._content(mark, BlobReader(self._store, key, case.size)),
        )
        pairs = zip(copies, named, strict=True)
        return {copy.recipient: refused[name.address] for copy, name in pairs if name.address in refused}

    def _content(self, mark: RouteMark, blob: BlobReader) -> Iterator[bytes]:
        yield _mark_header(mark, self._secret)
        yield from blob.read()


def _mark_header(mark: RouteMark, secret: bytes) -> bytes:
    return f"{ROUTE_HEADER}: {mark.sign(secret)}\r\n".encode("ascii")


def _outcome(copy: Copy) -> str:
    if copy.state == DeliveryState.LEFT_WITH_MTA:
        return "goes out under mandatory TLS" if copy.route == "tls" else "delivered as usual, within this site"
    outcome = _OUTCOMES[DeliveryState(copy.state)]
    explained = {DeliveryState.HELD, DeliveryState.REJECTED, DeliveryState.QUARANTINED}
    return f"{outcome} ({copy.reason})" if copy.state in explained else outcome
