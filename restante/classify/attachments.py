"""Bodies that may hold more than text: kept aside in memory as they pass, then read by an extractor.

What is kept aside lies in anonymous memory outside of this process's own (memfd_create), never on a disk.
"""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable
from typing import BinaryIO

from restante.classify.extract.kinds import HEAD, TAIL, kinds, looks_like_text, sealed
from restante.classify.extract.pool import Extractor
from restante.classify.readings import TextScan
from restante.classify.session import Session, Whence
from restante.ranged import ranged

Later = Callable[[BinaryIO, str, int], None]


def nothing() -> None:
    """Whom nobody waits for needs no sign of life."""


class Attachments:
    """The attachments of one message.  ``later`` takes messages found in them; ``waiting`` is called now and then."""

    def __init__(
        self, session: Session, extractor: Extractor, later: Later, waiting: Callable[[], None] = nothing
    ) -> None:
        self._session = session
        self._extractor = extractor
        self._later = later
        self._waiting = waiting
        self._deadline = 0.0

    def keep(self, whence: Whence) -> Kept:
        """Where to put the bytes of a body aside."""
        return Kept(self, whence)

    def opaque(self, reason: str, whence: Whence) -> None:
        """Nobody here can read that body."""
        self._session.opaque(reason, whence.place)

    def inspect(self, descriptor: int, whence: Whence) -> None:
        """Read the file behind ``descriptor``, if time is left."""
        self._deadline = self._deadline or time.monotonic() + self._extractor.limits.message_seconds
        sink = _Findings(self._session, whence, self._later)
        try:
            self._extractor.extract(descriptor, whence.name, sink, self._deadline, self._waiting)
        finally:
            sink.close()


class Kept:
    """One body put aside."""

    def __init__(self, attachments: Attachments, whence: Whence) -> None:
        self._attachments = attachments
        self._whence = whence
        self._descriptor = os.memfd_create("attachment", os.MFD_CLOEXEC)

    def feed(self, data: bytes) -> None:
        """More of it."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def close(self) -> None:
        """It is complete: read it, unless it is plain text and nothing else."""
        try:
            if self._is_more_than_text():
                self._attachments.inspect(self._descriptor, self._whence)
        finally:
            os.close(self._descriptor)

    def _is_more_than_text(self) -> bool:
        size = os.fstat(self._descriptor).st_size
        head = os.pread(self._descriptor, HEAD, 0)
        tail = os.pread(self._descriptor, TAIL, max(size - TAIL, 0))
        found = kinds(head, tail, self._whence.name)
        what = sealed(head)
        if what and not found:
            self._attachments.opaque(f"{what}: not looked into", self._whence)
            return False
        return not looks_like_text(head[:1024]) or bool(set(found) - {"mute"})


class _Shelf:
    """Messages that were found in one attachment, one behind another in one file in memory, while anybody needs it."""

    def __init__(self) -> None:
        self._descriptor = os.memfd_create("messages", os.MFD_CLOEXEC)
        self._holders = 1
        self.size = 0

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self.size += written
            view = view[written:]

    def open(self, start: int) -> BinaryIO:
        """What was written from ``start`` on, as a file."""
        self._holders += 1

        def read(first: int, end: int) -> bytes:
            return os.pread(self._descriptor, end - first, start + first)

        return ranged(read, self.size - start, block=io.DEFAULT_BUFFER_SIZE, release=self.release)

    def release(self) -> None:
        self._holders -= 1
        if not self._holders:
            os.close(self._descriptor)


class _Findings:
    """What an extractor tells, as findings of a session."""

    def __init__(self, session: Session, whence: Whence, later: Later) -> None:
        self._session = session
        self._whence = whence
        self._later = later
        self._scan: TextScan | None = None
        self._shelf: _Shelf | None = None
        self._message_start = -1
        self._message_place = ""
        self._places: dict[str, str] = {}

    def text(self, place: str, charsets: tuple[str, ...], *, markup: bool) -> None:
        """A text begins."""
        self._complete()
        self._scan = self._session.text(self._place(place), charsets, html=markup, decoding="extracted")

    def message(self, place: str) -> None:
        """A message begins: it is walked like the one that it came in."""
        self._complete()
        self._message_place = self._place(place)
        self._shelf = self._shelf or _Shelf()
        self._message_start = self._shelf.size

    def data(self, data: bytes) -> None:
        """Bytes of what began last."""
        if self._scan is not None:
            self._scan.feed(data)
        elif self._shelf is not None and self._message_start >= 0:
            self._shelf.write(data)

    def sealed(self, place: str, reason: str) -> None:
        """Something could not be read."""
        self._complete()
        self._session.opaque(reason, self._place(place))

    def close(self) -> None:
        """Everything is told."""
        self._complete()
        if self._shelf is not None:
            self._shelf.release()

    def _complete(self) -> None:
        """What began last is complete."""
        scan, self._scan = self._scan, None
        start, self._message_start = self._message_start, -1
        if scan is not None:
            scan.close()
        elif self._shelf is not None and start >= 0:
            self._later(self._shelf.open(start), self._message_place, self._whence.depth + 1)

    def _place(self, inner: str) -> str:
        """The place for a finding; a name that itself holds an identifier is not repeated in clear."""
        if not inner:
            return self._whence.place
        known = self._places.get(inner)
        if known is None:
            number = f"{self._whence.place}/#{len(self._places) + 1}"
            known = number if self._session.scan(number, inner) else f"{self._whence.place}/{inner}"
            self._places[inner] = known
        return known
