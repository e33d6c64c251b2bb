"""What classification says: findings, each with a detector, a place, a masked match and a confidence."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Confidence(IntEnum):
    """How sure a detector is.  Ordered, so that a rule can ask for "at least medium"."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3

    def __str__(self) -> str:
        return self.name.lower()


QUOTED = "in a quoted reply"
"""How the reason of a finding ends that stands only in text quoted from an earlier message."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    ``detector`` is its name in the policy's terms ("payment-card", "iban", "trigger-subject", "lexicon:NAME",
    "ambiguous-mime").  ``place`` says where: "subject", "header:NAME", "body", "html", "attachment:NAME",
    "structure".  ``match`` is masked: at most the last four characters of an identifier are legible.
    ``value_digest`` tells distinct values apart within one message without keeping them.
    """

    detector: str
    place: str
    match: str
    confidence: Confidence
    reason: str = ""
    value_digest: bytes = field(default=b"", repr=False)

    @property
    def quoted(self) -> bool:
        """Whether it stands only in lines quoted from an earlier message, not in what this sender wrote."""
        return self.reason.endswith(QUOTED)


@dataclass(frozen=True, slots=True)
class Classification:
    """Everything that was found in one message, in the order of the message.

    ``subject`` is the decoded subject, for the sealed summary only.  ``trigger_tag`` is the subject tag that the
    sender wrote, exactly as found, to be removed before sending; empty when there was none.  ``attachment_types`` are
    the media types that ``attachments`` claim to have, one for each.  ``headers`` are the fields, names in lower case,
    that the policy asks about.  ``size`` is in bytes.  ``subject_tags`` are all tags to be removed, the first included.
    """

    findings: tuple[Finding, ...]
    subject: str = ""
    trigger_tag: str = ""
    attachments: tuple[str, ...] = ()
    attachment_types: tuple[str, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    size: int = 0
    subject_tags: tuple[str, ...] = ()
