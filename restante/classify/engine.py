"""The classifier: from the raw bytes of a message to findings.

Any bytes give a classification: what cannot be read or could be read in two ways is itself a finding.  One block of
the message and one window of text are in memory at a time.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel

from restante.classify.attachments import Attachments, nothing
from restante.classify.dictionary import Dictionary
from restante.classify.extract.pool import Extractor
from restante.classify.finding import Classification, Confidence
from restante.classify.pack_loader import compiled
from restante.classify.raw import scan_raw
from restante.classify.scan import Budget, Scanner
from restante.classify.senders import SenderTriggers
from restante.classify.session import Recorder, Session
from restante.classify.walk import Walk
from restante.policy import Policy

_SAMPLE = Path(__file__).with_name("warm-up.eml")


class Classifier:
    """Compiled once from the built-in packs and a Policy; immutable and thread-safe afterwards.

    ``block`` is how many bytes are read at a time; it changes nothing in the result.  ``extractor`` reads documents
    and archives; without one they are findings that say so.  Findings below ``least``, which is what the policy asks
    for when it is left out, may be missing.  ``dictionaries`` are those that the policy names, opened; values of the
    others are not looked for.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        block: int = 1 << 16,
        extractor: Extractor | None = None,
        least: Confidence | None = None,
        dictionaries: tuple[Dictionary, ...] = (),
    ) -> None:
        catalogue = policy.catalogue
        tables = {table.name: table for table in catalogue.dictionaries}
        lists = tuple((tables[one.name], one) for one in dictionaries)
        self._scanner = Scanner(tuple(map(compiled, catalogue.detectors)), catalogue.lexicons, lists)
        self._least = least_asked(policy) if least is None else least
        self._triggers = SenderTriggers(policy.triggers, policy.own_tags, policy.asked_headers)
        self._block = block
        self._extractor = extractor

    def with_extractor(self, extractor: Extractor | None) -> Classifier:
        """The same, sharing everything that was compiled, with another extractor: for a process of its own."""
        other = copy(self)
        other._extractor = extractor  # noqa: SLF001  its own class
        return other

    def warm_up(self) -> None:
        """Classify a sample of ordinary mail, so that processes forked from now on share what the automata learn of it.

        RE2 builds its automata while it reads: without this each process would for itself, in memory of its own.
        """
        self.classify(io.BytesIO(_SAMPLE.read_bytes()))

    def classify(
        self, source: BinaryIO, recorder: Recorder | None = None, *, waiting: Callable[[], None] = nothing
    ) -> Classification:
        """Everything found in the message that ``source``, a seekable binary file, holds from its beginning.

        ``recorder`` looks on; ``waiting`` is called about once a second while an extractor is at work.  Lines end in
        CRLF or LF.  Raises nothing for any bytes; an ``OSError`` of ``source`` itself passes through.
        """
        session = Session(self._scanner, Budget(self._least), recorder)
        session.size = source.seek(0, io.SEEK_END)
        source.seek(0)
        walk = Walk(session, self._triggers, self._block)
        if self._extractor is not None:
            session.inspector = Attachments(session, self._extractor, walk.later, waiting)
        walk.run(source)
        if session.scan_raw:
            source.seek(0)
            scan_raw(session, source, self._block)
        return session.result()


def least_asked(policy: Policy) -> Confidence:
    """The lowest confidence that a rule or a pack asks for, medium at most: so much tells ambiguous mail apart."""
    asked = {Confidence.MEDIUM, *_confidences(policy.rule), *_confidences(policy.catalogue.packs)}
    return min(asked)


def _confidences(value: object) -> Iterator[Confidence]:
    if isinstance(value, Confidence):
        yield value
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _confidences(getattr(value, name))
    elif isinstance(value, tuple):
        for member in value:
            yield from _confidences(member)
