"""Stored mail, message by message: Maildir, mbox, folders of files, single files.  Read-only, streamed.

Only names and offsets are in memory, one folder's entry at a time, however many messages there are.  What cannot be
read is one :class:`Located` with the reason, never an exception.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from restante.errors import RestanteError
from restante.ranged import ranged

_LINE = 1 << 16
_HEAD = 1 << 12
# RFC 4155, appendix A: a separator stands behind an empty line and carries an address and a date.
_SEPARATOR = re.compile(rb"From \S.*\d\d:\d\d.*\r?\n?\Z", re.DOTALL)
_FIELD = re.compile(rb"[!-9;-~]{1,200}[ \t]*:")


class BadCorpus(RestanteError):
    """A path that was named is not there, or cannot be read or written at all.  Correct it."""


@dataclass(frozen=True, slots=True)
class Located:
    """Where one message lies: a file, or bytes ``start:end`` of a mailbox; ``problem`` says why it cannot be read."""

    path: str
    start: int
    end: int
    number: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        """How to call it: its path, with its number in a mailbox from 1."""
        shown = self.path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        shown = "".join(character if character.isprintable() else "?" for character in shown)
        return f"{shown}#{self.number}" if self.number else shown

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """The bytes of the message.  Raises ``OSError`` when it is gone."""
        with Path(self.path).open("rb") as file:
            if not self.number:
                yield file
                return

            def read(start: int, end: int) -> bytes:
                file.seek(self.start + start)
                return file.read(end - start)

            with ranged(read, self.end - self.start) as message:
                yield message


def check(paths: list[Path]) -> None:
    """Raise :class:`BadCorpus` for the first path that is not there or is neither file nor folder."""
    for path in paths:
        if not path.exists():
            raise BadCorpus(f"{path} is not there: name a Maildir, an mbox, a folder of messages or a message")
        if not (path.is_file() or path.is_dir()):
            raise BadCorpus(f"{path} is neither a file nor a folder: name a Maildir, an mbox, a folder or a message")
        if not os.access(path, os.R_OK | (os.X_OK if path.is_dir() else 0)):
            raise BadCorpus(f"{path} cannot be read: run the command as someone who may")


def files(paths: list[Path]) -> Iterator[tuple[str, int]]:
    """Every file that may hold mail, with its size.  Of a Maildir, what lies in ``cur`` and ``new``."""
    for path in paths:
        if path.is_dir():
            yield from _folder(str(path))
        else:
            yield str(path), path.stat().st_size


def messages(paths: list[Path]) -> Iterator[Located]:
    """Every message below ``paths``; whatever is no message comes with its problem."""
    for path, size in files(paths):
        yield from _in_file(path, size)


def _folder(top: str) -> Iterator[tuple[str, int]]:
    waiting = [top]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                maildir = all(Path(folder, name).is_dir() for name in ("cur", "new"))
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name != "tmp" or not maildir:
                            waiting.append(entry.path)
                    elif entry.is_file() and not maildir and not entry.name.startswith("."):
                        yield entry.path, entry.stat().st_size
        except OSError:
            yield folder, -1


def _in_file(path: str, size: int) -> Iterator[Located]:
    if size < 0:
        yield Located(path, 0, 0, problem="the folder cannot be read")
        return
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
            if head.startswith(b"From "):
                file.seek(0)
                yield from _mailbox(path, file)
                return
    except OSError as error:
        yield Located(path, 0, 0, problem=error.strerror or "cannot be read")
        return
    yield Located(path, 0, size, problem="" if _is_mail(head) else "has no header: this is no message")


def _is_mail(head: bytes) -> bool:
    return bool(_FIELD.match(head.lstrip(b"\r\n")))


def _mailbox(path: str, file: BinaryIO) -> Iterator[Located]:
    """The messages of an mbox, each without its separator line.  ">From " stays as it is."""
    number, start, at = 0, -1, 0
    blank, beginning = True, True
    while line := file.readline(_LINE):
        if blank and beginning and line.startswith(b"From ") and (at == 0 or _SEPARATOR.match(line)):
            if start >= 0:
                yield Located(path, start, at, number)
            number += 1
            start = at + len(line)
        blank = beginning and line in {b"\n", b"\r\n"}
        beginning = line.endswith(b"\n")
        at += len(line)
    if start >= 0:
        yield Located(path, start, at, number)
