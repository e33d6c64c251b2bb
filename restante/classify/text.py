"""Text as detectors see it: normalised UTF-8.  Decoding never raises; what cannot be decoded is replaced.

NFKC (Unicode Standard Annex 15) where there is anything but ASCII; format characters, which split words and numbers
for a program but not for a reader, are dropped; every dash is a hyphen.
"""

from __future__ import annotations

import codecs
import html
import re
import sys
import unicodedata

_DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d\u2043"
_DASH = re.compile(f"[{_DASHES}]")


def _invisible() -> re.Pattern[str]:
    """Format characters (category Cf), NUL, combining joiner, Hangul fillers and variation selectors."""
    ranges = [(0, 0), (0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF)]
    ranges += [(code, code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf"]
    return re.compile("[" + "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in ranges) + "]+")


_INVISIBLE = _invisible()


def normalise(text: str) -> bytes:
    """``text`` as detectors match it, in UTF-8."""
    if text.isascii():
        return (text.replace("\0", "") if "\0" in text else text).encode("ascii")
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    text = _DASH.sub("-", _INVISIBLE.sub("", text))
    return "".join(map(_digit, text)).encode("utf-8", "replace") if _FOREIGN_DIGIT.search(text) else text.encode("utf-8", "replace")


_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")


def _digit(character: str) -> str:
    return str(unicodedata.decimal(character)) if character.isdecimal() else character


# Decoders that are no charset of mail, or whose cost is not linear.
_REFUSED = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem", "unicode-escape", "raw-unicode-escape"})
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


_INLINE = re.compile(
    r"</?(?:a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|mark|q|s|samp|small|span|strike|strong|sub|sup|tt|u|var|wbr)"
    r"(?:\s[^>]*)?/?>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[A-Za-z/!?][^>]*>")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_ENTITY = re.compile(r"&(?:#|[A-Za-z]{2})")


def visible(markup: str) -> str:
    """What a reader of HTML sees, roughly: comments and inline tags vanish, other tags separate words."""
    if "<" not in markup:
        return markup
    if "<!--" in markup:
        markup = _COMMENT.sub("", markup)
    return _TAG.sub(" ", _INLINE.sub("", markup))


def unescape(markup: str) -> str:
    """``markup`` with its character references replaced.  The frequent ones are done first, for speed."""
    if "&" not in markup:
        return markup
    markup = markup.replace("&nbsp;", " ").replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", '"')
    if _ENTITY.search(markup.replace("&amp;", "")):
        return html.unescape(markup)
    return markup.replace("&amp;", "&")


def hold_back(markup: str) -> int:
    """Where the last unfinished tag, comment or reference of ``markup`` begins; its length when there is none."""
    size = len(markup)
    floor = max(size - 4096, 0)
    comment = markup.rfind("<!--", floor)
    if comment >= 0 and markup.find("-->", comment) < 0:
        return comment
    tag = markup.rfind("<", floor)
    if tag >= 0 and markup.find(">", tag) < 0:
        return tag
    reference = markup.rfind("&", max(size - 12, 0))
    return reference if reference >= 0 and markup.find(";", reference) < 0 else size
