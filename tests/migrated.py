"""Databases at the current schema, without a migration for each: that takes longer than most tests.

The migrations run once in each process and kind of database; every further database gets a copy of what they made.
``tests/migrations`` and the tests of ``restante db upgrade`` run the real ones.
"""

from __future__ import annotations

import subprocess
import tempfile
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from restante.store import migrate
from tests.postgres import programs


def upgrade(url: str) -> None:
    """Bring the database at ``url`` to the current schema; one that is not empty takes the real migrations."""
    place = make_url(url)
    assert place.database is not None
    if place.get_backend_name() == "sqlite":
        path = Path(place.database)
        if path.exists():
            migrate.upgrade(url)
        else:
            path.write_bytes(_sqlite_file())
        return
    folder = str(place.query["host"])
    with psycopg.connect(host=folder, user=place.username, dbname=place.database) as connection:
        empty = connection.execute("SELECT to_regclass('alembic_version') IS NULL").fetchone() == (True,)
        if empty:
            connection.execute(_postgres_script(folder, place.username or ""))
    if not empty:
        migrate.upgrade(url)


@cache
def _sqlite_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "restante.db"
        migrate.upgrade(f"sqlite:///{path}")
        return path.read_bytes()


@cache
def _postgres_script(folder: str, user: str) -> bytes:
    """What makes an empty database of the server in ``folder`` like a migrated one, in plain SQL."""
    with psycopg.connect(host=folder, user=user, dbname="postgres", autocommit=True) as connection:
        connection.execute("CREATE DATABASE restante_migrated")
    migrate.upgrade(f"postgresql+psycopg://{user}@/restante_migrated?host={folder}")
    command = [str(programs() / "pg_dump"), "--inserts", "--no-owner", f"--host={folder}", f"--username={user}"]
    dump = subprocess.run([*command, "restante_migrated"], check=True, capture_output=True, timeout=60).stdout
    # A backslash begins what only psql understands.
    return b"".join(line for line in dump.splitlines(keepends=True) if not line.startswith(b"\\"))
