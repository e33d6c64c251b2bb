"""``restante db``: the database's schema."""

from __future__ import annotations

import os
from pathlib import Path

import click

from restante.cli import Invocation
from restante.errors import RestanteError


class CannotCreate(RestanteError):
    """The database's file cannot be made.  Make its folder, writable for whoever runs the command."""


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.pass_obj
def upgrade(invocation: Invocation) -> None:
    """Bring the schema up to this version, and make the key ring that goes with it.  Safe to run again."""
    from restante.store.engine import Store
    from restante.store.epochs import prepare_ring
    from restante.store.migrate import upgrade as migrate
    from restante.store.ring import KeyRing

    url = invocation.settings.database
    if url.startswith("sqlite:///"):
        _create(Path(url.removeprefix("sqlite:///")))
    migrate(url)
    if invocation.settings.ring.use:
        store = Store(url)
        try:
            prepare_ring(store, KeyRing(invocation.settings.ring_path))
        finally:
            store.close()
    click.echo("The database is up to date.")


def _create(path: Path) -> None:
    """Make an empty file, which is an empty SQLite database, for owner and group.

    SQLite itself would let everyone read it and the group's services not write it; its side files take this mode.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o660)
    except FileExistsError:
        return
    except OSError as error:
        raise CannotCreate(f"{path}: {error.strerror}") from error
    os.fchmod(descriptor, 0o660)  # whatever the umask says
    os.close(descriptor)
