"""Text as detectors see it: normalised UTF-8.  Decoding never raises; what cannot be decoded is replaced.

NFKC (Unicode Standard Annex 15) where there is anything but ASCII; format characters, which split words and numbers
for a program but not for a reader, are dropped; every dash is a hyphen.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable
from functools import cache, lru_cache

import re2

UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001


def occurs(pattern: bytes) -> Callable[[bytes], bool]:
    """A function that says whether ``pattern`` (RE2 syntax, without groups) occurs in a text.

    RE2's own matching function: the wrapper around it costs more than a search in a short text.
    """
    locate = re2.compile(pattern)._regexp.Match  # noqa: SLF001

    def found(text: bytes) -> bool:
        return bool(locate(UNANCHORED, text, 0, len(text))[0][0] >= 0)

    return found


# The combining joiner, Hangul and Khmer fillers; hyphens of other categories; line ends of other alphabets.
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u3164"
_HYPHENS = "\u2212\u2043\ufe58\ufe63\uff0d"
_LINE_ENDS = {"\u0085": "\n", "\u2028": "\n", "\u2029": "\n"}
# Where Unicode has letters of which case folding makes several.
_FOLDING = (*range(0xDF, 0x590), *range(0x1E96, 0x1FFD), *range(0xFB00, 0xFB18))
_UNFOLDED = "".join(chr(code) for code in _FOLDING if len(chr(code).casefold()) > 1)
_KEPT = 0x3000  # what is written with letters lies below; of what lies above, only changes are worth keeping


class _Instead(dict[int, str | None]):
    """What stands for a character: nothing for what is invisible, a plain digit, hyphen or line end, or itself."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        new = _instead(character)
        if new != character or code < _KEPT:
            self[code] = new
        return new


def _instead(character: str) -> str | None:
    category = unicodedata.category(character)
    if category == "Cf" or character in _FILLERS or "\ufe00" <= character <= "\ufe0f" or _is_selector(character):
        return None
    if category in {"Nd", "No"} and character.isdigit():
        return str(unicodedata.digit(character))
    if category == "Pd" or character in _HYPHENS:
        return "-"
    # Case folding that makes longer is what no pattern can do for itself; the sharp s, which is frequent, goes before.
    folded = character.casefold()
    return folded if len(folded) > 1 else _LINE_ENDS.get(character, character)


def _is_selector(character: str) -> bool:
    """Whether it is of those that choose between variants, or a place kept for them."""
    return "\U000e0100" <= character < "\U000e0200"


_INSTEAD = _Instead({code: chr(code) for code in range(1, 128)})
# One pass tells whether there is any of these, which are rare: more of them than are replaced, and none too few.
_ANY = occurs(
    rf"[\p{{Cf}}\p{{Nd}}\p{{No}}\p{{Pd}}\p{{Mn}}\p{{Me}}\x{{E0000}}-\x{{E01FF}}{_FILLERS}{_HYPHENS}{_UNFOLDED}".encode()
    + "".join(_LINE_ENDS).encode()
    + b"]"
)
_HIGHEST_BASIC = "\uffff"


@cache
def _decoration(highest: str) -> re.Pattern[str]:
    """Marks that decorate an ASCII character without changing which one it is.

    A set within the first plane is one table; one beyond it is tried member by member, for every character of a text.
    """
    planes = (*range(0x300, 0x20000), *range(0xE0000, 0xE0200))
    marks = "".join(chr(code) for code in planes if unicodedata.category(chr(code)) in {"Mn", "Me"})
    return re.compile(f"(?<=[\n -~])[{''.join(mark for mark in marks if mark <= highest)}]+")


_ASCII = bytes(range(1, 128))
# What the letters of Western Europe, U+00C0 to U+00FF, begin with; all but the sharp s stand for themselves.
_WESTERN = b"\xc3"
# Marks and jamo, whose normal form depends on the character before.
_COMBINING = occurs(rb"[\pM\x{1100}-\x{11FF}]")
_DECORATED = occurs(rb"[\n -~]\pM")
_DISTINCT, _FEW = 1_000, 32  # characters of one text beyond which it is not looked at what becomes of each


def is_western(foreign: bytes) -> bool:
    """Whether UTF-8 without its ASCII has letters of Western Europe alone, U+00C0 to U+00FF."""
    return foreign[::2].count(_WESTERN) * 2 == len(foreign)


def normalise(text: str, data: bytes | None = None) -> bytes:
    """``text`` as detectors match it, in UTF-8, with line feeds for line ends.

    ``data`` is ``text`` in UTF-8, where that is at hand.
    """
    if "\r" in text or "\0" in text:
        text, data = text.replace("\r\n", "\n").replace("\0", ""), None
    if text.isascii():
        return text.encode("ascii")
    # All patterns ignore case, so only what folds to several letters is folded here.
    data = text.encode("utf-8", "replace") if data is None else data
    # Each byte more than characters is one of a Western letter, whose first byte no other character has.
    if data.count(_WESTERN) == len(data) - len(text):
        return data.replace(b"\xc3\x9f", b"ss") if "ß" in text else data
    foreign = data.translate(None, _ASCII)
    # Most text needs nothing of this; ASCII between other characters changes nothing, but for what combines with it.
    if _COMBINING(foreign):
        return _in_full(text)
    characters = foreign.decode("utf-8")
    if unicodedata.is_normalized("NFKC", characters) and not _ANY(foreign.replace(b"\xc3\x9f", b"")):
        return data.replace(b"\xc3\x9f", b"ss")
    # A dash or two: to go through all of the text for it would cost more than all that is looked for in it.
    changes = _changes(characters)
    if changes is None:
        return _in_full(text)
    for old, new in changes.items():
        data = data.replace(old.encode(), new.encode())
    return data


def _in_full(text: str) -> bytes:
    """``text`` normalised, whatever stands in it."""
    data = unicodedata.normalize("NFKC", text).replace("ß", "ss").encode("utf-8", "replace")
    if not _ANY(data.translate(None, _ASCII)):
        return data
    plain = data.decode("utf-8").translate(_INSTEAD)
    data = plain.encode()
    if not _DECORATED(data):
        return data
    highest = _HIGHEST_BASIC if max(plain) <= _HIGHEST_BASIC else "\U0010ffff"
    return _decoration(highest).sub("", plain).encode()


def _changes(characters: str) -> dict[str, str] | None:
    """What stands for those of ``characters`` that change, unless they are many or their neighbours matter."""
    distinct = set(characters)
    if len(distinct) > _DISTINCT:
        return None
    changes: dict[str, str] = {}
    for old in distinct:
        new = _alone(old)
        if new is None:
            return None
        if new != old:
            changes[old] = new
    return changes if len(changes) <= _FEW else None


@lru_cache(maxsize=4096)
def _alone(character: str) -> str | None:
    """What ``character`` becomes wherever it stands; nothing where that depends on what stands beside it."""
    new = _in_full(character)
    return None if _COMBINING(new) else new.decode("utf-8")


# Decoders that are no charset of mail, or whose cost is not linear.
_REFUSED = frozenset(
    {"idna", "punycode", "undefined", "mbcs", "oem"}
    | {"unicode_escape", "raw_unicode_escape", "unicode-escape", "raw-unicode-escape"}
)
# Charsets in which ASCII bytes always mean ASCII characters.
_WIDE = re.compile(r"utf[-_]?(?:7|16|32)|iso2022|hz|cp(?:037|273|424|500|875|1026|1140)", re.IGNORECASE)


def codec_of(charset: str) -> str:
    """Python's name of the codec for a declared ``charset``; empty when it is unknown or no charset."""
    if not charset or len(charset) > 40 or not charset.isascii() or "\0" in charset:
        return ""
    try:
        info = codecs.lookup(charset)
    except (LookupError, ValueError):
        return ""
    text_only = getattr(info, "_is_text_encoding", True)
    return "" if info.name in _REFUSED or not text_only else info.name


def is_wide(codec: str) -> bool:
    """Whether ASCII bytes may mean something else in ``codec``."""
    return bool(_WIDE.match(codec.replace("_", "")))
