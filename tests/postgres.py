"""A PostgreSQL server of the tests' own: in a temporary folder, on a unix socket, gone afterwards."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg
from sqlalchemy import make_url

_USER = "postgres"
# In memory: making a database there takes a tenth of the time.
_MEMORY, _MEMORY_BYTES = Path("/dev/shm"), 1 << 30
_SECONDS = 60


def programs() -> Path:
    """Where Debian keeps initdb, pg_ctl and pg_dump, which are not on PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    if initdb is None:
        raise FileNotFoundError("initdb: install postgresql (make setup does)")
    return Path(initdb).parent


def _roomy() -> Path:
    """Memory, where there is enough of it."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _MEMORY_BYTES else Path("/tmp")


class TemporaryPostgres:
    """One server.  Use it as a context manager, or call :meth:`start` and :meth:`stop`.

    Nothing is synced to disk unless ``durable``: a test that kills the server asks for it.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._bin = programs()
        self._durable = durable
        # Short, because a unix socket's path has at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="rpg-", dir="/tmp" if durable else _roomy()))
        self._data = self.folder / "data"
        self._numbers = itertools.count(1)

    def start(self) -> Self:
        """Make the cluster and start it; returns when it takes connections."""
        if os.geteuid() == 0:
            account = pwd.getpwnam(_USER)
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self._run(
            "initdb",
            "--pgdata",
            self._data,
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        )
        self.resume()
        return self

    def stop(self) -> None:
        """Stop the server, also when it was never started, and remove everything."""
        try:
            if (self._data / "postmaster.pid").exists():
                self._run("pg_ctl", "--pgdata", self._data, "--mode", "immediate", "--wait", "stop")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def pause(self) -> None:
        """Stop the server but keep its data, as an outage does."""
        self._run("pg_ctl", "--pgdata", self._data, "--mode", "fast", "--wait", "stop")

    def resume(self) -> None:
        """Start the server again on the data that :meth:`pause` kept; returns when it takes connections."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c max_connections=200"
        if not self._durable:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
            options += " -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=64MB -c min_wal_size=32MB"
        self._run(
            "pg_ctl", "--pgdata", self._data, "--options", options, "--log", self.folder / "log", "--wait", "start"
        )

    def create_database(self) -> str:
        """The address of a fresh, empty database."""
        name = f"restante_{next(self._numbers)}"
        with psycopg.connect(host=str(self.folder), user=_USER, dbname=_USER, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql+psycopg://{_USER}@/{name}?host={self.folder}"

    def drop_database(self, url: str) -> None:
        """Remove a database, whoever is still connected to it."""
        name = make_url(url).database
        with psycopg.connect(host=str(self.folder), user=_USER, dbname=_USER, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            command = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--clear-groups", *command]
        done = subprocess.run(
            command,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            # Not a pipe: the server inherits it, and reading would wait for the server's end.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(f"{program} failed: {log.read_text() if log.exists() else done.returncode}")
