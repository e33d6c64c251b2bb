"""A detector as data: what it looks for, how a candidate is proved, and what makes it more or less certain.

``Form.pattern`` is RE2 syntax over normalised text that has a line feed at either end.  It serves as the shared
prefilter and to locate candidates.  ``validate`` proves or refutes a candidate, and
``doubt`` names circumstances under which a proved one counts only as much as an unproved one would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from restante.classify.finding import Confidence


@dataclass(frozen=True, slots=True)
class Proof:
    """A candidate that holds: its canonical value, and how many characters of the candidate belong to it."""

    value: str
    length: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stands around a match: up to 300 characters before and after, in normalised text, and the match itself."""

    before: bytes
    after: bytes
    match: bytes = b""


Validator = Callable[[str], Proof | None]
Doubt = Callable[[Surroundings], str]


EDGE: Final = "[^0-9A-Za-z]"
"""What stands on either side of a bounded form.  RE2 has no look-around, so it is consumed."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way of writing a value, in RE2 syntax.

    ``alone`` is the confidence when it is proved and no context word stands near.  ``bounded``: neither a letter nor a
    digit stands next to it.
    """

    body: str
    alone: Confidence = Confidence.HIGH
    bounded: bool = True
    any_case: bool = True

    @property
    def pattern(self) -> str:
        """What is searched for: the candidate, and what bounds it on either side."""
        flags = "(?i)" if self.any_case else ""
        return f"{flags}{EDGE}(?:{self.body}){EDGE}" if self.bounded else f"{flags}(?:{self.body})"


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of value.

    ``context`` are words of which one within 300 characters raises the confidence to high.  Each of ``refuse``
    and ``doubt`` looks at the surroundings and returns a reason, or an empty string: a refusal drops the match, a
    doubt caps it at medium unless a context word stands near.  ``proof`` says in words what a proved candidate has.
    """

    name: str
    forms: tuple[Form, ...]
    validate: Validator
    context: tuple[str, ...] = ()
    refuse: tuple[Doubt, ...] = ()
    doubt: tuple[Doubt, ...] = ()
    proof: str = "check digits"


_SEPARATORS = str.maketrans("", "", " \t\r\n-._/+>")


def digits_and_letters(text: str) -> str:
    """``text`` without separators, in upper case."""
    return text.translate(_SEPARATORS).upper()


def whole(check: Callable[[str], bool]) -> Validator:
    """A validator that asks ``check`` about the whole candidate, separators removed."""

    def validate(candidate: str) -> Proof | None:
        value = digits_and_letters(candidate)
        return Proof(value, len(candidate)) if check(value) else None

    return validate


def never(values: tuple[str, ...], validate: Validator) -> Validator:
    """``validate``, but for ``values``, which are samples."""
    samples = frozenset(map(digits_and_letters, values))

    def checked(candidate: str) -> Proof | None:
        proof = validate(candidate)
        return None if proof is None or digits_and_letters(proof.value) in samples else proof

    return checked if samples else validate


def legible(length: int, detector: str) -> int:
    """How many of the last characters of a value may be shown: four, half of a short value, nothing of a secret."""
    return 0 if detector.startswith("credential-") else min(4, length // 2)


def mask(value: str, detector: str) -> str:
    """``value``, which ``detector`` found, with all but its :func:`legible` characters hidden."""
    hidden = len(value) - legible(len(value), detector)
    return "*" * hidden + value[hidden:]
