"""Words that make a message sensitive: lexicons, and the tags and headers by which senders ask for protection."""

from __future__ import annotations

from restante.classify.tables import Lexicon
from restante.policy.fields import Frozen

__all__ = ["Lexicon", "Triggers"]


class Triggers(Frozen):
    """How senders themselves ask for protection: words in square brackets in the subject, and header values."""

    subject_tags: tuple[str, ...] = ("secure",)
    headers: tuple[str, ...] = ("X-Restante-Secure",)
    sensitivity: bool = True
