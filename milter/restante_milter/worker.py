"""The worker service: answers Postfix and the milter, takes what could not be delivered, keeps the outbox's promises.

One asyncio loop; blocking work goes to threads.  When it is down, Postfix defers mail under mandatory TLS and
notices wait: nothing is lost and nothing leaves in clear.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable

import structlog

from restante.classify.extract.from_settings import extractor_from
from restante.credentials import Credential, read_credential
from restante.enrolment_keys import EnrolmentKeys
from restante.errors import RestanteError
from restante.policy import DomainPolicy
from restante.settings import HostPort, Settings
from restante.store import correspondents, delivered, epochs, receipts, throttle
from restante.store.engine import Store, StoreUnavailable
from restante.store.evidence import StoredEvidence
from restante.store.holding import expire_due
from restante.store.ring import KeyRing
from restante.store.sts_policies import StoredPolicies
from restante.tls.agreed import AgreedEngine
from restante.tls.from_settings import probe_settings, verdict_engine
from restante.vault import Opener
from restante_milter.intake import Intake
from restante_milter.jobs import JobRunner
from restante_milter.log_follower import LogFollower
from restante_milter.services import PolicyInForce, vault_sealer, worker_sealer
from restante_milter.socketmap import SocketmapServer
from restante_milter.tls_policy import tls_maps

EXPIRY_SECONDS = 60.0
ALARM_SECONDS = 10.0
FORGET_SECONDS = 3600.0
RING_SECONDS = 5.0
# Evidence of delivery is for questions about the past year, and for some weeks of asking them.
DELIVERIES_KEPT_SECONDS = 400 * 86_400.0

log = structlog.get_logger()


class CannotListen(RestanteError):
    """A listener of the worker cannot be opened.  The text says which and why; the service must not start."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.  Raises ``RestanteError`` for what the operator must mend first."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    await _Worker(settings).run()  # made inside the loop, to which the engine binds


def postfix_key(endpoint: HostPort) -> str:
    """An endpoint as Postfix writes it in ``smtp_fallback_relay`` and asks for it in a policy lookup."""
    return f"[{endpoint.host}]:{endpoint.port}"


def _enrolment_keys(settings: Settings) -> EnrolmentKeys:
    private = read_credential(settings.credentials, Credential.WORKER)
    return EnrolmentKeys.agree(private, base64.b64decode(settings.vault.public_key))


class _Worker:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret = read_credential(settings.credentials, Credential.ROUTE)
        self._ring = KeyRing(settings.ring_path)
        self._opener = Opener(read_credential(settings.credentials, Credential.WORKER), self._ring)
        self._extractor = extractor_from(settings.classify)
        self._in_force = PolicyInForce.load(settings).with_extractor(self._extractor)
        self._store = Store(settings.database)
        general = verdict_engine(
            settings.tls, settings.hostname, StoredEvidence(self._store), StoredPolicies(self._store)
        )
        self._engine = AgreedEngine(general, probe_settings(settings.tls, settings.hostname), self._agreed)
        self._jobs = JobRunner(
            settings,
            self._store,
            self._engine,
            self._opener,
            self._secret,
            self._next_hop,
            self._is_internal,
            self._agreed_language,
            _enrolment_keys(settings),
        )
        self._follower: LogFollower | None = None
        self._stop = asyncio.Event()

    def _agreed(self, destination: str) -> DomainPolicy | None:
        return self._in_force.policy.destination_policy(destination)

    def _next_hop(self, domain: str) -> str:
        return self._in_force.policy.next_hop(domain)

    def _is_internal(self, domain: str) -> bool:
        return self._in_force.policy.is_internal(domain)

    def _agreed_language(self, domain: str) -> str | None:
        agreed = self._in_force.policy.domain_policy(domain)
        return agreed.language if agreed is not None else None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        # The milter gives up after ``verdict_seconds``: one slow domain must not cost it the answers behind it.
        budget = min(8.0, 0.8 * self._settings.milter.verdict_seconds)
        fallback = postfix_key(self._settings.worker.intake)
        maps = tls_maps(self._engine, fallback, self._agreed, verdict_budget=budget)
        socketmap = SocketmapServer(maps)
        await self._begin_ring()
        intake = await self._listen_intake(loop)
        try:
            await self._listen_socketmap(socketmap)
            log.info(
                "worker-ready", socketmap=str(self._settings.worker.socketmap), intake=str(self._settings.worker.intake)
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._repeat("outbox", self._settings.worker.poll_seconds, self._jobs.run_due))
                tasks.create_task(self._repeat("expiry", EXPIRY_SECONDS, self._expire))
                tasks.create_task(self._repeat("ring", RING_SECONDS, self._tend_ring))
                tasks.create_task(self._repeat("alarms", ALARM_SECONDS, self._tell_alarms))
                tasks.create_task(self._repeat("correspondents", FORGET_SECONDS, self._forget))
                if self._settings.worker.mail_log:
                    tasks.create_task(self._repeat("mail-log", self._settings.worker.poll_seconds, self._read_log))
        finally:
            intake.close()
            await socketmap.close()
            await self._engine.close()
            self._store.close()
        log.info("worker-stopped")

    async def _listen_intake(self, loop: asyncio.AbstractEventLoop) -> asyncio.Server:
        handler = Intake(
            self._settings,
            self._store,
            self._engine,
            vault_sealer(self._settings),
            worker_sealer(self._settings),
            self._secret,
            lambda: self._in_force,
        )
        endpoint = self._settings.worker.intake
        try:
            return await loop.create_server(handler.factory, endpoint.host, endpoint.port)
        except OSError as error:
            raise CannotListen(f"worker.intake {endpoint}: {error.strerror}. Is another worker running?") from None

    async def _listen_socketmap(self, server: SocketmapServer) -> None:
        path = self._settings.worker.socketmap
        try:
            await server.listen_unix(path)
        except OSError as error:
            raise CannotListen(
                f"worker.socketmap {path}: {error.strerror}. Check that its folder exists and is ours"
            ) from None

    async def _repeat(self, name: str, pause: float, work: Callable[[], Awaitable[int]]) -> None:
        """Do ``work`` until told to stop: at once again while there is more, else after ``pause`` seconds."""
        while not self._stop.is_set():
            try:
                more = await work() > 0
            except StoreUnavailable as error:
                log.error("store-unavailable", task=name, error=str(error))
                more = False
            # The boundary of the task: whatever broke, the worker goes on answering Postfix, and tries again.
            except Exception as error:  # noqa: BLE001
                log.error("task-failed", task=name, error=type(error).__name__)
                more = False
            if not more:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), pause)

    async def _tell_alarms(self) -> int:
        return await asyncio.to_thread(self._jobs.tell_alarms)

    async def _read_log(self) -> int:
        if self._follower is None:
            worker = self._settings.worker
            self._follower = await asyncio.to_thread(LogFollower.open, self._store, worker.mail_log, worker.intake.port)
        return await asyncio.to_thread(self._follower.read)

    async def _begin_ring(self) -> None:
        """Open an epoch before the first message comes.  Without a ring the worker still answers for the rest."""
        try:
            if self._settings.ring.use:
                await asyncio.to_thread(epochs.prepare_ring, self._store, self._ring)
            await self._tend_ring()
        except StoreUnavailable as error:
            log.error("ring-unavailable", error=str(error))

    async def _tend_ring(self) -> int:
        kept = self._settings.ring
        return await asyncio.to_thread(
            epochs.tend, self._store, self._ring, use=kept.use, seconds=kept.epoch_minutes * 60, now=time.time()
        )

    async def _expire(self) -> int:
        now = time.time()
        await asyncio.to_thread(throttle.purge, self._store, now=now)
        ahead = self._settings.notice.remind_hours * 3600
        await asyncio.to_thread(receipts.remind, self._store, ahead_seconds=ahead, now=now)
        await asyncio.to_thread(delivered.forget_before, self._store, now - DELIVERIES_KEPT_SECONDS)
        return await asyncio.to_thread(expire_due, self._store, now=now)

    async def _forget(self) -> int:
        kept = self._settings.correspondents
        days = kept.forget_days if kept.learn else 0  # who learns no more keeps nothing of it either
        most = kept.most if kept.learn else 0
        await asyncio.to_thread(correspondents.forget, self._store, keep_days=days, most=most, now=time.time())
        return 0

    def _reload(self) -> None:
        try:
            self._in_force = PolicyInForce.load(self._settings).with_extractor(self._extractor)
        except RestanteError as error:
            log.error("policy-refused", error=str(error), in_force="the one before")
        else:
            log.info("policy-reloaded")
