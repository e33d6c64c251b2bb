"""From the entities of a message to what is scanned: which part is text, in which encoding, charset and place."""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from typing import BinaryIO, cast

from restante.classify.content import Content
from restante.classify.entity import Entity, describe
from restante.classify.headers import HeaderBlock
from restante.classify.mime import Boundaries, Delimiter, Reader
from restante.classify.senders import SenderTriggers
from restante.classify.session import Session, Whence
from restante.classify.transfer import Decoder, decoder_for

MAX_DEPTH = 50
MAX_PARTS = 1_000
SPOOL = 256 << 10

_TEXTUAL = re.compile(
    r"text/|message/|image/svg"
    r"|application/(?:json|xml|csv|sql|rtf|yaml|x-yaml|javascript|x-javascript|ld\+json|[\w.-]+\+(?:xml|json))"
)
_TEXT_NAME = re.compile(
    r"\.(?:txt|csv|tsv|log|md|json|xml|html?|xhtml|eml|ya?ml|ini|conf|cfg|sql|ics|vcf|rtf|tex|svg|ps1|sh|py)\Z",
    re.IGNORECASE,
)
_OPAQUE = {
    "application/pgp-encrypted": "encrypted content",
    "application/pkcs7-mime": "encrypted content",
    "application/x-pkcs7-mime": "encrypted content",
    "message/partial": "a fragment of a message",
    "message/external-body": "content that is kept elsewhere",
}
# A header that some reader has not yet left where others are in the body.
_LATE_HEADER = re.compile(
    rb"[\0-\x20]*content-(?:type|transfer-encoding|disposition)[ \t]*:[ \t]*[\w\"]", re.IGNORECASE
)


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
            if message and not place:
                self._walk.triggers.apply(block, self._session)
            self._session.header(block, place)
            entity = describe(block, default)
            for doubt in entity.doubts:
                self._session.ambiguous(doubt)
            if self._reader.delimiter is None:
                if entity.is_message and entity.encodings == ("",):
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

    def _check_header(self, block: HeaderBlock) -> None:
        if block.broken:
            self._session.ambiguous(block.broken)
        if block.overlong:
            self._session.scan_raw = True
            self._session.opaque("header longer than 256 KiB")

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
        if _LATE_HEADER.match(self._reader.peek(256)):
            self._session.ambiguous(f"MIME header fields in the {what} of a multipart")
        scan: Content | None = None
        for data in self._reader.body():
            if data and (scan or data.strip()):
                scan = scan or Content(self._session, place or "structure", textual=True, html=True)
                scan.feed(data)
        if scan:
            scan.close()
        if self._session.notable() > before:
            self._session.ambiguous(f"detectable text in the {what} of a multipart")

    def _body(self, entity: Entity, place: str, depth: int) -> None:
        if entity.is_multipart:
            if entity.encodings != ("",):
                self._session.ambiguous("a multipart in a transfer encoding")
            if entity.boundaries:
                self._boundaries.push(*entity.boundaries)
                default = "message/rfc822" if entity.kind == "multipart/digest" else "text/plain"
                self._levels.append(_Level(place, depth + 1, default))
                self._started.append(False)
                self._outside(place, "preamble")
                return
            self._session.ambiguous("a multipart without a boundary parameter")
        if entity.attached:
            self._session.attachment(entity.name or "unnamed", entity.kind)
        where = self._place_of(entity, place)
        if entity.kind in _OPAQUE:
            self._session.opaque(_OPAQUE[entity.kind], where)
        if entity.is_message or entity.name.lower().endswith(".eml"):
            self._encoded_message(entity, where, depth)
        else:
            self._leaf(entity, where, depth)

    def _message_place(self, entity: Entity, place: str) -> str:
        if entity.attached:
            self._session.attachment(entity.name or "message.eml", entity.kind)
        return self._named(entity.name or "message.eml", entity, place)

    def _place_of(self, entity: Entity, place: str) -> str:
        if entity.attached:
            return self._named(entity.name or "unnamed", entity, place)
        return place or ("html" if entity.html else "body")

    def _named(self, name: str, entity: Entity, place: str) -> str:
        """The place of an attachment; a name that itself holds an identifier is not repeated in clear."""
        number = f"attachment:#{len(self._session.attachments)}"
        telling = [self._session.scan(place or number, one) for one in entity.names]
        return place or (number if any(telling) else f"attachment:{name}")

    # -- leaves

    def _leaf(self, entity: Entity, place: str, depth: int) -> None:
        if _LATE_HEADER.match(self._reader.peek(256)):
            self._session.ambiguous("MIME header fields at the beginning of a body")
        textual = bool(_TEXTUAL.match(entity.kind) or _TEXT_NAME.search(entity.name)) or "/" not in entity.kind
        decoders = [decoder_for(encoding) for encoding in entity.encodings]
        whence = Whence(place, entity.name, depth) if entity.attached or not textual else None
        contents = [
            Content(
                self._session,
                place,
                entity.charsets,
                textual=textual,
                html=entity.html,
                joined=entity.joined,
                decoding=encoding,
                attached=whence,
            )
            for encoding in entity.encodings
        ]
        for data in self._reader.body():
            for decoder, content in zip(decoders, contents, strict=True):
                content.feed(decoder.feed(data))
        for decoder, content in zip(decoders, contents, strict=True):
            content.feed(decoder.close())
            content.close()
        self._defects(decoders)

    def _encoded_message(self, entity: Entity, place: str, depth: int) -> None:
        """A message attached in a transfer encoding, which RFC 2046, section 5.2.1, forbids for its own type."""
        if entity.is_message:
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
