"""What one classification gathers: findings in order, each value once per place, under a key that is then forgotten."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import BinaryIO

from restante.classify.detector import mask
from restante.classify.finding import Classification, Confidence, Finding
from restante.classify.readings import TextScan
from restante.classify.scan import Budget, Hit, Scanner
from restante.classify.text import normalise
from restante.classify.transfer import Base64, QuotedPrintable

MAX_FINDINGS = 10_000
MAX_NAMES = 1_000

_RUN = re.compile(rb"[A-Za-z0-9+/=\r\n]{16,}")


class Session:
    """The state of one call.  Not shared between threads."""

    def __init__(self, scanner: Scanner, budget: Budget) -> None:
        self._scanner = scanner
        self.budget = budget
        self._key = b""
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._values: set[tuple[str, str]] = set()
        self.subject = ""
        self.trigger_tag = ""
        self.attachments: list[str] = []
        self.scan_raw = False

    def note(self, detector: str, place: str, confidence: Confidence, reason: str, match: str = "") -> None:
        """Record a finding that is no identifier; ``match`` is shown as it is."""
        key = (detector, place, match or reason)
        if key not in self._findings and len(self._findings) < MAX_FINDINGS:
            self._findings[key] = Finding(detector, place, match, confidence, reason, self._digest(match or reason))

    def ambiguous(self, reason: str) -> None:
        """Readers may disagree about this message: every reading and the raw bytes are scanned as well."""
        self.scan_raw = True
        self.note("ambiguous-mime", "structure", Confidence.HIGH, reason)

    def opaque(self, reason: str, place: str = "structure") -> None:
        """Something could not be looked into."""
        self.note("cannot-inspect", place, Confidence.MEDIUM, reason)

    def count(self) -> int:
        """How many findings there are so far."""
        return len(self._findings)

    def text(self, place: str, charsets: tuple[str, ...] = (), *, html: bool = False) -> TextScan:
        """A scan whose hits are findings in ``place``."""

        def report(hit: Hit) -> None:
            self._hit(place, hit)

        return TextScan(self._scanner, self.budget, report, charsets=charsets, html=html)

    def scan(self, place: str, text: str) -> bool:
        """Scan a short text at once; whether anything was found."""
        before = len(self._findings)
        padded = b"\n%b\n" % normalise(text)
        for hit in self._scanner.scan(padded, 0, len(padded), self.budget):
            self._hit(place, hit)
        return len(self._findings) > before

    def _hit(self, place: str, hit: Hit) -> None:
        key = (hit.detector, place, hit.value)
        known = self._findings.get(key)
        if known is not None:
            if known.confidence >= hit.confidence:
                return
        elif len(self._findings) >= MAX_FINDINGS:
            self.budget.exhausted = True
            return
        elif place == "structure" and (hit.detector, hit.value) in self._values:
            # The raw bytes repeat what was found in its proper place.
            return
        self._values.add((hit.detector, hit.value))
        digest = self._digest(hit.value)
        self._findings[key] = Finding(hit.detector, place, mask(hit.value), hit.confidence, hit.reason, digest)

    def _digest(self, value: str) -> bytes:
        """Tells values apart within this message only: the key is never stored, so nothing can be tried out."""
        if not self._key:
            self._key = secrets.token_bytes(32)
        return hmac.digest(self._key, value.encode("utf-8", "replace"), "sha256")[:16]

    def raw(self, source: BinaryIO, block: int) -> None:
        """Scan the bytes of the message as they are, as quoted-printable, and every run of base64 in them."""
        plain, printable, runs = (self.text("structure", html=True) for _ in range(3))
        quoted, decoder, carry = QuotedPrintable(), Base64(), b""
        while data := source.read(block):
            plain.feed(data)
            printable.feed(quoted.feed(data))
            carry = self._runs(carry + data, decoder, runs, final=False)
        self._runs(carry, decoder, runs, final=True)
        printable.feed(quoted.close())
        for reading in (plain, printable, runs):
            reading.close()

    @staticmethod
    def _runs(data: bytes, decoder: Base64, scan: TextScan, *, final: bool) -> bytes:
        """Feed ``scan`` with what the base64 runs in ``data`` say; what may go on in the next block is returned."""
        position = 0
        for match in _RUN.finditer(data):
            if match.end() == len(data) and not final and len(match.group()) < 4096:
                return data[match.start() :]
            scan.feed(decoder.feed(match.group()))
            position = match.end()
            if position < len(data) or final:
                scan.feed(decoder.close() + b"\n")
        return b"" if final or position == len(data) else data[-16:] if position <= len(data) - 16 else data[position:]

    def result(self) -> Classification:
        """Everything gathered."""
        if self.budget.exhausted:
            self.opaque("more number-like strings than are looked at in one message")
        return Classification(
            tuple(self._findings.values()), self.subject, self.trigger_tag, tuple(self.attachments)
        )
