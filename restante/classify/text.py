"""Text as detectors see it: normalised UTF-8.  Decoding never raises; what cannot be decoded is replaced.

NFKC (Unicode Standard Annex 15) where there is anything but ASCII; format characters, which split words and numbers
for a program but not for a reader, are dropped; every dash is a hyphen.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable
from typing import cast

import re2

_UNANCHORED = re2._re2.RE2.Anchor.UNANCHORED  # noqa: SLF001


def occurs(pattern: bytes) -> Callable[[bytes], bool]:
    """A function that says whether ``pattern`` (RE2 syntax, without groups) occurs in a text.

    RE2's own matching function: the wrapper around it costs more than a search in a short text.
    """
    locate = re2.compile(pattern)._regexp.Match  # noqa: SLF001

    def found(text: bytes) -> bool:
        return bool(locate(_UNANCHORED, text, 0, len(text))[0][0] >= 0)

    return found


# Format characters (category Cf), NUL, the combining joiner, Hangul and Khmer fillers, variation selectors.
_INVISIBLE = re2.compile(
    rb"[\p{Cf}\x00\x{034F}\x{115F}\x{1160}\x{17B4}\x{17B5}\x{3164}\x{FE00}-\x{FE0F}\x{E0100}-\x{E01EF}]"
)
_DASH = re2.compile(rb"[\x{2010}-\x{2015}\x{2212}\x{2043}\x{FE58}\x{FE63}\x{FF0D}]")
_FOREIGN_DIGIT = re2.compile(rb"[^\P{Nd}0-9]|\p{No}")
# Line ends of other alphabets, and marks that decorate a letter or digit without changing which one it is.
_LINE_END = re2.compile(rb"[\x{0085}\x{2028}\x{2029}]")
_DECORATION = re2.compile(rb"([\n -~])[\p{Mn}\p{Me}]+")
# Characters that case folding makes longer, which no pattern can do for itself; the sharp s, which is frequent, apart.
_LONGER = re2.compile(
    "".join(("[", *(c for c in map(chr, range(0xE0, 0x20000)) if len(c.casefold()) > 1 and c != "ß"), "]")).encode()
)
# One pass tells whether any of these, which are rare, needs its own.
_ANY = occurs(
    b"|".join(
        one.pattern for one in (_INVISIBLE, _DASH, _FOREIGN_DIGIT, _LONGER, _LINE_END, re2.compile(rb"[\p{Mn}\p{Me}]"))
    )
)
_ASCII = bytes(range(1, 128))
# Marks and jamo, whose normal form depends on the character before.
_COMBINING = occurs(rb"[\pM\x{1100}-\x{11FF}]")


def normalise(text: str) -> bytes:
    """``text`` as detectors match it, in UTF-8, with line feeds for line ends."""
    if "\r\n" in text:
        text = text.replace("\r\n", "\n")
    if text.isascii():
        return (text.replace("\0", "") if "\0" in text else text).encode("ascii")
    # All patterns ignore case, so only what folds to several letters is folded here.
    data = text.encode("utf-8", "replace")
    foreign = data.translate(None, _ASCII)
    # Most text needs nothing of this; ASCII between other characters changes nothing, but for what combines with it.
    if not _COMBINING(foreign) and unicodedata.is_normalized("NFKC", foreign.decode("utf-8")):
        data = data.replace(b"\xc3\x9f", b"ss")
    else:
        data = unicodedata.normalize("NFKC", text).replace("ß", "ss").encode("utf-8", "replace")
        foreign = data.translate(None, _ASCII)
    if not _ANY(foreign):
        return data
    data = cast("bytes", _INVISIBLE.sub(b"", data))
    data = cast("bytes", _DASH.sub(b"-", data))
    data = cast("bytes", _LINE_END.sub(b"\n", data))
    data = cast("bytes", _DECORATION.sub(rb"\1", data))
    data = cast("bytes", _LONGER.sub(_folded, data))
    if _FOREIGN_DIGIT.search(data) is None:
        return data
    return "".join(map(_digit, data.decode("utf-8"))).encode()


def _folded(match: re2._Match) -> bytes:
    letter: bytes = match.group()
    return letter.decode("utf-8").casefold().encode()


def _digit(character: str) -> str:
    return str(unicodedata.digit(character)) if character.isdigit() else character


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
