"""From the entities of a message to what is scanned: which part is text, in which encoding, charset and place."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from restante.classify.headers import HeaderBlock, Parameterised, decode_words, parse_params
from restante.classify.mime import Boundaries, Delimiter, Reader
from restante.classify.readings import TextScan
from restante.classify.senders import SenderTriggers
from restante.classify.session import Session
from restante.classify.transfer import Decoder, decoder_for

MAX_DEPTH = 50
MAX_PARTS = 1_000
SPOOL = 256 << 10
_SAMPLE = 1024

_IDENTITY = re.compile(r"(?:[78][ -]?bits?|binary|utf-?8|none)?\Z")
_TEXTUAL = re.compile(
    r"text/|message/|image/svg"
    r"|application/(?:json|xml|csv|sql|rtf|yaml|x-yaml|javascript|x-javascript|ld\+json|[\w.-]+\+(?:xml|json))"
)
_TEXT_NAME = re.compile(
    r"\.(?:txt|csv|tsv|log|md|json|xml|html?|xhtml|eml|ya?ml|ini|conf|cfg|sql|ics|vcf|rtf|tex|svg|ps1|sh|py)\Z",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"\.(?:html?|xhtml|xml|svg)\Z", re.IGNORECASE)
_CONTROL = bytes(set(range(32)) - set(b"\t\n\r\f\x1b\x08"))
_ENCRYPTED = frozenset({"application/pgp-encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"})
_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"\xd0\xcf\x11\xe0", "Office document"),
    (b"PK\x03\x04", "ZIP archive or Office document"),
    (b"Rar!\x1a", "RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip archive"),
    (b"\x1f\x8b", "gzip archive"),
    (b"BZh", "bzip2 archive"),
    (b"\xfd7zXZ", "xz archive"),
    (b"-----BEGIN PGP MESSAGE", "encrypted message"),
)


@dataclass(frozen=True, slots=True)
class _Entity:
    """What the header of an entity says, duplicates resolved; ``encodings`` are all that a reader might apply."""

    type: Parameterised
    encodings: tuple[str, ...]
    charsets: tuple[str, ...]
    html: bool
    name: str
    attached: bool


@dataclass(frozen=True, slots=True)
class _Level:
    """An open multipart: the place of its parts ("" in the message itself), their nesting and default type."""

    place: str
    depth: int
    default: str


class _TooMuch(Exception):
    """A cap was reached; the raw scan takes over.  Never leaves this module."""


class Walk:
    """One pass over a message and, one after another, the messages that it carries in encoded form."""

    def __init__(self, session: Session, triggers: SenderTriggers, block: int) -> None:
        self._session = session
        self._triggers = triggers
        self._block = block
        self._parts = 0
        self._waiting: list[tuple[BinaryIO, str, int]] = []

    def run(self, source: BinaryIO) -> None:
        """Walk ``source`` from where it stands, then whatever encoded messages it held."""
        self._guarded(source, "", 0)
        while self._waiting:
            nested, place, depth = self._waiting.pop(0)
            with nested:
                self._guarded(nested, place, depth)

    def _guarded(self, source: BinaryIO, place: str, depth: int) -> None:
        try:
            _Pass(self, source, place, depth).run()
        except _TooMuch as reached:
            self._session.scan_raw = True
            self._session.opaque(str(reached))

    def count(self, depth: int) -> None:
        """One more entity; raises ``_TooMuch`` beyond the caps."""
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise _TooMuch(f"more than {MAX_PARTS} parts")
        if depth > MAX_DEPTH:
            raise _TooMuch(f"nested more than {MAX_DEPTH} deep")

    @property
    def session(self) -> Session:
        """Where findings go."""
        return self._session

    @property
    def triggers(self) -> SenderTriggers:
        """What to look for in the message's own header."""
        return self._triggers

    @property
    def block(self) -> int:
        """Bytes to read at a time."""
        return self._block

    def later(self, nested: BinaryIO, place: str, depth: int) -> None:
        """Walk ``nested`` when this pass is over; the walk closes it."""
        self._waiting.append((nested, place, depth))


class _Pass:
    """The walk over one source."""

    def __init__(self, walk: Walk, source: BinaryIO, place: str, depth: int) -> None:
        self._walk = walk
        self._session = walk.session
        self._boundaries = Boundaries()
        self._reader = Reader(source, self._boundaries, walk.block)
        self._levels: list[_Level] = []
        self._started: list[bool] = []
        self._place = place
        self._base = depth

    def run(self) -> None:
        """Entity after entity until the end of the source."""
        place, depth, default, message = self._place, self._base, "text/plain", True
        while True:
            self._walk.count(depth)
            block = self._reader.headers()
            self._check_header(block)
            if message:
                self._message_header(block, place)
            entity = self._describe(block, default)
            if self._reader.delimiter is None:
                if _is_message(entity) and entity.encodings == ("",):
                    place, depth, default, message = self._message_place(entity, place), depth + 1, "text/plain", True
                    continue
                self._body(entity, place, depth)
            elif not block.fields:
                self._session.ambiguous("two boundary lines in a row")
            level = self._next(self._reader.delimiter)
            if self._boundaries.defect:
                self._session.ambiguous(self._boundaries.defect)
            if level is None:
                return
            place, depth, default, message = level.place, level.depth, level.default, False

    # -- headers

    def _check_header(self, block: HeaderBlock) -> None:
        if block.broken:
            self._session.ambiguous(block.broken)
        if block.overlong:
            self._session.scan_raw = True
            self._session.opaque("header longer than 256 KiB")

    def _message_header(self, block: HeaderBlock, place: str) -> None:
        if not place:
            self._walk.triggers.apply(block, self._session)
        for name, value in block.fields:
            if name in {b"subject", b"thread-topic", b"comments", b"keywords"}:
                where = place or ("subject" if name == b"subject" else f"header:{name.decode().title()}")
                decoded = decode_words(value)
                self._session.scan(where, decoded)

    def _describe(self, block: HeaderBlock, default: str) -> _Entity:
        types = [parse_params(value) for value in block.all(b"content-type")]
        encodings = [value.decode("latin-1").lower() for value in block.all(b"content-transfer-encoding")]
        if len(types) > 1:
            self._session.ambiguous("Content-Type given twice")
        for kind in types:
            if kind.doubled & {"boundary", "charset"}:
                self._session.ambiguous("a parameter of Content-Type given twice")
        main = next((kind for kind in types if kind.value.startswith("multipart/")), types[0] if types else None)
        main = main or Parameterised(default, {})
        how = parse_params(block.first(b"content-disposition"))
        name = decode_words((how.params.get("filename") or main.params.get("name") or b"")[:2048])
        return _Entity(
            main,
            self._encodings(encodings),
            tuple({kind.param("charset").strip(): None for kind in types}),
            any("html" in kind.value or "xml" in kind.value for kind in types) or bool(_MARKUP.search(name)),
            _printable(name),
            how.value == "attachment" or bool(name),
        )

    def _encodings(self, values: list[str]) -> tuple[str, ...]:
        """Every transfer encoding that a reader might apply; "" is none.  More than one means ambiguous."""
        if not values:
            return ("",)
        if len(values) == 1:
            value = values[0]
            if value in {"base64", "quoted-printable"}:
                return (value,)
            if _IDENTITY.match(value.strip()):
                return ("",)
            self._session.ambiguous("Content-Transfer-Encoding that readers take differently")
        else:
            self._session.ambiguous("Content-Transfer-Encoding given twice")
        joined = " ".join(values)
        meant = [known for known in ("base64", "quoted-printable") if known in joined]
        return (*meant, "")

    # -- structure

    def _next(self, delimiter: Delimiter | None) -> _Level | None:
        """Where the walk goes on after ``delimiter``: the level of the next part, or ``None`` at the end."""
        while delimiter is not None:
            if delimiter.level + 1 < len(self._levels):
                self._session.ambiguous("a multipart without its closing boundary")
                self._close(delimiter.level + 1)
            if not delimiter.closing:
                self._started[delimiter.level] = True
                return self._levels[delimiter.level]
            if not self._started[delimiter.level]:
                self._session.ambiguous("a closing boundary without a part")
            place = self._levels[delimiter.level].place
            self._close(delimiter.level)
            self._outside(place, "epilogue")
            delimiter = self._reader.delimiter
        if self._levels:
            missing = "its closing boundary" if self._started[-1] else "any part"
            self._session.ambiguous(f"a multipart without {missing}")
        return None

    def _close(self, level: int) -> None:
        self._boundaries.pop_to(level)
        del self._levels[level:]
        del self._started[level:]

    def _outside(self, place: str, what: str) -> None:
        """Text before the first part or after the last: no reader shows it, some programs do."""
        before = self._session.notable()
        scan: TextScan | None = None
        for data in self._reader.body():
            if data and (scan or data.strip()):
                scan = scan or self._session.text(place or "structure", html=True)
                scan.feed(data)
        if scan:
            scan.close()
        if self._session.notable() > before:
            self._session.ambiguous(f"detectable text in the {what} of a multipart")

    def _body(self, entity: _Entity, place: str, depth: int) -> None:
        kind = entity.type.value
        if kind.startswith("multipart/"):
            boundary = entity.type.params.get("boundary", b"").rstrip()
            if entity.encodings != ("",):
                self._session.ambiguous("a multipart in a transfer encoding")
            if boundary:
                if len(boundary) > 200:
                    self._session.ambiguous("a boundary longer than any reader takes")
                self._boundaries.push(boundary)
                default = "message/rfc822" if kind == "multipart/digest" else "text/plain"
                self._levels.append(_Level(place, depth + 1, default))
                self._started.append(False)
                self._outside(place, "preamble")
                return
            self._session.ambiguous("a multipart without a boundary parameter")
        if entity.attached:
            self._session.attachment(entity.name or "unnamed", kind)
        where = place or self._leaf_place(entity)
        if kind in _ENCRYPTED:
            self._session.opaque("encrypted content", where)
        elif kind == "message/partial":
            self._session.opaque("a fragment of a message", where)
        if _is_message(entity) or entity.name.lower().endswith(".eml"):
            self._encoded_message(entity, where, depth)
        else:
            self._leaf(entity, where)

    def _message_place(self, entity: _Entity, place: str) -> str:
        if entity.attached:
            self._session.attachment(entity.name or "message.eml", entity.type.value)
        return place or self._attachment(entity.name or "message.eml")

    def _leaf_place(self, entity: _Entity) -> str:
        if entity.attached:
            return self._attachment(entity.name or "unnamed")
        return "html" if entity.html else "body"

    def _attachment(self, name: str) -> str:
        """The place of an attachment; a name that itself holds an identifier is not repeated in clear."""
        number = f"attachment:#{len(self._session.attachments)}"
        return number if self._session.scan(number, name) else f"attachment:{name}"

    # -- leaves

    def _leaf(self, entity: _Entity, place: str) -> None:
        decoders = [decoder_for(encoding) for encoding in entity.encodings]
        chunks = self._reader.body()
        kind = entity.type.value
        textual = bool(_TEXTUAL.match(kind) or _TEXT_NAME.search(entity.name)) or "/" not in kind
        if not textual:
            self._guess(entity, place, decoders[0], chunks)
            return
        scans = [
            self._session.text(place, entity.charsets, html=entity.html, decoding=encoding)
            for encoding in entity.encodings
        ]
        _pour(chunks, decoders, scans)
        self._defects(decoders)

    def _guess(self, entity: _Entity, place: str, decoder: Decoder, chunks: Iterator[bytes]) -> None:
        """A part that does not claim to be text: scanned all the same when it looks like text."""
        sample = b""
        head: list[bytes] = []
        for data in chunks:
            head.append(decoder.feed(data))
            sample += head[-1][:_SAMPLE]
            if len(sample) >= _SAMPLE:
                break
        sample += decoder.close() if len(sample) < _SAMPLE else b""
        if _looks_like_text(sample):
            scan = self._session.text(place, entity.charsets, html=b"<" in sample, decoding=entity.encodings[0])
            for piece in head:
                scan.feed(piece)
            scan.feed(sample[sum(len(piece) for piece in head) :] if len(sample) < _SAMPLE else b"")
            _pour(chunks, [decoder], [scan])
            return
        reason = _sealed(sample)
        if reason:
            self._session.opaque(reason, place)
        for _ in chunks:
            pass

    def _encoded_message(self, entity: _Entity, place: str, depth: int) -> None:
        """A message attached in a transfer encoding, which RFC 2046, section 5.2.1, forbids for its own type."""
        if _is_message(entity):
            self._session.ambiguous("message/rfc822 in a transfer encoding")
        for encoding in entity.encodings[:1]:
            # In memory however large: what is decoded here is plain text, which must never lie on a disk.
            spool = cast("BinaryIO", tempfile.SpooledTemporaryFile(max_size=SPOOL, dir="/dev/shm"))  # noqa: SIM115
            decoder = decoder_for(encoding)
            for data in self._reader.body():
                spool.write(decoder.feed(data))
            spool.write(decoder.close())
            self._defects([decoder])
            spool.seek(0)
            self._walk.later(spool, place, depth + 1)

    def _defects(self, decoders: list[Decoder]) -> None:
        for decoder in decoders:
            if decoder.defect:
                self._session.ambiguous(decoder.defect)


def _pour(chunks: Iterator[bytes], decoders: list[Decoder], scans: list[TextScan]) -> None:
    """Feed every reading from one pass over the body, then close them."""
    for data in chunks:
        for decoder, scan in zip(decoders, scans, strict=True):
            scan.feed(decoder.feed(data))
    for decoder, scan in zip(decoders, scans, strict=True):
        scan.feed(decoder.close())
        scan.close()


def _is_message(entity: _Entity) -> bool:
    return entity.type.value in {"message/rfc822", "message/global", "message/news"}


def _printable(name: str) -> str:
    """A file name for display: no control characters, no path, at most 255 characters."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in name if character.isprintable())[:255].strip()


def _looks_like_text(sample: bytes) -> bool:
    if sample.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return True
    if any(sample.startswith(magic) for magic, _ in _MAGIC):
        return False
    return bool(sample.strip()) and len(sample.translate(None, _CONTROL)) == len(sample)


def _sealed(sample: bytes) -> str:
    """Why the content of a known format cannot be looked into; empty for formats that carry no text."""
    if sample.startswith(b"PK\x03\x04") and len(sample) > 6 and sample[6] & 1:
        return "encrypted ZIP archive"
    return next((f"{what}: not looked into" for magic, what in _MAGIC if sample.startswith(magic)), "")
