"""Files that come with a form: sealed as they come, bounded, and without losing the words that came before them.

A form of ours has its fields before its files.  So when a file is too large, the connection breaks or comes to a crawl,
the fields are there already: the form is taken as far as it came, and :attr:`Upload.problem` says why not all of it.
Only a request for which :func:`begin` was called may bring files; every other is bound to the size of a form.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from restante.reply import kind_of
from restante.sealed_spool import SealedSpool
from restante.store.engine import new_id
from restante.store.replies import Brought
from restante.vault import DataKey
from restante_portal.explaining import MemoryRequest
from restante_portal.ranges import safe_name

FIELD_CAP = 1_048_576
FIELDS_CAP = 2 * FIELD_CAP
"""All fields together, which stay in memory."""
MOST_PARTS = 100
DRAINED_CAP = 67_108_864
"""How much of a file that is too large is read and thrown away, so that a browser shows our answer to it."""
SILENCE_SECONDS = 30.0
SLOWEST_BYTES = 8_192
"""A second, on the whole: who sends slower holds a thread for too long."""
_PIECE = 16_384


class Gate:
    """Lets at most ``most`` uploads of this process happen at once, so that there is always a thread for readers.

    What finds no room is thrown away as it comes, and has :data:`SILENCE_SECONDS` for all of it.
    """

    def __init__(self, most: int) -> None:
        self._seats = threading.BoundedSemaphore(most)

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """Whether there was room."""
        entered = self._seats.acquire(blocking=False)
        try:
            yield entered
        finally:
            if entered:
                self._seats.release()


@dataclass
class Upload:
    """What one request brings along.

    ``problem`` is empty, "large", "many", "busy" or "broken"; ``refused`` are the names of files that were not kept.
    """

    gate: Gate
    most_bytes: int
    most_files: int
    clock: Callable[[], float] = time.monotonic
    files: list[Brought] = field(default_factory=list, repr=False)
    refused: list[str] = field(default_factory=list, repr=False)
    problem: str = ""

    def close(self) -> None:
        """Forget the files."""
        for each in self.files:
            each.spool.close()
        self.files.clear()


class UploadRequest(MemoryRequest):
    """A request that may have an :class:`Upload`."""

    upload: Upload | None = None

    def make_form_data_parser(self) -> FormDataParser:
        """The parser for the form of this request."""
        if self.upload is None:
            return super().make_form_data_parser()
        return _Parser(self.upload, self.environ.get("gunicorn.socket"))


def begin(request: UploadRequest, upload: Upload) -> None:
    """Let ``request``, whose form was not read yet, bring files."""
    request.upload = upload
    request.max_content_length = 2**62  # the parser stops by itself


class _Parser(FormDataParser):
    def __init__(self, upload: Upload, socket: Any) -> None:
        super().__init__(max_form_parts=MOST_PARTS)
        self._upload, self._socket = upload, socket

    def parse(
        self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None
    ) -> Any:
        """The form as far as it came; its files are with the upload."""
        del content_length
        boundary = (options or {}).get("boundary", "").encode("ascii", "replace")
        if mimetype != "multipart/form-data" or not boundary:
            raise BadRequest
        fields: list[tuple[str, str]] = []
        with self._upload.gate.entered() as entered, _impatient(self._socket):
            if not entered:
                self._upload.problem = "busy"
            try:
                _Form(self._upload, fields, keep=entered).read(stream, boundary)
            # ClientDisconnected is a BadRequest; a socket's timeout an OSError; ValueError what is no multipart.
            except (BadRequest, OSError, ValueError):
                self._upload.problem = self._upload.problem or "broken"
        return stream, MultiDict(fields), MultiDict()


@contextmanager
def _impatient(socket: Any) -> Iterator[None]:
    """No thread waits for ever for a browser that has gone silent."""
    if socket is None:
        yield
        return
    before = socket.gettimeout()
    socket.settimeout(SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.settimeout(before)


class _Form:
    """Reads one form into ``fields`` and into the upload."""

    def __init__(self, upload: Upload, fields: list[tuple[str, str]], *, keep: bool) -> None:
        self._upload, self._fields, self._keep = upload, fields, keep
        self._part: Field | File | None = None
        self._text = bytearray()
        self._spool: SealedSpool | None = None
        self._digest = hashlib.blake2b()
        self._room = upload.most_bytes
        self._drained = self._in_fields = 0

    def read(self, stream: IO[bytes], boundary: bytes) -> None:
        """Read it all, but not for ever."""
        decoder = MultipartDecoder(boundary, FIELD_CAP, max_parts=MOST_PARTS)
        began, received = self._upload.clock(), 0
        try:
            while piece := stream.read(_PIECE):
                received += len(piece)
                earned = received / SLOWEST_BYTES if self._keep else 0.0
                if self._upload.clock() - began > SILENCE_SECONDS + earned:
                    raise TimeoutError
                decoder.receive_data(piece)
                self._take_events(decoder)
                if self._drained > DRAINED_CAP:
                    return
            decoder.receive_data(None)
            self._take_events(decoder)
        finally:
            if self._spool is not None:
                self._spool.close()

    def _take_events(self, decoder: MultipartDecoder) -> None:
        while not isinstance(event := decoder.next_event(), (Epilogue, NeedData)):
            self._take(event)

    def _take(self, event: Event) -> None:
        if isinstance(event, (Field, File)):
            self._part = event
            self._text.clear()
            if isinstance(event, File) and event.filename:
                self._begin_file(event)
        elif isinstance(event, Data):
            if isinstance(self._part, Field):
                self._text += event.data
                self._in_fields += len(event.data)
                if len(self._text) > FIELD_CAP or self._in_fields > FIELDS_CAP:
                    raise RequestEntityTooLarge
                if not event.more_data:
                    self._fields.append((self._part.name, self._text.decode("utf-8", "replace")))
            elif isinstance(self._part, File):
                self._take_data(self._part, event)

    def _begin_file(self, part: File) -> None:
        self._digest = hashlib.blake2b()
        if not self._keep or len(self._upload.files) >= self._upload.most_files:
            self._refuse(part, "many")
        else:
            self._spool = SealedSpool(DataKey.fresh(new_id()))

    def _refuse(self, part: File, problem: str) -> None:
        self._upload.problem = self._upload.problem or problem
        self._upload.refused.append(safe_name(part.filename))
        if self._spool is not None:
            self._room += self._spool.size
            self._spool.close()
            self._spool = None

    def _take_data(self, part: File, event: Data) -> None:
        if self._spool is None:
            self._drained += len(event.data)
            return
        if len(event.data) > self._room:
            self._refuse(part, "large")
            return
        self._room -= len(event.data)
        self._spool.write(event.data)
        self._digest.update(event.data)
        if not event.more_data:
            self._spool.finish()
            kind = kind_of(part.headers.get("content-type", ""))
            name = safe_name(part.filename)
            self._upload.files.append(Brought(name, kind, self._digest.digest(), self._spool))
            self._spool = None
