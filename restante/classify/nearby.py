"""Which context words stand near a match: whole words that begin and end within 300 characters of it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

from restante.classify.vocabulary import Reading

CONTEXT: Final = 300
"""Characters either side in which a context word counts."""

_LOOK = 4  # occurrences on either side that are looked at: the nearest, but for phrases that overlap


class Nearby:
    """Where the context words of every detector stand in one text."""

    def __init__(self, reading: Reading) -> None:
        self._reading, self._text = reading, reading.text
        self._found: dict[int, list[tuple[int, int, str]]] = {}

    def _places(self, context: int) -> list[tuple[int, int, str]]:
        """Where the words of ``context`` stand, in order; looked for when they are first asked for."""
        if context not in self._found:
            self._found[context] = sorted(
                (begin, stop, phrase.key) for begin, stop, phrase in self._reading.context_words(context)
            )
        return self._found[context]

    def word(self, context: int, begin: int, stop: int) -> str:
        """The word of ``context`` that stands near ``text[begin:stop]``; an empty string where none does."""
        found = self._places(context)
        if not found:
            return ""
        after = bisect_left(found, (stop,))
        for _, last, word in found[after : after + _LOOK]:
            if self._within(stop, last):
                return word
        before = bisect_right(found, (begin,))
        for first, last, word in reversed(found[max(before - _LOOK, 0) : before]):
            if last <= begin and self._within(first, begin):
                return word
        return ""

    def _within(self, begin: int, stop: int) -> bool:
        """Whether ``text[begin:stop]`` is at most 300 characters."""
        if stop - begin <= CONTEXT:
            return True
        return stop - begin <= 4 * CONTEXT and len(self._text[begin:stop].decode("utf-8", "replace")) <= CONTEXT
