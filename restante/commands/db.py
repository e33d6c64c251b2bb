"""``restante db``: the database's schema."""

from __future__ import annotations

import click

from restante.cli import Invocation


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.pass_obj
def upgrade(invocation: Invocation) -> None:
    """Bring the schema up to this version.  Safe to run again."""
    from restante.store.migrate import upgrade as migrate

    migrate(invocation.settings.database)
    click.echo("The database is up to date.")
