"""What one classification gathers: findings in order, each value once per place, under a key that is then forgotten."""

from __future__ import annotations

import hmac
import re
import secrets
from bisect import bisect_right
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from typing import Protocol

from restante.classify.detector import mask
from restante.classify.finding import QUOTED, Classification, Confidence, Finding
from restante.classify.headers import HeaderBlock, decode_words, text_of
from restante.classify.nearby import CONTEXT
from restante.classify.readings import Observe, TextScan
from restante.classify.scan import Budget, Hit, Scanner
from restante.classify.text import normalise

MAX_CERTAIN = 10_000  # findings of high confidence that one detector may report; a rule can count that far
MAX_VAGUE = 1_000  # the same for lower confidences, which must not crowd out the certain ones
MAX_NAMES = 1_000
MAX_EMBEDDED = 2_000

# What most parts have, and nothing else; file names in it are scanned by themselves.
_PLAIN = frozenset({b"content-type", b"content-transfer-encoding", b"content-disposition", b"mime-version"})
_APART = b" " * (CONTEXT + 20)
# Fields that programs write and no reader shows.  Their numbers pass check digits by chance as any others do.
_MACHINE = re.compile(
    rb"received\Z|x-received|dkim-|domainkey-|arc-|authentication-results|received-spf|message-id\Z|references\Z"
    rb"|in-reply-to\Z|resent-message-id|thread-index|return-path\Z|date\Z|mime-version\Z|content-(?:type|disposition|id)\Z"
    rb"|x-(?:ms|google|spam|gm|mailer|virus|mimeole|antiabuse|authentication|original(?:arrival|ating)|scanned|uid)"
)


_LONGEST_NAME = 40


@lru_cache(1024)
def _by_machine(name: bytes) -> bool:
    return _MACHINE.match(name) is not None


class Recorder(Protocol):
    """Looks on while a message is classified, for who explains the outcome.  It changes nothing in it."""

    def part(self, place: str, decoding: str) -> Observe:
        """What to tell of the text in ``place`` that begins now, after ``decoding`` was undone ("" for none)."""


@dataclass(frozen=True, slots=True)
class Whence:
    """Which body it is: its place in the message, its name, its nesting."""

    place: str
    name: str = ""
    depth: int = 0


class Keeper(Protocol):
    """Where a body is put aside."""

    def feed(self, data: bytes) -> None:
        """More of it."""

    def close(self) -> None:
        """It is complete."""


class Inspector(Protocol):
    """Has bodies read that hold more than text."""

    def keep(self, whence: Whence) -> Keeper:
        """Where to put the body aside that ``whence`` tells of."""


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
        self.subject_tags: list[str] = []
        self.attachments: list[str] = []
        self.attachment_types: list[str] = []
        self.headers: list[tuple[str, str]] = []
        self.size = 0
        self.scan_raw = False
        self._embedded = 0
        self.inspector: Inspector | None = None

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

    def may_open(self) -> bool:
        """Whether one more file inside a text may be opened; once it may not, that is a finding."""
        self._embedded += 1
        if self._embedded > MAX_EMBEDDED:
            self.opaque("more files inside texts than are looked at in one message")
        return self._embedded <= MAX_EMBEDDED

    def attachment(self, name: str, kind: str) -> None:
        """There is an attachment called ``name`` that claims to be of the media type ``kind``."""
        if len(self.attachments) < MAX_NAMES:
            self.attachments.append(name)
            self.attachment_types.append(kind)

    def notable(self) -> int:
        """How often something of at least medium confidence was found so far."""
        return self._notable

    def text(
        self,
        place: str,
        charsets: tuple[str, ...] = (),
        *,
        html: bool = False,
        source_is_shown: bool = False,
        joined: bool = False,
        decoding: str = "",
    ) -> TextScan:
        """A scan whose hits are findings in ``place``; ``decoding`` says what was undone to get at the text."""

        def report(hit: Hit) -> None:
            self._hit(place, hit)

        observe = self._recorder.part(place, decoding) if self._recorder else None
        return TextScan(
            self._scanner,
            self.budget,
            report,
            charsets=charsets,
            html=html,
            source_is_shown=source_is_shown,
            joined=joined,
            observe=observe,
        )

    def header(self, block: HeaderBlock, place: str) -> None:
        """Scan the fields of an entity in ``place``, "" for the message itself, each with its name.

        All are one text, since each pass costs; those that no reader shows stand out of reach of the words of others.
        """
        if _PLAIN.issuperset([name for name, _ in block.fields]):
            return
        shown: list[tuple[bytes, bytes]] = []
        silent: list[tuple[bytes, bytes]] = []
        for one in block.fields:
            (silent if _by_machine(one[0][:_LONGEST_NAME]) else shown).append(one)
        fields = [*shown, (b"", _APART), *silent]
        texts = [b"%b: %b\n" % one for one in fields]
        whole = b"".join(texts)
        if not whole.isascii() or b"=?" in whole or b"\0" in whole:
            texts = [normalise(f"{text_of(name)}: {decode_words(value)}\n") for name, value in fields]
            whole = b"".join(texts)
        padded = b"\n" + whole
        hits = self._scanner.scan(padded, 0, len(padded), self.budget)
        if self._recorder:
            self._recorder.part(place or "header", "")("utf-8", padded, 0, len(padded), hits)
        if not hits:
            return
        starts = list(accumulate(map(len, texts), initial=1))
        for hit in hits:
            number = max(bisect_right(starts, hit.start) - 1, 0)
            name = fields[number][0]
            where = place or ("subject" if name == b"subject" else f"header:{text_of(name)[:80].title()}")
            vague = number > len(shown) and " near " not in hit.reason
            self._hit(where, replace(hit, confidence=Confidence.LOW) if vague else hit)

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
            if known.confidence >= hit.confidence and not (known.quoted and not hit.reason.endswith(QUOTED)):
                return
            hit = replace(hit, confidence=max(known.confidence, hit.confidence))
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
        shown, digest = mask(hit.value, hit.detector), self._digest(hit.value)
        self._findings[key] = Finding(hit.detector, place, shown, hit.confidence, hit.reason, digest)

    def _digest(self, value: str) -> bytes:
        """Tells values apart within this message only: the key is never stored, so nothing can be tried out."""
        if not self._key:
            self._key = secrets.token_bytes(32)
        return hmac.digest(self._key, value.encode("utf-8", "replace"), "sha256")[:16]

    def result(self) -> Classification:
        """Everything gathered."""
        if self.budget.exhausted:
            self.opaque("more number-like strings than are looked at in one message")
        return Classification(
            tuple(self._findings.values()),
            self.subject,
            self.subject_tags[0] if self.subject_tags else "",
            tuple(self.attachments),
            tuple(self.attachment_types),
            tuple(self.headers),
            self.size,
            tuple(self.subject_tags),
        )
