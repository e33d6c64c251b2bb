"""Following the mail log, as a file or as the journal, from where the last reader stopped.

A file is read by inode and offset: after a rotation the old file, whose name begins with the log's, is read to its end
first; a truncation begins anew.  A line that has no end yet waits for it.  The journal is read
after its cursor.  Positions are stored with what was read (:func:`restante.store.delivered.keep`), so a restart neither
loses nor doubles a delivery; what was missed in between is a gap, within which nothing alarms.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

import structlog

from restante.store import delivered
from restante.store.engine import Store
from restante_milter.mail_log import MailLog
from restante_milter.notice_log import NoticeLog

JOURNAL: Final = "journal"
BATCH_LINES: Final = 2000
MAX_LINE: Final = 65_536
GAP_SECONDS: Final = 300.0
_CURSOR = re.compile(r"-- cursor: (?P<cursor>\S+)")

log = structlog.get_logger()


class Source(Protocol):
    """Where lines come from."""

    @property
    def gap(self) -> bool:
        """Whether lines before the next one may have been missed; asking clears it."""

    def lines(self, limit: int) -> Iterator[str]:
        """Up to ``limit`` lines that are there now.  Raises ``OSError`` when the log cannot be read."""

    def position(self) -> dict[str, Any]:
        """Where the line after the last one given begins."""


class FileSource:
    """A log file that is appended to, rotated by renaming, or truncated.  ``start`` is an earlier :meth:`position`."""

    def __init__(self, path: Path, start: dict[str, Any]) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._inode = int(start.get("inode", 0))
        self._offset = int(start.get("offset", 0))
        self._gap = not start

    @property
    def gap(self) -> bool:
        """See :class:`Source`."""
        gap, self._gap = self._gap, False
        return gap

    def position(self) -> dict[str, Any]:
        """See :class:`Source`."""
        return {"inode": self._inode, "offset": self._offset}

    def lines(self, limit: int) -> Iterator[str]:
        """See :class:`Source`."""
        given = 0
        try:
            while given < limit:
                file = self._open()
                raw = file.readline(MAX_LINE) if file is not None else b""
                if raw.endswith(b"\n") or len(raw) >= MAX_LINE:
                    self._offset += len(raw)
                    given += 1
                    yield raw.decode("utf-8", "replace")
                elif file is None or not self._went_on(file):
                    return
        finally:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> BinaryIO | None:
        """The file at the present offset; the rotated one first, where reading stopped in it."""
        if self._file is None:
            present = self._path if self._path.exists() else None
            path = self._known() or present
            if path is None:
                return None
            self._file = path.open("rb")
            inode = os.fstat(self._file.fileno()).st_ino
            if inode != self._inode:
                self._gap = self._gap or bool(self._inode)
                self._inode, self._offset = inode, 0
            self._file.seek(self._offset)
        return self._file

    def _known(self) -> Path | None:
        """Where the file is now in which reading stopped, whatever name a rotation gave it."""
        if not self._inode:
            return None
        named = sorted(self._path.parent.glob(f"{self._path.name}*"))
        return next((path for path in named if path.stat().st_ino == self._inode), None)

    def _went_on(self, file: BinaryIO) -> bool:
        """At the end of ``file``: whether there is something else to read now, after a rotation or a truncation."""
        known = os.fstat(file.fileno())
        if known.st_size < self._offset:
            self._offset, self._gap = 0, True
            file.seek(0)
            return known.st_size > 0
        if known.st_size > self._offset or not self._path.exists():
            return False  # half a line, or a rotation under way
        present = self._path.stat()
        if present.st_ino == self._inode:
            return False
        self._close()
        self._inode, self._offset = present.st_ino, 0
        return True


class JournalSource:
    """The system's journal, entries of Postfix alone.  ``start`` is an earlier :meth:`position`."""

    def __init__(self, start: dict[str, Any], run: Callable[[list[str]], str] | None = None) -> None:
        self._cursor = str(start.get("cursor", ""))
        self._gap = not self._cursor
        self._run = run or _journalctl

    @property
    def gap(self) -> bool:
        """See :class:`Source`."""
        gap, self._gap = self._gap, False
        return gap

    def position(self) -> dict[str, Any]:
        """See :class:`Source`."""
        return {"cursor": self._cursor}

    def lines(self, limit: int) -> Iterator[str]:
        """See :class:`Source`."""
        # After a cursor -n gives the last entries, so what is new is read whole; the first read begins near the end.
        where = [f"--after-cursor={self._cursor}"] if self._cursor else [f"--lines={limit}"]
        for line in self._run([*where, "--facility=mail", "--output=short", "--show-cursor", "--quiet"]).splitlines():
            cursor = _CURSOR.fullmatch(line)
            if cursor is not None:
                self._cursor = cursor["cursor"]
            else:
                yield line


def _journalctl(arguments: list[str]) -> str:
    done = subprocess.run(["journalctl", *arguments], capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise OSError(f"journalctl: {done.stderr.decode('utf-8', 'replace').strip()[:200]}")
    return done.stdout.decode("utf-8", "replace")


@dataclass(slots=True)
class LogFollower:
    """Reads what is new in the log into the store.  :meth:`read` is called in a thread, again and again."""

    store: Store
    name: str
    source: Source
    reader: MailLog
    notices: NoticeLog = field(default_factory=NoticeLog)
    clock: Callable[[], float] = time.time
    gap_until: float = 0.0

    @classmethod
    def open(cls, store: Store, mail_log: str, fallback_port: int) -> LogFollower:
        """Go on where the last follower stopped.  Raises ``StoreUnavailable``."""
        kept = delivered.position(store, mail_log)
        reader, notices = MailLog(fallback_port), NoticeLog()
        where = kept.get("where", {})
        if kept:
            reader.restore(kept["reader"])
            notices.restore(kept.get("notices", {}))
        source: Source = JournalSource(where) if mail_log == JOURNAL else FileSource(Path(mail_log), where)
        return cls(store, mail_log, source, reader, notices)

    def read(self) -> int:
        """Read one batch; how many lines that were.  A log that cannot be read is logged and tried again later."""
        found, lost = [], []
        count = 0
        try:
            for line in self.source.lines(BATCH_LINES):
                count += 1
                if self.source.gap:
                    self.gap_until = self.clock() + GAP_SECONDS
                self.reader.gap = self.clock() < self.gap_until
                one = self.reader.feed(line)
                if one is not None:
                    found.append(one)
                notice = self.notices.feed(line)
                if notice is not None:
                    lost.append(notice)
        except OSError as error:
            log.error("mail-log-unreadable", source=self.name, error=str(error))
        if count:
            reached = {
                "where": self.source.position(),
                "reader": self.reader.state(),
                "notices": self.notices.state(),
            }
            delivered.keep(self.store, self.name, found, reached, now=self.clock(), lost=lost)
            for one in found:
                if one.alarming:
                    log.error("sensitive-mail-left-in-clear", queue_id=one.queue_id, relay=one.relay)
        return count
