"""The key ring: what must never be in a backup of the main database, in an SQLite file and a folder of its own.

It holds the private keys of epochs (:mod:`restante.store.epochs`), the shares of blobs that outlived the key of their
epoch, and the blobs that are to lose theirs.  The worker alone writes it; the portal reads.  A share that was deleted
here is gone: the file is overwritten in place (``secure_delete``), so is its journal before it is cut, and no
write-ahead log exists.  What a file system with snapshots or copy-on-write, or an SSD, keeps of overwritten blocks is
beyond any program.

Each call opens the file and closes it: nothing of it stays in a process's cache.  Safe for several threads and
processes.  What the file refuses is :class:`RingUnavailable`; then nothing of the call happened.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from restante.errors import RestanteError
from restante.store.engine import StoreUnavailable
from restante.vault import CannotOpen, open_share

FILE_MODE, FOLDER_MODE = 0o640, 0o750
_BUSY_SECONDS = 10.0
_ZEROS = bytes(65_536)
_PRAGMAS = (
    "journal_mode=PERSIST",  # a journal that is deleted leaves its blocks, and in them the keys
    "secure_delete=ON",
    "synchronous=EXTRA",
    "cache_spill=OFF",
    "temp_store=MEMORY",
)
_TABLES = """
CREATE TABLE epochs (id TEXT PRIMARY KEY, private_key BLOB NOT NULL, seals_until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE shares (blob_id TEXT PRIMARY KEY, epoch_id TEXT NOT NULL, share BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE condemned (blob_id TEXT PRIMARY KEY, epoch_id TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX ix_condemned_epoch_id ON condemned (epoch_id);
"""


class RingUnavailable(StoreUnavailable):
    """The key ring is missing, locked, or may not be read or written.  Nothing was changed: try later."""


class RingExists(RestanteError):
    """There is a key ring already.  What was sealed to it could never be opened without it: it is not replaced."""


class KeyRing:
    """A handle on the file at ``path``.  Holds nothing open between calls."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> KeyRing:
        """Make an empty ring, and its folder, for their owner and group.

        Raises :class:`RingExists`, and :class:`RingUnavailable` where it cannot be made.

        The file belongs to whom its folder belongs to, so that root may make it for the services.
        """
        ring = cls(path)
        with ring._translated():
            ring._make()
        return ring

    def _make(self) -> None:
        path = self.path
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE))
        with closing(sqlite3.connect(draft, isolation_level=None)) as connection:
            connection.executescript(f"PRAGMA journal_mode=MEMORY; BEGIN; {_TABLES} COMMIT;")
        folder = path.parent.stat()
        draft.chmod(FILE_MODE)
        if os.geteuid() == 0:
            os.chown(draft, folder.st_uid, folder.st_gid)
        try:
            os.link(draft, path)  # unlike a rename, never in the place of another
        except FileExistsError:
            raise RingExists(f"{path} exists already, and nothing that was sealed to it opens without it") from None
        finally:
            draft.unlink()
        opened = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)

    def exists(self) -> bool:
        """Whether there is a file.  Raises :class:`RingUnavailable` where that may not be looked at."""
        with self._translated():
            try:
                self.path.stat()
            except FileNotFoundError:
                return False
        return True

    # --- what the portal and the worker read ------------------------------------------------------------------------

    def share(self, epoch_id: str, blob_id: str, sealed_share: bytes) -> bytes:
        """The share of ``blob_id``.  Raises ``CannotOpen`` when it was erased, and :class:`RingUnavailable`."""
        with self._reading() as connection:
            if connection.execute("SELECT 1 FROM condemned WHERE blob_id = ?", (blob_id,)).fetchone():
                raise CannotOpen(f"the data key of blob {blob_id} was erased")
            kept = connection.execute("SELECT share FROM shares WHERE blob_id = ?", (blob_id,)).fetchone()
            epoch = connection.execute("SELECT private_key FROM epochs WHERE id = ?", (epoch_id,)).fetchone()
        if kept is not None:
            return bytes(kept[0])
        if epoch is None:
            raise CannotOpen(f"the data key of blob {blob_id} was erased, or belongs to another key ring")
        return open_share(epoch[0], blob_id, sealed_share)

    def holds_epoch(self, epoch_id: str) -> bool:
        """Whether what is sealed to that epoch can be opened."""
        with self._reading() as connection:
            return connection.execute("SELECT 1 FROM epochs WHERE id = ?", (epoch_id,)).fetchone() is not None

    def to_puncture(self, now: float) -> list[str]:
        """The epochs that hold condemned blobs and to which nobody seals any more."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT DISTINCT epoch_id FROM condemned JOIN epochs ON epochs.id = epoch_id WHERE seals_until < ?",
                (now,),
            ).fetchall()
        return [row[0] for row in rows]

    # --- what the worker writes -------------------------------------------------------------------------------------

    def add_epoch(self, epoch_id: str, private_key: bytes, seals_until: float) -> None:
        """Keep an epoch's private key, before its public key is known to anybody."""
        with self._writing() as connection:
            connection.execute("INSERT INTO epochs VALUES (?, ?, ?)", (epoch_id, private_key, seals_until))

    def condemn(self, blobs: Iterable[tuple[str, str]]) -> None:
        """From now on none of ``blobs`` (ids, each with its epoch's) opens.

        The share of a blob that outlived its epoch's key is deleted at once; others go when their epoch is punctured.
        Doing it again changes nothing.
        """
        with self._writing() as connection:
            for blob_id, epoch_id in blobs:
                connection.execute("DELETE FROM shares WHERE blob_id = ?", (blob_id,))
                connection.execute(
                    "INSERT OR IGNORE INTO condemned SELECT ?, id FROM epochs WHERE id = ?", (blob_id, epoch_id)
                )

    def puncture(self, epoch_id: str, living: Iterable[tuple[str, bytes]]) -> None:
        """Delete the epoch's private key, and keep the shares of ``living`` (ids and sealed shares) but the condemned.

        A share that does not open is left out: its blob could not be opened before either.
        """
        with self._writing() as connection:
            epoch = connection.execute("SELECT private_key FROM epochs WHERE id = ?", (epoch_id,)).fetchone()
            if epoch is None:
                return
            rows = connection.execute("SELECT blob_id FROM condemned WHERE epoch_id = ?", (epoch_id,))
            condemned = {row[0] for row in rows}
            for blob_id, sealed_share in living:
                if blob_id in condemned:
                    continue
                try:
                    share = open_share(epoch[0], blob_id, sealed_share)
                except CannotOpen:
                    continue
                connection.execute("INSERT OR REPLACE INTO shares VALUES (?, ?, ?)", (blob_id, epoch_id, share))
            connection.execute("DELETE FROM epochs WHERE id = ?", (epoch_id,))
            connection.execute("DELETE FROM condemned WHERE epoch_id = ?", (epoch_id,))

    # --- the file ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._translated(), closing(self._connect()) as connection:
            connection.execute("BEGIN")
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, on disk when the block is left, and its journal overwritten."""
        with self._translated(), self._alone():
            with closing(self._connect()) as connection:
                connection.execute("BEGIN IMMEDIATE")
                with connection:
                    yield connection
            self._wipe_journal()

    def _connect(self) -> sqlite3.Connection:
        path = f"{self.path.absolute().as_uri()}?mode=rw"  # never makes a file; read-only where we may not write
        connection = sqlite3.connect(path, uri=True, timeout=_BUSY_SECONDS, isolation_level=None)
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}").close()
        return connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other writer until the journal is wiped: one that began meanwhile would lose what it needs to undo."""
        # A file beside it: to close the ring's own would drop the locks that SQLite holds on it in this process.
        ring = self.path.stat()
        lock = os.open(
            self.path.with_name(f"{self.path.name}-writer"), os.O_RDWR | os.O_CREAT, stat.S_IMODE(ring.st_mode)
        )
        try:
            if os.geteuid() == 0:
                os.fchown(lock, ring.st_uid, ring.st_gid)
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _wipe_journal(self) -> None:
        """Overwrite what the journal keeps of the pages as they were, with the deleted keys in them; then cut it."""
        try:
            journal = os.open(f"{self.path}-journal", os.O_WRONLY)
        except FileNotFoundError:
            return
        try:
            left = os.fstat(journal).st_size
            while left > 0:
                left -= os.write(journal, _ZEROS[:left])
            os.fsync(journal)
            os.ftruncate(journal, 0)
        finally:
            os.close(journal)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise RingUnavailable(
                f"{self.path}: the key ring cannot be used: {type(error).__name__}: {error}. Run: restante doctor"
            ) from None
