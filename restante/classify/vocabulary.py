"""Words and phrases, found as whole words in any case, however many there are; anywhere where no space ends a word.

The words of a text are looked up in a table, once; only where one begins a phrase is the rest compared.  Time is linear
in the text and hardly depends on how many phrases there are, and memory is that of the phrases.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import re2

from restante.classify.text import is_western, normalise, occurs

# To lower case, and everything of ASCII that is in no word to a space.
_TABLE: Final = bytes(
    ord(chr(byte).lower()) if byte >= 0x80 or chr(byte).isalnum() or byte == ord("_") else 0x20 for byte in range(128)
) + bytes(range(128, 256))
# Scripts that put no space between words, or, as Korean does, write particles onto them.
_SCRIPTS: Final = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\x{30FC}"
_UNSPACED = re2.compile(f"[{_SCRIPTS}]+")
_ANY_UNSPACED = occurs(f"[{_SCRIPTS}]".encode())
_SPACE = str.maketrans("\n\r\t>\f\v", " " * 6)


_ASCII: Final = bytes(range(128))
_FEW: Final = 24  # so many characters are replaced one after another sooner than all are looked at


class _AsWord(dict[str, str]):
    """A character in lower case, or spaces where it is in no word: as many bytes as it has.  Answers are kept."""

    def __missing__(self, character: str) -> str:
        folded = character.casefold()
        size = len(character.encode("utf-8", "surrogateescape"))
        if len(folded.encode("utf-8", "surrogateescape")) != size:
            folded = character
        blank = not character.isascii() and not "\udc80" <= character <= "\udcff"
        blank = blank and unicodedata.category(character)[0] not in "LMN"
        self[character] = " " * size if blank else folded
        return self[character]


_AS_WORD: Final = _AsWord()
_MOST_SPACE: Final = 8  # white space that may stand between two words of a phrase
_REACH: Final = 256  # bytes in which the second word begins, whatever its phrase has between the two


@dataclass(frozen=True, slots=True)
class Phrase:
    """``key`` is in lower case with single spaces; ``lead`` characters of it stand before its first word.

    ``owners`` are numbers of lexicons, ``contexts`` those of lists of context words.  ``words`` is empty where the
    script puts no space between words, and the phrase stands anywhere.  ``needle`` finds the first word and those that
    no space parts from it, ``second`` is the one after these.
    """

    key: str
    words: frozenset[bytes]
    needle: bytes
    second: bytes
    lead: int
    plain: bool
    owners: frozenset[int]
    contexts: frozenset[int]


class Vocabulary:
    """Phrases, each with the numbers of the lexicons and lists of context words that it stands in.  Immutable."""

    def __init__(self, lexicons: Iterable[tuple[str, ...]], contexts: Iterable[tuple[str, ...]] = ()) -> None:
        owners, near = _by_key(lexicons), _by_key(contexts)
        by_word: dict[bytes, list[Phrase]] = {}
        phrases: list[Phrase] = []
        unspaced: list[Phrase] = []
        for key in sorted(owners.keys() | near.keys()):
            words = as_words(key.encode())
            tokens = words.split()
            if _UNSPACED.fullmatch(key):
                whose = frozenset(owners.get(key, ())), frozenset(near.get(key, ()))
                unspaced.append(Phrase(key, frozenset(), key.encode(), b"", 0, True, *whose))
            elif tokens:
                lead = len(words.decode()) - len(words.decode().lstrip())
                plain = len(tokens) == 1 and len(tokens[0]) == len(words)
                whose = frozenset(owners.get(key, ())), frozenset(near.get(key, ()))
                first = next(one for part in key.split() if (one := as_words(part.encode()).strip()))
                second = tokens[len(first.split()) :] or [b""]
                phrase = Phrase(key, frozenset(tokens), b" %b " % first, second[0], lead, plain, *whose)
                phrases.append(phrase)
        uses = Counter(word for phrase in phrases for word in phrase.words)
        for phrase in phrases:
            # A long word that few phrases share is the rarest, as a rule: most texts hold none of those.
            rarest = min(phrase.words, key=lambda word: (uses[word] / len(word) ** 3, word))
            by_word.setdefault(rarest, []).append(phrase)
        self._by_word: Mapping[bytes, tuple[Phrase, ...]] = {word: tuple(own) for word, own in by_word.items()}
        self._words, self._rarest = frozenset(uses), frozenset(by_word)
        self._unspaced = tuple(unspaced)

    def read(self, text: bytes) -> Reading:
        """Look ``text`` over: normalised UTF-8 with an end of a word at either end."""
        foreign = b"" if text.isascii() else text.translate(None, _ASCII)
        words = _as_words(text, foreign)
        # Straight from the list: a set of all words of the text would cost as much again.
        known = self._words.intersection(words.split())
        rarest = known & self._rarest
        phrases = [phrase for word in rarest for phrase in self._by_word[word] if phrase.plain or phrase.words <= known]
        if self._unspaced and foreign and not is_western(foreign) and _ANY_UNSPACED(foreign):
            phrases += [phrase for phrase in self._unspaced if phrase.needle in text]
        return Reading(text, words, phrases)


class Reading:
    """A text as a vocabulary sees it: the phrases that stand in it, and the lists of context words that they are of."""

    __slots__ = ("contexts", "phrases", "text", "words")

    def __init__(self, text: bytes, words: bytes, possible: list[Phrase]) -> None:
        """``possible`` are the phrases all of whose words are in ``text``, wherever."""
        self.text, self.words = text, words
        self.phrases = [one for one in possible if one.plain or any(True for _ in self._places(one, 0, len(text)))]
        self.contexts: frozenset[int] = frozenset().union(*[phrase.contexts for phrase in self.phrases])

    def lexicon_words(self, start: int, end: int) -> Iterator[tuple[int, int, Phrase]]:
        """Where phrases of lexicons begin in ``start:end``: begin, stop, which.  Not in the order of the text."""
        for phrase in self.phrases:
            if phrase.owners:
                yield from self._places(phrase, start, end)

    def context_words(self, context: int) -> Iterator[tuple[int, int, Phrase]]:
        """Where the words of one list of context words stand in all of the text.  Not in its order."""
        for phrase in self.phrases if context in self.contexts else ():
            if context in phrase.contexts:
                yield from self._places(phrase, 0, len(self.text))

    def _places(self, phrase: Phrase, start: int, end: int) -> Iterator[tuple[int, int, Phrase]]:
        words, needle = self.words, phrase.needle
        if not phrase.words:
            yield from _anywhere(self.text, phrase, start, end)
            return
        size = len(needle) - 2
        last = end + 4 * phrase.lead + size + 2
        position = words.find(needle, max(start - 1, 0), last)
        while position >= 0:
            first = position + 1
            place: tuple[int, int] | None = (first, first + size)
            if not phrase.plain:
                near = words[first + size : first + size + _REACH].lstrip()
                place = _place(self.text, first, phrase) if near.startswith(phrase.second) else None
            if place and start <= place[0] < end:
                yield (*place, phrase)
            position = words.find(needle, first, last)


def _anywhere(text: bytes, phrase: Phrase, start: int, end: int) -> Iterator[tuple[int, int, Phrase]]:
    """Where ``phrase`` stands, whatever stands beside it: no mark says where words of its script end."""
    size = len(phrase.needle)
    begin = text.find(phrase.needle, start, end + size - 1)
    while begin >= 0:
        yield begin, begin + size, phrase
        begin = text.find(phrase.needle, begin + size, end + size - 1)


def _by_key(lists: Iterable[tuple[str, ...]]) -> dict[str, set[int]]:
    owners: dict[str, set[int]] = {}
    for number, phrases in enumerate(lists):
        for phrase in phrases:
            owners.setdefault(_folded(normalise(phrase.casefold())), set()).add(number)
    return owners


def as_words(text: bytes) -> bytes:
    """``text`` in lower case with everything that is in no word a space, byte for byte as long as it is."""
    return _as_words(text, b"" if text.isascii() else text.translate(None, _ASCII))


def _as_words(text: bytes, foreign: bytes) -> bytes:
    if not foreign:
        return text.translate(_TABLE)
    # What is cut off at either end may be joined here to what is no character; it stands nowhere in the text.
    characters = set(foreign.decode("utf-8", "surrogateescape"))
    changes = [(character, _AS_WORD[character]) for character in characters if _AS_WORD[character] != character]
    if len(changes) <= _FEW:
        for before, after in changes:
            text = text.replace(before.encode("utf-8", "surrogateescape"), after.encode("utf-8", "surrogateescape"))
        return text.translate(_TABLE)
    table = {ord(before): after for before, after in changes}
    whole = text.decode("utf-8", "surrogateescape").translate(table)
    return whole.encode("utf-8", "surrogateescape").translate(_TABLE)


def _folded(text: bytes) -> str:
    """Normalised text as the key of a phrase: lower case, single spaces; the mark of a quotation counts as space."""
    return " ".join(text.decode("utf-8", "replace").casefold().translate(_SPACE).split())


def _place(text: bytes, first: int, phrase: Phrase) -> tuple[int, int] | None:
    """Where ``phrase`` stands in ``text`` when its first word begins at ``first``."""
    begin = first
    for _ in range(phrase.lead):
        begin -= 1
        while begin > 0 and 0x80 <= text[begin] < 0xC0:
            begin -= 1
    if begin < 0:
        return None
    spaces = phrase.key.count(" ")
    rest = text[begin : begin + len(phrase.key.encode()) + spaces * (_MOST_SPACE - 1) + 4].decode("utf-8", "replace")
    position = 0
    for character in "" if rest.startswith(phrase.key) else phrase.key:
        if character == " ":
            here = position
            while position < len(rest) and (rest[position].isspace() or rest[position] == ">"):
                position += 1
            if not 0 < position - here <= _MOST_SPACE:
                return None
        elif position < len(rest) and rest[position].casefold() == character:
            position += 1
        else:
            return None
    position = position or len(phrase.key)
    before = text[max(begin - 4, 0) : begin].decode("utf-8", "ignore")
    if _joins(rest[position : position + 1]) or _joins(before[-1:]):
        return None
    return begin, begin + len(rest[:position].encode())


def _joins(character: str) -> bool:
    return bool(character) and (character == "_" or unicodedata.category(character)[0] in "LMN")
