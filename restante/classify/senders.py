"""The sender's own wish for protection: a tag in the subject, ``Sensitivity:``, headers that the policy names."""

from __future__ import annotations

import re

from restante.classify.finding import Confidence
from restante.classify.headers import HeaderBlock, decode_words, text_of
from restante.classify.session import Session
from restante.classify.text import normalise
from restante.policy import Triggers

_OFF = frozenset({"", "no", "false", "0", "off", "none"})


class SenderTriggers:
    """The policy's triggers, compiled."""

    def __init__(self, triggers: Triggers) -> None:
        tags = "|".join(re.escape(tag.strip().strip("[]")) for tag in triggers.subject_tags if tag.strip())
        self._tag = re.compile(rf"\[\s*(?:{tags})\s*\]", re.IGNORECASE) if tags else None
        self._headers = tuple((name.lower().encode("utf-8"), name) for name in triggers.headers)
        self._sensitivity = triggers.sensitivity

    def apply(self, block: HeaderBlock, session: Session) -> None:
        """Look at the header of the message itself; attached messages speak for their own senders."""
        for raw in block.all(b"subject"):
            subject = decode_words(raw)
            session.subject = session.subject or subject
            self._subject(subject, session)
        if self._sensitivity:
            for raw in block.all(b"sensitivity"):
                value = text_of(raw).strip()
                # RFC 2156, section 5.3.4: personal, private, company-confidential.
                if value.lower() not in {"", "normal"}:
                    self._found(session, "trigger-sensitivity", "header:Sensitivity", value)
        for key, name in self._headers:
            for raw in block.all(key):
                value = text_of(raw).strip()
                if value.lower() not in _OFF:
                    self._found(session, "trigger-header", f"header:{name}", value)

    def _subject(self, subject: str, session: Session) -> None:
        if self._tag is None:
            return
        match = self._tag.search(subject) or self._tag.search(normalise(subject).decode("utf-8", "replace"))
        if match:
            session.trigger_tag = session.trigger_tag or match.group()
            self._found(session, "trigger-subject", "subject", match.group())

    @staticmethod
    def _found(session: Session, detector: str, place: str, value: str) -> None:
        shown = "".join(character for character in value[:40] if character.isprintable())
        session.note(detector, place, Confidence.HIGH, "the sender asks for protection", shown)
