"""Detectors, lexicons and packs as their TOML tables: ``[[detector]]``, ``[[lexicon]]``, ``[[pack]]``.

The same in the built-in packs and in a policy file.  Whatever validates can be compiled and searched in linear time:
patterns are RE2 without unbounded repetition and of limited size, and every name of a function is known.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Self

import re2
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

from restante.classify.detector import EDGE
from restante.classify.finding import Confidence
from restante.classify.surroundings import DOUBTS
from restante.classify.validators import validator_named

MAX_PROGRAM: Final = 8_000
"""Instructions that one pattern may compile to.  RE2 is linear in text times program, so this is what slow means."""

RESERVED: Final = ("trigger-", "ambiguous-mime", "cannot-inspect")
"""What the classifier itself reports; no detector may be called so."""


class Frozen(BaseModel):
    """A table: unknown keys are refused, values never change, and errors do not repeat what was written."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _confidence(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Confidence[value.upper()]
    except KeyError:
        raise ValueError("must be low, medium or high") from None


def _example(value: object) -> object:
    return {"text": value} if isinstance(value, str) else value


def _validator(value: str) -> str:
    validator_named(value)
    return value


def _doubt(value: str) -> str:
    if value not in DOUBTS:
        raise ValueError(f'nothing is called "{value}": write one of {", ".join(sorted(DOUBTS))}')
    return value


def _not_reserved(value: str) -> str:
    if value.startswith(RESERVED):
        raise ValueError("is a name of the classifier's own: choose another")
    return value


OUR_OWN: Final = "comes with Restante"
"""The context in which packs are validated whose patterns our tests have checked: that takes a tenth of a second."""


def check_pattern(written: str, info: ValidationInfo) -> str:
    """Refuse what is no RE2, what repeats without end, and what is slow.  Raises ``ValueError``."""
    if info.context == OUR_OWN:
        return written
    options = re2.Options()
    options.log_errors = False
    try:
        groups = re2.compile(written, options).groups
        program = re2.compile(f"(?i){EDGE}({written}){EDGE}", options)
    except re2.error as error:
        text = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"is no regular expression of RE2: {text}") from None
    endless = _endless(written)
    if endless:
        raise ValueError(f'repeats without end at "{endless}": give the repetition an end, such as {{0,20}}')
    if groups:
        raise ValueError("has a capturing group: write (?:…)")
    if program.search("\n\n"):
        raise ValueError("matches where there is nothing: make some of it required")
    if program.programsize > MAX_PROGRAM:
        raise ValueError(
            f"is slow: it takes {program.programsize} instructions, and {MAX_PROGRAM} are allowed: "
            "repeat less, or write [a-z] for \\pL"
        )
    return written


# Escapes and classes, in which neither a star nor a plus repeats.
_LITERAL = re.compile(r"\\.|\[\^?\]?(?:\[:\^?[a-z]+:\]|\\.|[^\]\\])*\]", re.DOTALL)
_ENDLESS = re.compile(r"[*+]|\{[0-9]+,\}")


def _endless(pattern: str) -> str:
    """The first repetition without an end in a valid ``pattern``, with what stands before it, or an empty string."""
    found = _ENDLESS.search(_LITERAL.sub(lambda match: "_" * len(match.group()), pattern))
    return pattern[max(found.start() - 10, 0) : found.end()] if found else ""


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
OwnName = Annotated[Name, AfterValidator(_not_reserved)]
ConfidenceName = Annotated[Confidence, BeforeValidator(_confidence)]
Words = Annotated[str, Field(min_length=2, max_length=200)]
Selector = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9:-]{0,62}\*?$")]


class Example(Frozen):
    """A text, and the least confidence that a finding in it must have."""

    text: str = Field(min_length=1, max_length=4000)
    confidence: ConfidenceName = Confidence.MEDIUM


Examples = tuple[Annotated[Example, BeforeValidator(_example)], ...]


class FormTable(Frozen):
    """One way of writing a value.

    ``pattern`` is RE2 syntax over normalised text, in any case unless ``case_sensitive``.  ``alone`` is the confidence
    when it is validated and no context word is near.  ``bounded``: its neighbours are neither letters nor digits.
    """

    pattern: Annotated[str, Field(min_length=1, max_length=2000), AfterValidator(check_pattern)]
    alone: ConfidenceName = Confidence.MEDIUM
    bounded: bool = True
    case_sensitive: bool = False


class Findable(Frozen):
    """What every kind of finding has: a name, words for people, tags to select it by, texts to try it with."""

    name: OwnName
    title: str = Field(default="", max_length=200)
    tags: tuple[Name, ...] = ()
    examples: Examples = ()
    counter_examples: Examples = ()


class DetectorTable(Findable):
    """One kind of value; the meaning of each key stands in docs/policy.md."""

    validator: Annotated[str, AfterValidator(_validator)] = ""
    context: tuple[Words, ...] = Field(default=(), max_length=500)
    needs_context: bool = False
    refuse: tuple[Annotated[str, AfterValidator(_doubt)], ...] = ()
    doubt: tuple[Annotated[str, AfterValidator(_doubt)], ...] = ()
    never: tuple[str, ...] = ()
    form: tuple[FormTable, ...] = Field(min_length=1, max_length=50)

    @model_validator(mode="after")
    def _can_be_found(self) -> Self:
        if self.needs_context and not self.context:
            raise ValueError("needs_context without context words: nothing would ever be certain")
        return self


class Lexicon(Findable):
    """A list of whole words or phrases, found in any case, reported as ``lexicon:NAME``."""

    language: str = Field(default="", pattern=r"^([a-z]{2,3}(-[A-Za-z]{2,8})?)?$")
    words: tuple[Words, ...] = Field(min_length=1, max_length=10_000)
    confidence: ConfidenceName = Confidence.MEDIUM


class DictionaryTable(Findable):
    """A list of hashed values that ``restante dictionary`` made, found as ``dictionary:NAME``.

    With ``context``, a match counts as high only near one of these words, and as medium without.
    """

    path: Path
    context: tuple[Words, ...] = Field(default=(), max_length=500)
    confidence: ConfidenceName = Confidence.HIGH


class PackTable(Frozen):
    """A purpose: ``all`` are groups of tags, names of findings or prefixes with ``*``; each group must be met."""

    name: Name
    title: str = Field(default="", max_length=200)
    default: bool = False
    confidence: ConfidenceName = Confidence.MEDIUM
    all: tuple[Annotated[tuple[Selector, ...], Field(min_length=1)], ...] = Field(min_length=1, max_length=10)


class PackFile(Frozen):
    """One file of packs."""

    detector: tuple[DetectorTable, ...] = ()
    lexicon: tuple[Lexicon, ...] = ()
    pack: tuple[PackTable, ...] = ()
    dictionary: tuple[DictionaryTable, ...] = ()
