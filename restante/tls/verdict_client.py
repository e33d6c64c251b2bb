"""The milter's way to the verdicts: a blocking client of the worker's ``verdict`` map.

Guarantees: :meth:`VerdictClient.ask` returns within its timeout and never raises for a worker that is down, slow or
talks nonsense.  A missing answer means "unknown", which routes by mandatory TLS.  Safe to share between threads.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from restante.tls import netstring
from restante.tls.evidence import Evidence, Level

# Fewer than the server works on at once, so that neither side waits for the other to read.
_WINDOW: Final = 32
_CHUNK: Final = 65_536
_REMEMBER: Final = 30.0
_REMEMBERED: Final = 10_000
_WORTH_REMEMBERING: Final = frozenset({Level.DANE, Level.MTA_STS, Level.PKIX, Level.ENCRYPTED})

logger = logging.getLogger(__name__)


class VerdictClient:
    """Asks the worker behind ``socket_path``.  ``timeout`` bounds one :meth:`ask` altogether, in seconds.

    Give the worker's ``verdict`` budget less than ``timeout``, or one slow domain hides the answers behind it.
    """

    def __init__(self, socket_path: Path, timeout: float) -> None:
        self._path = str(socket_path)
        self._timeout = timeout
        self._lock = threading.Lock()
        self._remembered: dict[str, tuple[float, Evidence]] = {}

    def ask(self, domains: Iterable[str]) -> dict[str, Evidence]:
        """Evidence by domain; a domain without an answer is absent."""
        answers: dict[str, Evidence] = {}
        open_questions: list[str] = []
        for domain in dict.fromkeys(domains):
            remembered = self._recall(domain)
            if remembered is None:
                open_questions.append(domain)
            else:
                answers[domain] = remembered
        if not open_questions:
            return answers
        try:
            for domain, evidence in self._exchange(open_questions):
                answers[domain] = evidence
                self._keep(domain, evidence)
        except (OSError, ValueError) as error:
            logger.warning("no verdict from the worker: %s: %s", type(error).__name__, error)
        return answers

    def _exchange(self, domains: list[str]) -> Iterator[tuple[str, Evidence]]:
        """Ask on one connection, never more than a window ahead.  Answers come in order."""
        deadline = time.monotonic() + self._timeout
        waiting = iter(domains)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            _limit(sock, deadline)
            sock.connect(self._path)
            _send(sock, islice(waiting, _WINDOW), deadline)
            buffer = bytearray()
            for domain in domains:
                evidence = _parse(domain, _receive(sock, buffer, deadline))
                if evidence is not None:
                    yield domain, evidence
                _send(sock, islice(waiting, 1), deadline)

    def _recall(self, domain: str) -> Evidence | None:
        with self._lock:
            entry = self._remembered.get(domain)
        return entry[1] if entry is not None and time.monotonic() < entry[0] else None

    def _keep(self, domain: str, evidence: Evidence) -> None:
        if evidence.level not in _WORTH_REMEMBERING:
            return
        with self._lock:
            if len(self._remembered) >= _REMEMBERED:
                self._remembered.clear()
            self._remembered[domain] = (time.monotonic() + _REMEMBER, evidence)


def _limit(sock: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    sock.settimeout(left)


def _send(sock: socket.socket, domains: Iterable[str], deadline: float) -> None:
    questions = b"".join(netstring.encode(f"verdict {domain}".encode()) for domain in domains)
    if questions:
        _limit(sock, deadline)
        sock.sendall(questions)


def _receive(sock: socket.socket, buffer: bytearray, deadline: float) -> bytes:
    while (answer := netstring.take(buffer)) is None:
        _limit(sock, deadline)
        data = sock.recv(_CHUNK)
        if not data:
            raise ConnectionError("worker closed the connection")
        buffer += data
    return answer


def _parse(domain: str, answer: bytes) -> Evidence | None:
    status, _, text = answer.partition(b" ")
    if status != b"OK":
        return None
    try:
        evidence = Evidence.from_dict(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        logger.warning("the worker's verdict cannot be read")
        return None
    # An answer to another question would route this one by the wrong evidence.
    return evidence if evidence.domain == domain else None
