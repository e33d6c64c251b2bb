"""What one classification gathers: findings in order, each value once per place, under a key that is then forgotten."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import BinaryIO, Protocol

from restante.classify.detector import mask
from restante.classify.finding import Classification, Confidence, Finding
from restante.classify.readings import Observe, TextScan
from restante.classify.scan import Budget, Hit, Scanner
from restante.classify.text import normalise
from restante.classify.transfer import Base64, QuotedPrintable

MAX_CERTAIN = 10_000  # findings of high confidence that one detector may report; a rule can count that far
MAX_VAGUE = 1_000  # the same for lower confidences, which must not crowd out the certain ones
MAX_NAMES = 1_000

_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,3}[ \t\r]*\Z")
_FIRST_LINE = 12  # characters that the first line of a run has at least; shorter ones are words


class _Base64Runs:
    """Whatever stands on consecutive lines of nothing but base64, wherever in a message that is."""

    _LONGEST = 1 << 18

    def __init__(self, scan: TextScan) -> None:
        self._scan = scan
        self._decoder = Base64()
        self._carry: list[bytes] = []
        self._held = 0
        self._inside = False

    def feed(self, data: bytes) -> None:
        """More raw bytes."""
        self._carry.append(data)
        self._held += len(data)
        if b"\n" not in data and self._held < self._LONGEST:
            return
        text = b"".join(self._carry)
        end = text.rfind(b"\n") + 1 or len(text)
        self._carry, self._held = [text[end:]], len(text) - end
        self._lines(text[:end].removesuffix(b"\n").split(b"\n"))

    def _lines(self, lines: list[bytes]) -> None:
        run: list[bytes] = []
        for line in lines:
            if (self._inside or len(line) >= _FIRST_LINE) and _LINE.match(line):
                run.append(line)
                self._inside = True
            elif self._inside:
                self._scan.feed(self._decoder.feed(b"".join(run)) + self._decoder.close() + b"\n")
                run = []
                self._inside = False
        if run:
            self._scan.feed(self._decoder.feed(b"".join(run)))

    def close(self) -> None:
        """The message is complete."""
        self._lines([b"".join(self._carry)])
        self._scan.feed(self._decoder.close())
        self._scan.close()


class Recorder(Protocol):
    """Looks on while a message is classified, for who explains the outcome.  It changes nothing in it."""

    def part(self, place: str, decoding: str) -> Observe:
        """What to tell of the text in ``place`` that begins now, after ``decoding`` was undone ("" for none)."""


class Session:
    """The state of one call.  Not shared between threads."""

    def __init__(self, scanner: Scanner, budget: Budget, recorder: Recorder | None = None) -> None:
        self._scanner = scanner
        self._recorder = recorder
        self.budget = budget
        self._key = b""
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._values: set[tuple[str, str]] = set()
        self._counts: dict[tuple[str, bool], int] = {}
        self._notable = 0
        self.subject = ""
        self.trigger_tag = ""
        self.attachments: list[str] = []
        self.attachment_types: list[str] = []
        self.headers: list[tuple[str, str]] = []
        self.size = 0
        self.scan_raw = False

    def note(self, detector: str, place: str, confidence: Confidence, reason: str, match: str = "") -> None:
        """Record a finding that is no identifier; ``match`` is shown as it is."""
        key = (detector, place, match or reason)
        if key not in self._findings:
            self._findings[key] = Finding(detector, place, match, confidence, reason, self._digest(match or reason))

    def ambiguous(self, reason: str) -> None:
        """Readers may disagree about this message: every reading and the raw bytes are scanned as well."""
        self.scan_raw = True
        self.note("ambiguous-mime", "structure", Confidence.HIGH, reason)

    def opaque(self, reason: str, place: str = "structure") -> None:
        """Something could not be looked into."""
        self.note("cannot-inspect", place, Confidence.MEDIUM, reason)

    def attachment(self, name: str, kind: str) -> None:
        """There is an attachment called ``name`` that claims to be of the media type ``kind``."""
        if len(self.attachments) < MAX_NAMES:
            self.attachments.append(name)
            self.attachment_types.append(kind)

    def notable(self) -> int:
        """How often something of at least medium confidence was found so far."""
        return self._notable

    def text(self, place: str, charsets: tuple[str, ...] = (), *, html: bool = False, decoding: str = "") -> TextScan:
        """A scan whose hits are findings in ``place``; ``decoding`` says what was undone to get at the text."""

        def report(hit: Hit) -> None:
            self._hit(place, hit)

        observe = self._recorder.part(place, decoding) if self._recorder else None
        return TextScan(self._scanner, self.budget, report, charsets=charsets, html=html, observe=observe)

    def scan(self, place: str, text: str) -> bool:
        """Scan a short text at once; whether anything was found."""
        before = len(self._findings)
        padded = b"\n%b\n" % normalise(text)
        hits = self._scanner.scan(padded, 0, len(padded), self.budget)
        if self._recorder:
            self._recorder.part(place, "")("utf-8", padded, 0, len(padded), hits)
        for hit in hits:
            self._hit(place, hit)
        return len(self._findings) > before

    def _hit(self, place: str, hit: Hit) -> None:
        key = (hit.detector, place, hit.value)
        known = self._findings.get(key)
        if known is not None:
            if known.confidence >= hit.confidence:
                return
        elif place == "structure" and (hit.detector, hit.value) in self._values:
            # The raw bytes repeat what was found in its proper place.
            return
        kind = (hit.detector, hit.confidence is Confidence.HIGH)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] > (MAX_CERTAIN if kind[1] else MAX_VAGUE):
            self.budget.exhausted = True
            return
        self._values.add((hit.detector, hit.value))
        self._notable += hit.confidence >= Confidence.MEDIUM
        digest = self._digest(hit.value)
        self._findings[key] = Finding(hit.detector, place, mask(hit.value), hit.confidence, hit.reason, digest)

    def _digest(self, value: str) -> bytes:
        """Tells values apart within this message only: the key is never stored, so nothing can be tried out."""
        if not self._key:
            self._key = secrets.token_bytes(32)
        return hmac.digest(self._key, value.encode("utf-8", "replace"), "sha256")[:16]

    def raw(self, source: BinaryIO, block: int) -> None:
        """Scan the bytes of the message as they are, as quoted-printable, and every run of base64 lines in them."""
        plain = self.text("structure", html=True, decoding="raw bytes")
        printable = self.text("structure", html=True, decoding="raw bytes as quoted-printable")
        quoted = QuotedPrintable()
        runs = _Base64Runs(self.text("structure", html=True, decoding="base64 lines in the raw bytes"))
        while data := source.read(block):
            plain.feed(data)
            printable.feed(quoted.feed(data))
            runs.feed(data)
        printable.feed(quoted.close())
        for reading in (plain, printable, runs):
            reading.close()

    def result(self) -> Classification:
        """Everything gathered."""
        if self.budget.exhausted:
            self.opaque("more number-like strings than are looked at in one message")
        return Classification(
            tuple(self._findings.values()),
            self.subject,
            self.trigger_tag,
            tuple(self.attachments),
            tuple(self.attachment_types),
            tuple(self.headers),
            self.size,
        )
