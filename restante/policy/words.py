"""Words that make a message sensitive: lexicons, and the tags and headers by which senders ask for protection."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from restante.classify.finding import Confidence
from restante.policy.fields import ConfidenceName, Frozen, Name


class Lexicon(Frozen):
    """A list of whole words or phrases, found in any case, reported as ``lexicon:NAME``."""

    name: Name
    words: tuple[Annotated[str, Field(min_length=2, max_length=200)], ...] = Field(min_length=1, max_length=10_000)
    confidence: ConfidenceName = Confidence.MEDIUM


class Triggers(Frozen):
    """How senders themselves ask for protection: words in square brackets in the subject, and header values."""

    subject_tags: tuple[str, ...] = ("secure",)
    headers: tuple[str, ...] = ("X-Restante-Secure",)
    sensitivity: bool = True
