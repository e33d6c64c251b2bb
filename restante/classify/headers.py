"""Header fields as bytes and as text (RFC 5322, 2045, 2047, 2231).  Nothing here raises on any input."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from restante.classify.text import codec_of


@dataclass(slots=True)
class HeaderBlock:
    """The fields of one entity, names in lower case, values unfolded, in their order.

    ``broken`` says what readers may disagree about; ``overlong`` that fields beyond the cap were skipped.
    """

    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    broken: str = ""
    overlong: bool = False

    def all(self, name: bytes) -> list[bytes]:
        """Every value of ``name``."""
        return [value for key, value in self.fields if key == name]

    def first(self, name: bytes) -> bytes:
        """The first value of ``name``, or nothing."""
        return next((value for key, value in self.fields if key == name), b"")


_FIELD = re.compile(rb"([!-9;-~]++):(.*+(?:\n[ \t].*+)*+)\n")
_BREAK = re.compile(rb"\n\r?\n")
_CR, _LF, _NUL = b"\r\n\0"  # as numbers, which a search of bytes is quicker to find
_MIME = frozenset(
    b"content-" + name for name in (b"type", b"transfer-encoding", b"disposition", b"id", b"description", b"language")
)
# What a reader that does not unfold, or that trims lines, takes for a field of its own.  The list of signed fields in
# a DKIM signature has names and colons too, but no values.
_FOLDED_FIELD = re.compile(
    rb"\n[ \t]+(content-(?:type[ \t]*:[ \t]*[a-z]+/|disposition[ \t]*:[ \t]*(?:attachment|inline)"
    rb"|transfer-encoding[ \t]*:[ \t]*[\"(]?(?:base64|quoted|[78]bit|binary|x-))[^\n]*)",
    re.IGNORECASE,
)
_COMMENT = re.compile(rb"\([^()]*\)?")
_NOT_NAME = re.compile(rb"[^a-z0-9-]")


def well_formed(data: bytes, start: int) -> tuple[HeaderBlock, int] | None:
    """The header block at ``start``, and where its body begins, when all of it is there and beyond doubt.

    ``None`` for anything else: the careful reader is slower by a factor of three.
    """
    end = _BREAK.search(data, start, start + 65536)
    if end is None or data.find(b"\n--", start, end.end()) >= 0 or data.startswith((b"--", b"\n", b"\r\n"), start):
        return None
    raw = data[start : end.start() + 1]
    if _CR in raw and raw.count(b"\r") != raw.count(b"\r\n"):
        return None
    pieces = _FIELD.split(raw)  # what stands between two fields, a name, a value, and so on
    if any(pieces[::3]):
        return None
    names = b"\n".join(pieces[1::3]).lower()
    keys = names.split(b"\n")
    # Asked of all fields at once; each is looked at only where there is something of the kind.
    odd = _NUL in raw or names.count(b"ontent") != sum([key in _MIME for key in keys])
    hidden = _FOLDED_FIELD.search(raw) is not None
    block = HeaderBlock()
    for key, value in zip(keys, pieces[2::3], strict=True):
        if odd and key.find(b"ontent") >= 0:
            _add(block, b"%b:%b" % (key, value))
            continue
        if hidden:
            _folded_fields(block, value)
        plain = _mime_value(value) if key in _MIME else (_unfolded(value) if _LF in value else value).strip()
        block.fields.append((key, plain))
    return block, end.end()


def _folded_fields(block: HeaderBlock, value: bytes) -> None:
    """Read the lines of a folded value that look like MIME fields as fields as well."""
    for match in _FOLDED_FIELD.finditer(value):
        block.broken = block.broken or "a folded line that looks like a MIME header field"
        name, _, own = match.group(1).partition(b":")
        block.fields.append((name.strip().lower(), own.strip()))


def _canonical(bare: bytes) -> bytes:
    """The MIME field that some reader takes ``bare`` for, or ``bare``: control characters and comments are skipped."""
    for plain in (_NOT_NAME.sub(b"", bare), _NOT_NAME.sub(b"", _COMMENT.sub(b"", bare))):
        if plain.startswith((b"content-type", b"content-transfer-encoding", b"content-disposition")):
            return plain
    return bare


def parse_fields(lines: list[bytes]) -> HeaderBlock:
    """The fields in ``lines``, each with its line end.  The caller has cut them at the empty line."""
    block = HeaderBlock()
    current: list[bytes] = []
    for line in lines:
        if line[:1] in b" \t" and current:
            current.append(line)
            continue
        if current:
            _add(block, b"".join(current))
        current = [line]
    if current:
        _add(block, b"".join(current))
    return block


def _add(block: HeaderBlock, raw: bytes) -> None:
    name, colon, value = raw.partition(b":")
    if not colon:
        if not (raw.startswith(b"From ") and not block.fields):
            block.broken = block.broken or "a line without a colon among the header fields"
        return
    bare = name.strip().lower()
    if b"\n" in value[:-1]:
        _folded_fields(block, value)
    if b"ontent" in bare and not bare.startswith(b"content-") and _canonical(bare) != bare:
        block.broken = block.broken or "a control character or a comment in the name of a MIME header field"
        bare = _canonical(bare)
    value = _mime_value(value)
    if bare.startswith(b"content-"):
        if bare != name.lower():
            block.broken = block.broken or "white space around the name of a MIME header field"
        elif _NOT_NAME.search(bare):
            block.broken = block.broken or "a control character or a comment in the name of a MIME header field"
            bare = _canonical(bare)
        if b"\0" in value:
            block.broken = block.broken or "a control character in a MIME header field"
    if b"\r" in raw and raw.removesuffix(b"\r").count(b"\r") != raw.count(b"\r\n"):
        # Some readers end a line, and with two of them the header, at a bare carriage return (RFC 5322, section 2.3).
        block.broken = block.broken or "a bare carriage return in the header"
    block.fields.append((bare, value))


def _unfolded(value: bytes) -> bytes:
    """``value`` in one line.  Only white space follows a line end in it (RFC 5322, section 2.2.3)."""
    return value.replace(b"\r\n", b"").replace(b"\n", b"")


def _mime_value(value: bytes) -> bytes:
    """``value`` unfolded.  What trails it counts: not every reader knows an encoding with a blank behind it."""
    if _LF in value[:-1]:
        return _unfolded(value).strip(b" \t\r\n")
    return value.strip(b"\r\n").lstrip(b" \t")


def text_of(raw: bytes) -> str:
    """8-bit header bytes as text: UTF-8 (RFC 6532) where valid, otherwise latin-1."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


_WORD = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]*)?\?([bBqQ])\?([^?]*)\?=")
_BETWEEN = re.compile(r"(\?=)\s+(?==\?[^?\s]{1,80}\?[bBqQ]\?)")


def decode_words(raw: bytes) -> str:
    """``raw`` with its encoded words decoded (RFC 2047).

    Adjacent words of one charset are joined before decoding, since senders split characters across them.
    """
    text = text_of(raw)
    if "=?" not in text:
        return text
    text = _BETWEEN.sub(r"\1", text)
    out: list[str] = []
    pending, charset, position = b"", "", 0
    for match in _WORD.finditer(text):
        between = text[position : match.start()]
        data = _word_bytes(match.group(2), match.group(3))
        if pending and (between or match.group(1).lower() != charset):
            out.append(_decode(pending, charset))
            pending = b""
        out.append(between)
        pending, charset, position = pending + data, match.group(1).lower(), match.end()
    out.append(_decode(pending, charset))
    out.append(text[position:])
    return "".join(out)


def _word_bytes(encoding: str, encoded: str) -> bytes:
    data = encoded.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(data, header=True)
    kept = re.sub(rb"[^A-Za-z0-9+/]", b"", data)
    kept = kept[:-1] if len(kept) % 4 == 1 else kept
    return base64.b64decode(kept + b"=" * (-len(kept) % 4))


def _decode(data: bytes, charset: str) -> str:
    codec = codec_of(charset)
    if codec:
        try:
            return data.decode(codec)
        except (UnicodeError, ValueError):
            pass
    return text_of(data)


@dataclass(frozen=True, slots=True)
class Parameterised:
    """A value with parameters, such as ``text/plain; charset=utf-8``.  ``doubled`` names parameters given twice."""

    value: str
    params: dict[str, bytes]
    doubled: frozenset[str] = frozenset()

    def param(self, name: str) -> str:
        """A parameter as text, or an empty string."""
        return text_of(self.params.get(name, b""))


_NOTHING = Parameterised("", {})
_PARAM = re.compile(rb'([^\s=;"]{1,128})\s*=\s*("(?:[^"\\]|\\.)*"?|[^;]*)\s*(?:;|\Z|(?=\s))', re.DOTALL)
_QUOTED = re.compile(rb"\\(.)", re.DOTALL)


# One parameter, a token or a quoted string without separators in it: nearly all there are.
_SIMPLE = re.compile(rb"""[ \t]*[!-:<>-~]+=(?:"[^";\s]+"|[^";\s]+)[ \t]*;?\Z""")


def _media(value: bytes) -> str:
    return value.strip().decode("latin-1").lower()


def _unquoted(data: bytes) -> bytes:
    if not data.startswith(b'"'):
        return data
    return _QUOTED.sub(rb"\1", data[1:-1] if data.endswith(b'"') and len(data) > 1 else data[1:])


def parse_params(raw: bytes) -> Parameterised:
    """Read a structured MIME value (RFC 2045, section 5.1; RFC 2231), unquoted names with spaces included."""
    if not raw:
        return _NOTHING
    value, _, rest = raw.partition(b";")
    if not rest:
        return Parameterised(_media(value), {})
    plain: dict[str, bytes] = {}
    pieces: dict[str, list[tuple[int, bool, bytes]]] = {}
    doubled: set[str] = set()
    if b"*" not in rest and b"\\" not in rest and rest.count(b"=") == 1 and _SIMPLE.match(rest):
        only, _, text = rest.strip(b" \t\r\n;").partition(b"=")
        return Parameterised(_media(value), {only.decode("latin-1").lower(): text.strip(b'"')})
    for match in _PARAM.finditer(rest[:16384]):
        name, data = match.group(1).decode("latin-1").lower(), _unquoted(match.group(2).strip())
        base, star, section = name.partition("*")
        if star:
            number = section.rstrip("*")
            order = int(number) if number.isascii() and number.isdigit() and len(number) < 4 else 0
            pieces.setdefault(base, []).append((order, name.endswith("*"), data))
        elif plain.setdefault(name, data) != data:
            doubled.add(name)
    for base, parts in pieces.items():
        joined = _joined(sorted(parts, key=lambda part: part[0]))
        if plain.get(base, joined) != joined or len({number for number, _, _ in parts}) < len(parts):
            doubled.add(base)
        plain[base] = joined
    return Parameterised(_media(value), plain, frozenset(doubled))


def _joined(parts: list[tuple[int, bool, bytes]]) -> bytes:
    """The sections of one RFC 2231 parameter, as UTF-8."""
    charset, data, coded = "", b"", b""
    for position, (_, encoded, section) in enumerate(parts):
        text = section
        if encoded and position == 0 and section.count(b"'") >= 2:
            name, _, text = section.split(b"'", 2)
            charset = name.decode("latin-1")
        if encoded:
            # Decoded together, since some writers cut between the characters of one code.
            coded += text
            continue
        data += unquote_to_bytes(coded) + text
        coded = b""
    data += unquote_to_bytes(coded)
    return _decode(data, charset).encode("utf-8", "replace") if charset else data
