"""What a crash test needs: clients that never give up, ways to kill at an exact step, and the account at the end."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import smtplib
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import select, update

from restante.store.engine import Store
from restante.store.models import Delivery, DeliveryState, Message, OutboxJob, OutboxState
from tests.lab import mail
from tests.lab.lab import Lab
from tests.lab.peers import Peer
from tests.lab.process import alive
from tests.lab.waiting import POLL_SECONDS, LabError, wait_until

RETRY_SECONDS = 0.05
ACCEPT_SECONDS = 90.0
ATTACH_SECONDS = 10.0

_WITH_MTA = frozenset({DeliveryState.HANDED_OVER, DeliveryState.LEFT_WITH_MTA})
TLS, CLEAR, RELAY = "tls.example", "clear.example", "site.example"


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that the server has taken for every recipient."""

    message_id: str
    recipients: tuple[str, ...]
    quarantined: bool


def _portal_and_tls(number: int) -> tuple[str, ...]:
    return (f"p{number}@{CLEAR}", f"t{number}@{TLS}")


def _every_way(number: int) -> tuple[str, ...]:
    return (f"r{number}@{RELAY}", f"t{number}@{TLS}", f"p{number}@{CLEAR}", f"u{number}@{TLS}")


def _review(number: int) -> tuple[str, ...]:
    return (f"q{number}@{CLEAR}", f"q{number}@{TLS}")


class Clients:
    """Threads that send until told to stop, each message until the server has taken it, as an MTA does.

    The messages have no Date, so that the MTA adds that of each try: a retry must be known as one all the same.

    ``pause`` is the time between two messages of one client, in seconds.  ``marker`` is in every sensitive part.
    """

    _mixes = (_every_way, _review, _portal_and_tls, _review)

    def __init__(self, lab: Lab, count: int, *, pause: float) -> None:
        self.marker = f"MARKER-{secrets.token_hex(8)}"
        self.sent: list[Sent] = []
        self.attempts = 0
        self._lab, self._pause = lab, pause
        self._numbers = itertools.count(1)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, name=f"client-{n}") for n in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors and error is None:
            raise self._errors[0]

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._send_next()
                self._stop.wait(self._pause)
        except BaseException as error:  # noqa: BLE001  a thread boundary: raised again at the end of the block
            self._errors.append(error)

    def _send_next(self) -> None:
        with self._lock:
            number = next(self._numbers)
        mix = self._mixes[number % len(self._mixes)]
        recipients = mix(number)
        quarantined = mix is _review
        message = (
            mail.for_review(to=recipients) if quarantined else mail.triggered(f"{self.marker} {number}", to=recipients)
        )
        # Nobody is told about a quarantined bounce, which keeps the worker's load small beside the milter's.
        self._deliver(message, recipients, sender="" if quarantined else mail.SENDER)
        with self._lock:
            self.sent.append(Sent(str(message["Message-ID"]), recipients, quarantined))

    def _deliver(self, message: EmailMessage, recipients: Sequence[str], *, sender: str) -> None:
        deadline = time.monotonic() + ACCEPT_SECONDS
        left = list(recipients)
        while left:
            if time.monotonic() > deadline:
                raise LabError(f"the server did not take a message for {left} within {ACCEPT_SECONDS:g} s")
            with self._lock:
                self.attempts += 1
            try:
                answer = self._lab.send(message, left, sender=sender)
            except (OSError, smtplib.SMTPException):
                answer = None
            if answer is not None and 500 <= answer.code < 600:
                raise LabError(f"the server refused for good: {answer}")
            if answer is not None and answer.accepted:
                left = [recipient for recipient in left if recipient in answer.refused]
            if left:
                time.sleep(RETRY_SECONDS)  # a client's own back-off: nothing to wait for


def kill_at(pid: int, syscall: str, number: int, seconds: float) -> bool:
    """Kill ``pid`` at the entry of the ``number``-th ``syscall`` that one of its threads makes from now on.

    Returns whether it died within ``seconds``; afterwards nothing is attached to it any more.
    """
    inject = f"inject={syscall}:signal=SIGKILL:when={number}"
    argv = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={syscall}", "-e", inject, "-p", str(pid)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as tracer:
        assert tracer.stderr is not None
        if b"attached" not in tracer.stderr.readline():
            return not alive(pid)
        deadline = time.monotonic() + seconds
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        dead = not alive(pid)
        tracer.terminate()
        try:
            tracer.wait(0.5 if dead else ATTACH_SECONDS)
        except subprocess.TimeoutExpired:
            tracer.kill()  # it may wait for ever for a thread of the dead process, and nobody could reap that
        return dead


def children(pid: int) -> list[int]:
    """The child processes of ``pid``, the oldest first."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return []
    return sorted((int(child) for child in text.split() if alive(int(child))), key=started)


def started(pid: int) -> float:
    """When ``pid`` was started, in seconds since boot; infinity when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return float("inf")
    return int(stat.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def grown_children(parent: int, age: float) -> list[int]:
    """The children of ``parent`` that have lived for ``age`` seconds, the oldest first."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    return [child for child in children(parent) if now - started(child) >= age]


def kill(pid: int) -> None:
    """SIGKILL, whether or not it is there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def end_leases(store: Store) -> None:
    """Make every unfinished job due, as the time of its lease does for a worker that died.  No worker may run."""
    with store.write() as session:
        session.execute(update(OutboxJob).where(OutboxJob.state == OutboxState.PENDING).values(due_at=0.0))


@dataclass(frozen=True, slots=True)
class Account:
    """Where every copy is in the end.  ``wrong`` says per recipient what is lost or doubled."""

    copies: int
    wrong: dict[str, str]
    repeated: dict[str, int]


def account(lab: Lab, store: Store, sent: Sequence[Sent]) -> Account:
    """Count every copy of ``sent`` once everything has settled.

    A copy that a peer got more than once and that had been handed over is in ``repeated`` as well as in ``wrong``.
    """
    received = Counter[tuple[str, str]]()
    told = Counter[str]()
    for domain in (TLS, CLEAR, RELAY):
        _count(lab.peer(domain), received, told)
    held = _held(store)
    wrong: dict[str, str] = {}
    repeated: dict[str, int] = {}
    for message in sent:
        for recipient in message.recipients:
            got = received[message.message_id, recipient]
            states = held.get((message.message_id, recipient), [])
            # What was handed over, or never was ours, is with the MTA or came back as another copy.
            kept = [state for state in states if state not in _WITH_MTA]
            if message.quarantined:
                right = (got, kept) == (0, [DeliveryState.QUARANTINED])
            elif recipient.endswith(CLEAR):
                right = (got, kept) == (0, [DeliveryState.HELD]) and told[recipient] > 0
            else:
                right = (got, kept) == (1, [])
            if not right:
                wrong[recipient] = f"received {got}, notices {told[recipient]}, store {states}"
            if got > 1 and not kept and DeliveryState.HANDED_OVER in states:
                repeated[recipient] = got - 1
    return Account(sum(len(message.recipients) for message in sent), wrong, repeated)


def _count(peer: Peer, received: Counter[tuple[str, str]], told: Counter[str]) -> None:
    for one in peer.mails():
        message = one.message
        for recipient in one.recipients:
            if message["X-Restante-Notice"] is not None:
                told[recipient] += 1
            else:
                assert one.tls or peer.domain == RELAY, f"{recipient} got a message in clear"
                received[str(message["Message-ID"]), recipient] += 1


def _held(store: Store) -> dict[tuple[str, str], list[str]]:
    query = select(Message.header_message_id, Delivery.recipient, Delivery.state).join(Delivery.message)
    held: dict[tuple[str, str], list[str]] = {}
    with store.read() as session:
        for message_id, recipient, state in session.execute(query):
            held.setdefault((message_id, recipient), []).append(state)
    return held


def settle(lab: Lab, store: Store, seconds: float) -> None:
    """Wait until no job and no mail is under way.  Raises :class:`LabError`."""

    def idle() -> bool:
        with store.read() as session:
            pending = session.scalar(select(OutboxJob.id).where(OutboxJob.state == OutboxState.PENDING).limit(1))
        return pending is None and not lab.postfix.queued()

    wait_until(idle, seconds, "the outbox and the queue to be empty")
