"""What the header of an entity says about its body, in every way in which some reader takes it (RFC 2045, 2046, 2183).

Nothing here raises on any input.  What readers take differently is named in :attr:`Entity.doubts`; the fields of the
value then hold all readings, the most usual first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from restante.classify.headers import HeaderBlock, Parameterised, decode_words, parse_params, text_of

LONGEST_BOUNDARY = 70  # RFC 2046, section 5.1.1; some readers cut longer ones

_MEDIA = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+*-]+\Z")
_ANY_MEDIA = re.compile(r"[a-z0-9._+-]+/[a-z0-9._+-]+")
_IDENTITY = re.compile(r"(?:[78][ -]?bits?|binary|utf-?8|none|x-?uu(?:e|encode)?|uuencode|x-yenc)?\Z")
_MARKUP = re.compile(r"\.(?:html?|xhtml|xml|svg)\Z", re.IGNORECASE)
_COMMENT = re.compile(rb"\([^()]*\)?")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BOUNDARY = re.compile(rb"boundary[\s\0]*=\s*", re.IGNORECASE)
_VALUE = re.compile(rb'"((?:[^"\\]|\\.)*)(?:"([^;\s]*)|\Z)|([^;]*)', re.DOTALL)
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([^\"';\s]+)", re.IGNORECASE)
_ENCODED_WORD = re.compile(rb"=\?[^?\s]+\?[bq]\?[^?]*\?=", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entity:
    """An entity as its header describes it.

    ``kind`` is the media type in lower case; ``boundaries``, ``encodings`` and ``charsets`` are all that a reader
    might apply ("" among the encodings is none).  ``name`` is the file name as it is shown, ``names`` are all that it
    has.  ``joined`` says that format=flowed breaks lines inside words (RFC 3676, DelSp).
    """

    kind: str
    encodings: tuple[str, ...] = ("",)
    charsets: tuple[str, ...] = ()
    boundaries: tuple[bytes, ...] = ()
    html: bool = False
    name: str = ""
    names: tuple[str, ...] = ()
    attached: bool = False
    joined: bool = False
    doubts: tuple[str, ...] = ()

    @property
    def is_message(self) -> bool:
        """Whether the body is a message of its own."""
        return self.kind in {"message/rfc822", "message/global", "message/news"}

    @property
    def is_multipart(self) -> bool:
        """Whether the body consists of parts."""
        return self.kind.startswith("multipart/")


_USUAL = 256  # bytes of MIME fields that are worth remembering
_DESCRIBING = frozenset({b"content-type", b"content-transfer-encoding", b"content-disposition"})
# A multipart as programs write it: its boundary is the only one, and means the same to every reader.
_PARAMETER = rb"[ \t]*[a-z-]+=(?:[0-9a-z/._+-]+|\"[0-9a-z/._+-]*\")"
_ORDINARY = re.compile(
    rb"(multipart/[a-z]+;(?:%b;)*[ \t]*boundary=(\"?))([0-9a-z'+_./:=-]{1,70})(\2(?:;%b)*;?\Z)"
    % (_PARAMETER, _PARAMETER),
    re.IGNORECASE,
)


def describe(block: HeaderBlock, default: str) -> Entity:
    """The entity that ``block`` is the header of; ``default`` is the media type of one that names none."""
    fields = [one for one in block.fields if one[0] in _DESCRIBING]
    types = tuple([value for name, value in fields if name == b"content-type"])
    encodings = tuple([value for name, value in fields if name == b"content-transfer-encoding"])
    disposition = next((value for name, value in fields if name == b"content-disposition"), b"")
    # Nearly all parts are described in the same few ways; only a boundary is new in each message.
    read = _described if sum([len(value) for _, value in fields]) <= _USUAL else _described.__wrapped__
    named = b"".join(types).lower().count(b"boundary")
    if not named:
        return read(types, encodings, disposition, default)
    ordinary = _ORDINARY.match(types[0]) if len(types) == named == 1 else None
    if ordinary is None:
        return _described.__wrapped__(types, encodings, disposition, default)
    before, _, boundary, behind = ordinary.groups()
    return replace(read((before + b"x" + behind,), encodings, disposition, default), boundaries=(boundary,))


@lru_cache(maxsize=512)
def _described(
    raw_types: tuple[bytes, ...], raw_encodings: tuple[bytes, ...], disposition: bytes, default: str
) -> Entity:
    doubts: dict[str, None] = {}
    types = [parse_params(value) for value in raw_types]
    kinds = _kinds(types, doubts)
    kind = next((one for one in kinds if one.startswith("multipart/")), kinds[0] if kinds else "") or default
    how = parse_params(disposition)
    names = _names(how, types)
    return Entity(
        kind=kind,
        encodings=_encodings(raw_encodings, doubts),
        charsets=_charsets(raw_types, types, doubts),
        boundaries=_boundaries(raw_types, types, doubts) if kind.startswith("multipart/") else (),
        html=any("html" in one or "xml" in one for one in kinds) or any(map(_MARKUP.search, names)),
        name=_printable(names[0]) if names else "",
        names=names,
        attached=how.value == "attachment" or bool(names),
        joined=any(one.param("delsp").lower() == "yes" for one in types),
        doubts=tuple(doubts),
    )


def _kinds(types: list[Parameterised], doubts: dict[str, None]) -> list[str]:
    """The media types that readers may take, the plain ones among them as they are."""
    if len(types) == 1 and _MEDIA.match(types[0].value):
        return [types[0].value]
    if len(types) > 1:
        doubts["Content-Type given twice"] = None
    kinds: list[str] = []
    for one in types:
        value = one.value
        # "text" alone, as old programs have it, and nothing at all are plain text to every reader.
        if _MEDIA.match(value) or value in {"", "text"}:
            kinds.append(value if "/" in value else "")
            continue
        doubts["Content-Type that readers take differently"] = None
        bare = _COMMENT.sub(b"", value.encode("latin-1", "replace")).decode("latin-1")
        bare = re.sub(r"[\0-\x20]", "", bare) if "\0" in bare else bare
        kinds += _ANY_MEDIA.findall(bare) or [""]
    return kinds


def _names(how: Parameterised, types: list[Parameterised]) -> tuple[str, ...]:
    """The file names of an entity, the one of its disposition first (RFC 2183, section 2.3)."""
    raw = [how.params.get("filename", b""), *(one.params.get("name", b"") for one in types)]
    return tuple(dict.fromkeys(name for one in raw if one and (name := decode_words(one[:2048]))))


def _charsets(raw_types: tuple[bytes, ...], types: list[Parameterised], doubts: dict[str, None]) -> tuple[str, ...]:
    charsets = {kind.param("charset").strip(): None for kind in types}
    if any("charset" in kind.doubled for kind in types):
        doubts["a parameter of Content-Type given twice"] = None
        charsets |= {text_of(name): None for raw in raw_types for name in _CHARSET.findall(raw)}
    return tuple(charsets)


def _encodings(raw: tuple[bytes, ...], doubts: dict[str, None]) -> tuple[str, ...]:
    """Every transfer encoding that a reader might apply.  More than one means ambiguous."""
    if not raw:
        return ("",)
    values = [value.decode("latin-1").lower() for value in raw]
    if len(values) == 1:
        value = values[0]
        if value in {"base64", "quoted-printable"}:
            return (value,)
        if _IDENTITY.match(value.strip()):
            return ("",)
        doubts["Content-Transfer-Encoding that readers take differently"] = None
    else:
        doubts["Content-Transfer-Encoding given twice"] = None
    joined = b" ".join(raw).lower()
    spellings = {
        joined,
        re.sub(rb"[^a-z0-9-]", b"", joined),
        re.sub(rb"[^a-z0-9-]", b"", _COMMENT.sub(b"", joined)),
        re.sub(rb"\s", b"", decode_words(joined).encode()),
    }
    meant = [known for known in ("base64", "quoted-printable") if any(known.encode() in text for text in spellings)]
    return (*meant, "")


def _boundaries(raw_types: tuple[bytes, ...], types: list[Parameterised], doubts: dict[str, None]) -> tuple[bytes, ...]:
    """The boundaries that readers may split the body at."""
    found = {kind.params.get("boundary", b""): None for kind in types}
    for raw in raw_types:
        for match in _BOUNDARY.finditer(raw[:16384]):
            found |= _spellings(raw[match.end() : 16384])
        if b"(" in raw:
            # Comments count only outside quoted strings (RFC 5322, section 3.2.2).
            bare = _QUOTED.sub(lambda text: text.group().replace(b"(", b"\x01"), raw[:16384])
            bare = _COMMENT.sub(b"", bare).replace(b"\x01", b"(")
            for match in _BOUNDARY.finditer(bare):
                found |= _spellings(bare[match.end() :])
    for one in list(found):
        if _ENCODED_WORD.search(one):
            found |= {decode_words(one).encode(): None}
    boundaries = tuple({one.rstrip(): None for one in found if one.rstrip()})
    if any("boundary" in kind.doubled for kind in types):
        doubts["a parameter of Content-Type given twice"] = None
    elif len(boundaries) > 1:
        doubts["a boundary that readers take differently"] = None
    if any(len(one) > LONGEST_BOUNDARY for one in boundaries):
        doubts["a boundary longer than RFC 2046 allows"] = None
    return boundaries[:8]


def _spellings(rest: bytes) -> dict[bytes, None]:
    """What readers take from ``rest``, which begins with the value of a boundary parameter."""
    match = _VALUE.match(rest)
    if match is None:
        return {}
    quoted, behind, plain = match.groups()
    if plain is not None:
        token = plain.rstrip()
        cut = re.split(rb"[\s,]", token)[0] if re.search(rb"[\s,]", token) else token
        found = {token: None, cut: None}
    else:
        inner = re.sub(rb"\\(.)", rb"\1", quoted)
        found = {inner: None, quoted: None}
        if behind and not behind.startswith(b"("):
            found |= {inner + behind: None, match.group().rstrip(): None}
        if inner != inner.lstrip():
            found[inner.lstrip()] = None
    for one in list(found):
        if b"\0" in one:
            found |= {one.replace(b"\0", b""): None, one.partition(b"\0")[0]: None}
    return found


def _printable(name: str) -> str:
    """A file name for display: no control characters, no path, at most 255 characters."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(character for character in name if character.isprintable())[:255].strip()
