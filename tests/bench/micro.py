"""Parts of the milter's work by themselves, in processor time: other programs on the machine do not count."""

from __future__ import annotations

import asyncio
import io
import itertools
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from restante.classify.engine import Classifier
from restante.classify.finding import Confidence
from restante.classify.pack_loader import built_in, compiled
from restante.classify.scan import Scanner
from restante.policy import Policy
from restante.tls.engine import VerdictEngine
from restante.tls.evidence import Evidence, Level
from restante.tls.probe import ProbeSettings
from tests.bench import mails

DOMAIN = "partner.example"


@dataclass(frozen=True, slots=True)
class Micro:
    """Microseconds for one mail and one remembered verdict; megabytes a second for long text.

    Mails and texts of which no two are alike, read after others of their kind, but for ``classify_mail_again_us``:
    the same mail again and again, as the milter's throughput is measured.
    """

    classify_mail_us: float
    classify_mail_again_us: float
    classify_text_mb_s: float
    prefilter_mb_s: float
    one_by_one_mb_s: float
    verdict_us: float


def measure(*, megabytes: int) -> Micro:
    """Classification over ``megabytes`` of text and the verdict engine's memory; no network is used."""
    classifier = Classifier(Policy.default())
    mail = mails.ordinary().replace(b"\n", b"\r\n")
    lines = mail.decode("ascii").lower().splitlines()
    text = ("\n".join(lines) + "\n").encode() * (megabytes * 1_000_000 // len(mail) + 1)
    fresh = [one.replace(b"\n", b"\r\n") for one in mails.varied(80 * megabytes, 1)]
    draw = random.Random(2)
    windows = ["\n".join(mails.varied_paragraphs(draw)).encode() for _ in range(300 * megabytes)]
    message = b"Subject: long\r\nContent-Type: text/plain\r\n\r\n" + text
    detectors = tuple(map(compiled, built_in().detectors))
    scanner = Scanner(detectors)
    little = text[: megabytes << 14]  # one pattern after the other takes seconds for this much
    patterns = [_python_pattern(form.pattern) for detector in detectors for form in detector.forms]
    return Micro(
        classify_mail_us=_fresh(lambda one: classifier.classify(io.BytesIO(one)), fresh) * 1e6,
        classify_mail_again_us=_best(lambda: classifier.classify(io.BytesIO(mail)), 200) * 1e6,
        classify_text_mb_s=len(message) / _best(lambda: classifier.classify(io.BytesIO(message)), 1) / 1e6,
        prefilter_mb_s=len(windows[0])
        / _fresh(lambda window: scanner.candidates(window, Confidence.MEDIUM), windows)
        / 1e6,
        one_by_one_mb_s=len(little) / _best(lambda: [pattern.search(little) for pattern in patterns], 1) / 1e6,
        verdict_us=asyncio.run(_verdict()) * 1e6,
    )


def _python_pattern(pattern: str) -> re.Pattern[bytes]:
    """The same pattern for Python's ``re``, whose classes of characters have other names."""
    return re.compile(pattern.replace(r"\pL\pM\pN", r"\w").replace(r"\pL\pN", r"\w").encode())


def _best(work: Callable[[], object], times: int) -> float:
    """Processor seconds of one call: the best of three series."""
    work()
    series = []
    for _ in range(3):
        begin = time.process_time()
        for _ in range(times):
            work()
        series.append((time.process_time() - begin) / times)
    return min(series)


def _fresh(work: Callable[[bytes], object], inputs: list[bytes]) -> float:
    """Processor seconds of one call, each with another input: the last quarter, in the best of four pieces."""
    *known, new = (inputs[at::4] for at in range(4))
    for one in itertools.chain(*known):
        work(one)
    pieces = [new[at::4] for at in range(4)]
    series = []
    for piece in pieces:
        begin = time.process_time()
        for one in piece:
            work(one)
        series.append((time.process_time() - begin) / len(piece))
    return min(series)


class _Kept:
    """A store that has evidence for one domain."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence

    def get(self, domain: str) -> Evidence | None:
        return self._evidence if domain == DOMAIN else None

    def put(self, evidence: Evidence) -> None:
        self._evidence = evidence


async def _verdict() -> float:
    now = time.time()
    known = Evidence(DOMAIN, Level.PKIX, "seen", now, now + 3600, now + 7200)
    engine = VerdictEngine(ProbeSettings(ehlo_name="bench.example", nameservers=("127.0.0.1",)), _Kept(known))
    await engine.evidence(DOMAIN)
    begin, times = time.process_time(), 5000
    for _ in range(times):
        await engine.evidence(DOMAIN)
    seconds = (time.process_time() - begin) / times
    await engine.close()
    return seconds
