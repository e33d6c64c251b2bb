"""Realistic messages in eight languages with values of known kinds: in sentences, lines, tables and HTML.

Everything follows from the seed.  Each message also has what looks like a value and is none: invoice numbers, order
numbers, telephone numbers, prices, dates, tracking addresses.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from tests.corpus.phrases import LANGUAGES, Language
from tests.corpus.values import VALUES

SHAPES = ("sentence", "line", "table", "html")
BARE = ("bare",)


@dataclass(frozen=True, slots=True)
class Planted:
    """A value of a known kind that stands in a message."""

    detector: str
    value: str

    def ends_in(self, end: str) -> bool:
        """Whether ``end`` is the end of the value without separators, or of the day in either order."""
        written = bare(self.value)
        if self.detector != "date-of-birth":
            return written.endswith(end)
        year, rest = (written[:4], written[4:]) if "-" in self.value[4:5] else (written[4:], written[:4])
        return any(f"{year}{day}".endswith(end) for day in (rest, rest[2:] + rest[:2]))


@dataclass(frozen=True, slots=True)
class Sample:
    """A message with what was planted in it."""

    language: str
    shape: str
    text: str
    planted: tuple[Planted, ...]

    @property
    def content(self) -> bytes:
        """The message in the form of RFC 5322."""
        subtype = "html" if self.shape == "html" else "plain"
        head = f"Subject: {self.language}\nMIME-Version: 1.0\nContent-Type: text/{subtype}; charset=utf-8\n"
        return f"{head}Content-Transfer-Encoding: 8bit\n\n{self.text}\n".encode()


def bare(value: str) -> str:
    """``value`` without separators, in upper case."""
    return re.sub(r"[\s./-]", "", value).upper()


def samples(
    seed: int, each: int, *, languages: tuple[str, ...] = tuple(LANGUAGES), shapes: tuple[str, ...] = SHAPES
) -> Iterator[Sample]:
    """For every language, kind and shape ``each`` messages with one value of the kind.

    In the shape "bare" nothing says what the value is.
    """
    random = Random(seed)
    for name in languages:
        language = LANGUAGES[name]
        for kind in language.labels:
            for shape in shapes:
                for _ in range(each):
                    yield _message(random, name, language, kind, shape)


def clean(seed: int, each: int, *, languages: tuple[str, ...] = tuple(LANGUAGES)) -> Iterator[Sample]:
    """For every language and shape ``each`` messages in which nothing stands."""
    random = Random(seed)
    for name in languages:
        language = LANGUAGES[name]
        for shape in SHAPES:
            for _ in range(each):
                body = [language.greeting, *_idle(random, language, 4), _filled(random, language.closing)]
                yield Sample(name, shape, _joined(body, shape), ())


def _message(random: Random, name: str, language: Language, kind: str, shape: str) -> Sample:
    draw = VALUES.get(f"{kind}-{name}") or VALUES[kind]
    value = draw(random)
    label = random.choice(language.labels[kind])
    before, after = _idle(random, language, 2), _idle(random, language, 2)
    if shape == "bare":
        middle = language.bare.format(value=value)
    elif shape == "sentence":
        middle = random.choice(language.sentences).format(label=label, value=value)
    elif shape == "line":
        middle = f"{label}: {value}"
    elif shape == "table":
        columns = (language.person, label, language.amount)
        row = (language.name, value, f"{random.randint(20, 900)},50")
        middle = "\n".join(" | ".join(cells) for cells in (columns, row))
    else:
        middle = f"\0<table><tr><th>{label}</th></tr><tr><td><b>{html.escape(value)}</b></td></tr></table>"
    text = _joined([language.greeting, *before, middle, *after, _filled(random, language.closing)], shape)
    return Sample(name, shape, text, (Planted(kind, value),))


def _joined(paragraphs: list[str], shape: str) -> str:
    if shape != "html":
        return "\n\n".join(paragraphs)
    marked = (one[1:] if one.startswith("\0") else f"<p>{html.escape(one)}</p>" for one in paragraphs)
    return "<html><body>\n" + "\n".join(marked) + "\n</body></html>"


def _idle(random: Random, language: Language, count: int) -> list[str]:
    """Sentences with numbers that are nobody's."""
    return [_filled(random, one) for one in random.sample(language.idle, count)]


def _filled(random: Random, sentence: str) -> str:
    """``sentence`` with digits drawn for each #."""
    return re.sub("#", lambda _one: str(random.randint(1, 9)), sentence)
