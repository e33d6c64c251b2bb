"""Opening the store, and the two ways to talk to it: ``read()`` and ``write()``.

A ``write()`` is one transaction that has the right to write from its first statement (``BEGIN IMMEDIATE`` on
SQLite), and that is on disk when the block is left (WAL with ``synchronous=FULL``).  Whatever the database
refuses becomes :class:`StoreUnavailable`, and then nothing of the block happened.

Open the store after a fork, never before.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from restante.errors import RestanteError

BUSY_SECONDS = 10
_EARLY_TRIES, _EARLY_SECONDS = 100, 0.001


class StoreUnavailable(RestanteError):
    """The database is down, locked, read-only or full.  Nothing was changed: answer 4xx or 503, and try later."""


def new_id() -> str:
    """A fresh identifier, 128 random bits as hex."""
    return secrets.token_hex(16)


class Store:
    """A handle on the database.  Thread-safe; sessions are not."""

    def __init__(self, url: str, *, busy_seconds: float = BUSY_SECONDS) -> None:
        """Prepare a pool for ``url``; nothing is opened until first use."""
        self.engine = _create_engine(url, busy_seconds)
        self._writer = self.engine.execution_options(restante_write=True)
        self._hasty_writer = self.engine.execution_options(restante_write=True, restante_hasty=True)
        # SQLite lets one write at a time, and makes the others sleep ever longer between their tries: threads of one
        # process wait in line for each other here instead.
        self._turn = threading.Lock() if url.startswith("sqlite") else None
        self._busy_seconds = busy_seconds

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session on a consistent snapshot, rolled back at the end."""
        with _translated(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Session]:
        """A session whose changes are committed when the block ends, or all undone when it raises.

        Unless ``durable``, nobody waits for the disk: when the power fails, the latest of such changes may be undone,
        each as a whole and with nothing that was committed before it.  ``IntegrityError`` passes through: a caller may
        expect to lose a race.
        """
        writer = self._writer if durable else self._hasty_writer
        with self._in_turn(), _translated(), Session(writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=self._busy_seconds):
            raise StoreUnavailable("the database refused: another write of this process takes too long")
        try:
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, PoolTimeout) as error:
        # The statement and its parameters stay out of the text: they may hold addresses or sealed keys.
        cause = getattr(error, "orig", None) or error
        raise StoreUnavailable(f"the database refused: {type(cause).__name__}: {_first_line(cause)}") from None


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


def _create_engine(url: str, busy_seconds: float) -> Engine:
    if url.startswith("sqlite"):
        engine = create_engine(
            url,
            connect_args={"timeout": busy_seconds, "check_same_thread": False},
            pool_size=8,
            max_overflow=32,
            hide_parameters=True,
        )
        event.listen(engine, "connect", partial(_prepare_sqlite, busy_seconds=busy_seconds))
        event.listen(engine, "begin", partial(_begin_sqlite, busy_seconds=busy_seconds))
        return engine
    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=32,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={"connect_timeout": max(2, int(busy_seconds))},
    )
    event.listen(engine, "begin", _begin_postgresql)
    return engine


def _prepare_sqlite(connection: Any, _record: object, *, busy_seconds: float) -> None:
    connection.isolation_level = None  # we begin ourselves, see _begin_sqlite
    _use_wal(connection, busy_seconds)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "secure_delete=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}").close()


def _use_wal(connection: Any, busy_seconds: float) -> None:
    """Write ahead.  While other processes come and go SQLite may refuse even to look, without waiting for its turn."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
            if mode != "wal":
                connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(_EARLY_SECONDS)
        else:
            return


def _begin_postgresql(connection: Connection) -> None:
    if connection.get_execution_options().get("restante_hasty", False):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")


def _begin_sqlite(connection: Connection, *, busy_seconds: float) -> None:
    options = connection.get_execution_options()
    if not options.get("restante_write", False):
        connection.exec_driver_sql("BEGIN")
        return
    # In WAL mode, NORMAL loses no more than the end of the log; each write says for itself what it needs.
    level = "NORMAL" if options.get("restante_hasty", False) else "FULL"
    connection.exec_driver_sql(f"PRAGMA synchronous={level}").close()
    if not _begin_soon(connection.connection.driver_connection, busy_seconds):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_soon(connection: Any, busy_seconds: float) -> bool:
    """Begin to write as soon as another process lets us; false when it takes longer than most writes.

    SQLite's own waiting sleeps up to 100 ms between tries, and so loses its turn again and again to writers that
    come later.
    """
    connection.execute("PRAGMA busy_timeout=0").close()
    try:
        for _ in range(min(_EARLY_TRIES, int(busy_seconds / _EARLY_SECONDS))):
            try:
                connection.execute("BEGIN IMMEDIATE").close()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    return False  # whatever it is, the ordinary way meets it again and reports it
                time.sleep(_EARLY_SECONDS)
            else:
                return True
        return False
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(busy_seconds * 1000)}").close()
