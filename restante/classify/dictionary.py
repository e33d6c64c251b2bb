"""Exact-data match: lists of values, such as patient numbers, that are known only as keyed hashes.

A file holds no value: BLAKE2b (RFC 7693) under a key derived from the site's own, sorted, and the lengths that values
have, by which candidates are cut out of a text.  A value with a digit is found whatever separates its groups ("P-4711",
"P 4711", "P4711"); one of words alone as those words in a row, in any case.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import mmap
import os
import re
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from restante.classify.tables import DictionaryTable
from restante.classify.text import normalise
from restante.classify.vocabulary import as_words
from restante.errors import RestanteError
from restante.toml_source import BadFile

DIGEST: Final = 12
SHORTEST: Final = 4
"""Letters and digits that a value has at least: shorter ones stand in any text."""

LONGEST: Final = 100
MOST: Final = 10_000_000
_MAGIC: Final = b"restante-dictionary 1 "
_GROUPS: Final = 5  # groups into which people write a number that the list has in one
_GAP: Final = 3  # bytes between two groups or words of one value
_WORD = re.compile(rb"[0-9a-z\x80-\xff]+")
_DIGIT = re.compile(rb"[0-9]")


class BadDictionary(RestanteError):
    """A file of hashed values that cannot be used.  Make it again with the command that the text names."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value as it is hashed: its words, and how long it is together."""

    code: bool
    words: int
    text: bytes

    @classmethod
    def of(cls, written: str) -> Self:
        """``written`` without case and separators; words of letters alone keep one space between them."""
        words = _WORD.findall(as_words(b" %b " % normalise(written)).replace(b"_", b" "))
        code = any(map(_DIGIT.search, words))
        return cls(code, len(words), (b"" if code else b" ").join(words))


def key_of(secret: bytes, name: str) -> bytes:
    """The key of one dictionary, from the secret that the site has for such purposes."""
    return hmac.digest(secret, b"restante dictionary " + name.encode(), "sha256")


def write(path: Path, name: str, key: bytes, values: Iterable[Value]) -> int:
    """Write the hashes of ``values`` to ``path``, replacing it at once; how many different ones there are."""
    lengths: dict[tuple[bool, int], set[int]] = {}
    digests: set[bytes] = set()
    for value in values:
        digests.add(_digest(key, value.code, value.text))
        lengths.setdefault((value.code, value.words), set()).add(len(value.text))
    head = {
        "name": name,
        "values": len(digests),
        "check": _digest(key, code=False, text=b"").hex(),
        "codes": _shapes(lengths, code=True),
        "words": _shapes(lengths, code=False),
    }
    starts, ordered = array("I", bytes(4)), sorted(digests)
    position = 0
    for prefix in range(1, 1 << 16):
        low = prefix.to_bytes(2, "big")
        while position < len(ordered) and ordered[position] < low:
            position += 1
        starts.append(position)
    starts.append(len(ordered))
    # Beside the file, so that replacing it is one step.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o644)
        file.write(_MAGIC + json.dumps(head).encode() + b"\n" + starts.tobytes() + b"".join(ordered))
    Path(temporary).replace(path)
    return len(ordered)


def _shapes(lengths: dict[tuple[bool, int], set[int]], *, code: bool) -> list[list[int]]:
    return [[words, *sorted(sizes)] for (kind, words), sizes in sorted(lengths.items()) if kind is code]


def _digest(key: bytes, code: bool, text: bytes) -> bytes:  # noqa: FBT001  one of two kinds
    return hashlib.blake2b(text, key=key, digest_size=DIGEST, person=b"code" if code else b"words").digest()


class Dictionary:
    """One file of hashed values, mapped into memory.  Immutable and shared between threads."""

    def __init__(self, name: str, path: Path, key: bytes) -> None:
        """Raises :class:`BadDictionary` for a file that is missing, damaged, or made with another key or name."""
        self.name, self._key = name, key
        try:
            with path.open("rb") as file:
                self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise BadDictionary(f"{path}: cannot be read: {error}. {_remedy(name)}") from None
        end = self._data.find(b"\n", 0, 1 << 20)
        head = self._head(path, self._data[: max(end, 0)])
        self._codes = _by_words(head["codes"])
        self._words = _by_words(head["words"])
        # People write a number of one group in several.
        self._most = max([_GROUPS if self._codes else 0, *self._codes, *self._words], default=0)
        self._lengths = frozenset().union(*self._codes.values())
        self._longest = max((max(sizes) for sizes in (*self._codes.values(), *self._words.values())), default=0)
        table = end + 1
        self._starts = array("I", self._data[table : table + 4 * ((1 << 16) + 1)])
        self._first = table + 4 * ((1 << 16) + 1)
        if len(self._data) != self._first + DIGEST * int(head["values"]):
            raise BadDictionary(f"{path}: is cut off. {_remedy(name)}")

    def _head(self, path: Path, line: bytes) -> dict[str, Any]:
        try:
            head: dict[str, Any] = json.loads(line.removeprefix(_MAGIC))
            right = line.startswith(_MAGIC) and head["name"] == self.name
            mine = hmac.compare_digest(head["check"], _digest(self._key, code=False, text=b"").hex())
        except (ValueError, KeyError, TypeError):
            raise BadDictionary(f"{path}: is no dictionary of hashed values. {_remedy(self.name)}") from None
        if not right:
            raise BadDictionary(f'{path}: is the dictionary "{head["name"]}". {_remedy(self.name)}')
        if not mine:
            raise BadDictionary(f"{path}: was made with another site's key. {_remedy(self.name)}")
        return head

    def __contains__(self, value: Value) -> bool:
        """Whether ``value`` is in the list."""
        return self._has(value.code, value.text)

    def _has(self, code: bool, text: bytes) -> bool:  # noqa: FBT001  one of two kinds
        digest = _digest(self._key, code, text)
        prefix = int.from_bytes(digest[:2], "big")
        position = self._first + DIGEST * self._starts[prefix]
        last = self._first + DIGEST * self._starts[prefix + 1]
        while position < last:
            if self._data[position : position + DIGEST] == digest:
                return True
            position += DIGEST
        return False

    def find(self, words: bytes, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """Where values begin in ``words[start:end]``, which is :func:`as_words` of a text: begin, stop, value."""
        spans = [match.span() for match in _WORD.finditer(words, max(start - 1, 0))]
        for index in self._beginnings(words, spans):
            if start <= spans[index][0] < end:
                yield from self._from(words, spans[index : index + self._most])

    def _beginnings(self, words: bytes, spans: list[tuple[int, int]]) -> Iterable[int]:
        """Which of ``spans`` a value may begin with: any, or where all values have digits, those shortly before one."""
        if self._words:
            return range(len(spans))
        search = _DIGIT.search
        digits = (index for index, (first, stop) in enumerate(spans) if search(words, first, stop))
        return sorted({near for index in digits for near in range(max(index - self._most + 1, 0), index + 1)})

    def _from(self, words: bytes, spans: list[tuple[int, int]]) -> Iterator[tuple[int, int, str]]:
        """The values whose first word is the first of ``spans``."""
        pieces: list[bytes] = []
        begin, before = spans[0][0], spans[0][0]
        coded, size = False, 0
        for first, stop in spans:
            if first - before > _GAP:
                return
            before = stop
            pieces.append(words[first:stop])
            size += stop - first
            if size > self._longest:
                return
            coded = coded or _DIGIT.search(pieces[-1]) is not None
            if coded:
                text = b"".join(pieces) if size in self._lengths else b""
            else:
                sizes = self._words.get(len(pieces), ())
                text = b" ".join(pieces) if size + len(pieces) - 1 in sizes else b""
            if text and self._has(coded, text):
                yield begin, stop, text.decode("utf-8", "replace")


def open_dictionaries(tables: Iterable[DictionaryTable], secret: bytes) -> tuple[Dictionary, ...]:
    """The dictionaries that a policy names.  Raises :class:`BadDictionary`."""
    return tuple(Dictionary(table.name, table.path, key_of(secret, table.name)) for table in tables)


def _by_words(shapes: list[list[int]]) -> dict[int, frozenset[int]]:
    return {words: frozenset(sizes) for words, *sizes in shapes}


def _remedy(name: str) -> str:
    return f"Run: restante dictionary {name} FILE.csv"


def refused(path: Path, line: int, column: int, problem: str, remedy: str) -> BadFile:
    """A list of values that cannot be taken."""
    return BadFile(path, line, f"column {column}", problem, remedy)
