"""The sender's own wish for protection: a tag in the subject, ``Sensitivity:``, headers that the policy names."""

from __future__ import annotations

import re
from collections.abc import Iterable

from restante.classify.finding import Confidence
from restante.classify.headers import HeaderBlock, decode_words, text_of
from restante.classify.session import Session
from restante.classify.text import normalise
from restante.policy import Triggers

MOST_TAGS = 20  # tags of one kind that are taken out of a subject
MAX_ASKED = 65_536  # bytes of one header field that rules look into

_OFF = frozenset({"", "no", "false", "0", "off", "none"})


class SenderTriggers:
    """The policy's triggers, compiled."""

    def __init__(
        self, triggers: Triggers, own_tags: frozenset[str] = frozenset(), asked_headers: frozenset[str] = frozenset()
    ) -> None:
        """``own_tags`` are those of single rules; ``asked_headers``, in lower case, what rules look into."""
        self._tag = _tags(triggers.subject_tags)
        self._own_tag = _tags(sorted(own_tags))
        self._asked = frozenset(name.encode("utf-8") for name in asked_headers)
        self._headers = tuple((name.lower().encode("utf-8"), name) for name in triggers.headers)
        self._sensitivity = triggers.sensitivity
        self._telling = frozenset({b"subject", b"sensitivity", *(key for key, _ in self._headers)})

    def apply(self, block: HeaderBlock, session: Session) -> None:
        """Look at the header of the message itself; attached messages speak for their own senders."""
        if self._asked:
            session.headers += [
                (name.decode("utf-8", "replace"), decode_words(value[:MAX_ASKED]))
                for name, value in block.fields
                if name in self._asked
            ]
        block = HeaderBlock([one for one in block.fields if one[0] in self._telling])
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
        plain: str | None = None
        for pattern, detector in ((self._tag, "trigger-subject"), (self._own_tag, "subject-tag")):
            if pattern is None:
                continue
            if plain is None:
                plain = _plain(subject)
            if "[" not in plain:
                return
            found = list(pattern.finditer(subject)) or list(pattern.finditer(plain))
            for match in found[:MOST_TAGS]:
                session.subject_tags.append(match.group())
                self._found(session, detector, "subject", match.group())

    @staticmethod
    def _found(session: Session, detector: str, place: str, value: str) -> None:
        shown = "".join(character for character in value[:40] if character.isprintable())
        session.note(detector, place, Confidence.HIGH, "the sender asks for protection", shown)


def _plain(text: str) -> str:
    """``text`` as detectors see it: a tag may be written in letters that only look like those of the policy."""
    return normalise(text).decode("utf-8", "replace")


def _tags(words: Iterable[str]) -> re.Pattern[str] | None:
    tags = "|".join(re.escape(tag.strip().strip("[]")) for tag in words if tag.strip())
    return re.compile(rf"\[\s*(?:{tags})\s*\]", re.IGNORECASE) if tags else None
