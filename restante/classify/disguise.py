"""Ways of writing a value that a person still reads: broken over lines, look-alike characters, reversed, marked up.

Each is a further reading of a text, given only for a text that has something of the kind.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import re2

from restante.classify.text import occurs

MANY = 1_500  # places in one text beyond which all of it is changed alike, which costs the same for any number

# Groups at the end of one line and the beginning of the next, quotation marks of replies between them.
_WRAP = rb"[0-9][ ./-]{0,2}\n[ \t>|]*[0-9A-Z]{2}|[A-Z]{2} ?\n[ \t>|]*[0-9]{2}"
_SIX = rb"(?:[0-9][ .-]?){5}[0-9]"
# A capital or small letter with small letters beside it is a word that stands next to a number.
_ALIKE = (
    rb"(?:[0-9OolI|][ .-]?){4}[OolI|](?:[ .-]?[0-9OolI|]){4}|"
    + (_SIX + rb"(?:[OolI|]|[ .-](?:\||[OolI](?:[^a-z]|[ol]|\z)))|")
    + (rb"(?:[OolI|]|(?:\A|[^A-Za-z]|[OolI])[OolI|][ .-])" + _SIX)
)
_MARK = rb"(?:[*_~|]|\x{00B7}|\x{2022}|\x{2027}|\x{2219}){1,4}"
_MARK_SIGNS = (b"*", b"_", b"~", b"|", "\u00b7".encode(), "\u2022".encode(), "\u2027".encode(), "\u2219".encode())
_MARKED = rb"[0-9][ .-]?" + _MARK + rb"[ .-]?[0-9]"
_MIXED = rb"[A-Za-z0-9][\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}][A-Za-z0-9]"
_ANY = occurs(b"|".join((_WRAP, _ALIKE, _MARKED)))
_FOREIGN = occurs(_MIXED)
# What the letters of these alphabets begin with, and nothing else does.
_GREEK_OR_CYRILLIC = bytes((0xCE, 0xCF, *range(0xD0, 0xD5)))

_WRAPPED, _IS_ALIKE, _IS_MARKED = occurs(_WRAP), occurs(_ALIKE), occurs(_MARKED)
_GROUPS = rb"[0-9A-Z]+(?:[ ./-][0-9A-Z]+)*"
_JOIN = re2.compile(rb"(" + _GROUPS + rb")([./-]?)[ \t]{0,3}\n[ \t>|]*(" + _GROUPS + rb")")
_FOLDED = re.compile(rb"\n[ \t]")  # RFC 5545, section 3.1; RFC 6350, section 3.2
_FEWEST = 8  # characters that an identifier has at least
_AROUND = 400
LONGEST_LINE = 2048  # of text in which a quotation mark at the beginning counts
_MARKS = (
    (re2.compile(rb"([0-9]) ?" + _MARK + rb" ?([0-9])"), rb"\1 \2"),
    (re2.compile(rb"([0-9])" + _MARK + rb"([ .-][0-9])"), rb"\1\2"),
    (re2.compile(rb"([0-9][ .-])" + _MARK + rb"([0-9])"), rb"\1\2"),
)
_RUN = re2.compile(rb"[0-9OolI|](?:[ .-]?[0-9OolI|]){8,40}")
_TO_DIGITS = bytes.maketrans(b"OolI|", b"00111")
_ESCAPED = re2.compile(rb"[^\s\"'<>]*%(?:20|2[dD]|3[0-9])[^\s\"'<>]*")
_SOFT = re.compile(r" \r?\n>*")

# Letters that look like Latin ones (Unicode Technical Standard 39, confusables.txt), and digits likewise.
_LOOKALIKE = str.maketrans(
    "АВЕЅІЈКМНОРСТХҮУЗабеѕіјкморстухԁһӏԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧονιυαρκτ",
    "ABESIJKMHOPCTXYY3a6esijkmopctyxdhlqwABEZHIKMNOPTYXoviuapkt",
)
_OVERRIDE = re.compile("\u202e([^\u202c\u2069\n]{1,4096})")


def disguises(text: str, data: bytes, *, joined: bool = False) -> list[tuple[str, bytes | str]]:
    """The further readings of ``text``, each with its name; ``data`` is ``text`` normalised.

    ``joined`` says that a space at the end of a line is no part of the text (RFC 3676, DelSp=yes).  A result that is a
    string is still to be normalised.
    """
    found: list[tuple[str, bytes | str]] = []
    if joined and " \n" in text.replace("\r\n", "\n"):
        found.append(("lines joined", _SOFT.sub("", text)))
    if b"BEGIN:VC" in data or b"END:VC" in data:
        found.append(("lines unfolded", _FOLDED.sub(b"", data).replace(b"\\n", b"\n").replace(b"\\,", b",")))
    if not text.isascii():
        if "\u202e" in text:
            found.append(("right to left", "\n".join(run[::-1] for run in _OVERRIDE.findall(text))))
        if any(map(data.__contains__, _GREEK_OR_CYRILLIC)) and _FOREIGN(data):
            found.append(("look-alike letters", data.decode("utf-8", "replace").translate(_LOOKALIKE)))
    if _ANY(data):
        others = (
            ("lines joined", _joined(data) if _WRAPPED(data) else b""),
            ("marks between digits", _unmarked(data) if _IS_MARKED(data) else b""),
            ("look-alike digits", _plain_digits(data) if _IS_ALIKE(data) else b""),
        )
        found += [(name, other) for name, other in others if other and other != data]
    return found


def _unmarked(data: bytes) -> bytes:
    if sum(map(data.count, _MARK_SIGNS)) > MANY:
        for sign in _MARK_SIGNS:
            data = data.replace(sign, b" ")
        return data
    # Twice: the digit behind one mark may stand before the next.
    for pattern, instead in _MARKS * 2:
        data = pattern.sub(instead, data)
    return data


def _joined(data: bytes) -> bytes:
    """What stands around values that may go on in the next line, with them in one line."""
    if data.count(b"\n") > MANY:
        return data.replace(b"\n> ", b" ").replace(b"\n", b" ")
    pieces: list[bytes] = []
    end = 0
    for match in _JOIN.finditer(data):
        left, mark, right = match.groups()
        text = left + right
        letters = len(text) - sum(map(text.count, (b" ", b".", b"/", b"-")))
        if letters < _FEWEST or sum(map(text.count, _DIGITS)) < _FEWEST - 2:
            continue
        begin = max(match.start() - _AROUND, 0)
        pieces += [b"\n" if begin >= end else b"", data[max(begin, end) : match.start()]]
        pieces += [left, mark or b" ", right]
        end = match.end()
        pieces.append(data[end : end + _AROUND])
        end += len(pieces[-1])
    return b"".join(pieces)


_DIGITS = tuple(b"%d" % digit for digit in range(10))


def addresses(data: bytes) -> str:
    """The web addresses in ``data`` that spell characters of text by their codes, decoded (RFC 3986, section 2.1)."""
    if b"%" not in data:
        return ""
    return unquote(b"\n".join(_ESCAPED.findall(data)).decode("utf-8", "replace"))


def _plain_digits(data: bytes) -> bytes:
    """What stands around the runs of digits and letters like them, with all of each run digits."""
    pieces: list[bytes] = []
    end, reach = 0, _AROUND if data.isascii() else 3 * _AROUND
    after = 0  # up to here the text goes along with the run before
    for number, match in enumerate(_RUN.finditer(data)):
        if number > MANY:
            return data.translate(_TO_DIGITS)
        run = _digits(match)
        if run == match.group():
            continue
        # From the beginning of its line, where the mark of a quotation stands.
        begin = match.start() - reach
        begin = data.rfind(b"\n", max(begin - LONGEST_LINE, 0), begin) + 1 or begin if begin > 0 else 0
        if begin > after:
            pieces += [data[end:after], b"\n"]
            end = begin
        pieces += [data[end : match.start()], run]
        end = match.end()
        after = end + reach
    pieces.append(data[end:after])
    return b"".join(pieces)


def _digits(match: re2._Match) -> bytes:
    """A run of digits and letters like them, all of it digits, when there are both."""
    run: bytes = match.group()
    digits = sum(48 <= byte <= 57 for byte in run)
    letters = sum(byte in b"OolI|" for byte in run)
    return run.translate(_TO_DIGITS) if digits and letters else run
