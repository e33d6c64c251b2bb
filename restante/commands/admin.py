"""``restante admin``: who may review."""

from __future__ import annotations

import secrets
import time

import click

from restante.cli import Invocation
from restante.commands.secret_input import given_secret


@click.group()
def admin() -> None:
    """Look after administrators."""


@admin.command()
@click.argument("name")
@click.option("--ask", is_flag=True, help="Ask for the password instead of making one.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of standard input.")
@click.pass_obj
def add(invocation: Invocation, name: str, ask: bool, password_stdin: bool) -> None:  # noqa: FBT001  click names them
    """Add the administrator NAME and print a fresh password, once.

    There is no option that takes the password itself: it would stay in the shell's history and in the process list.
    """
    from restante.store.admins import add as add_administrator
    from restante.store.engine import Store
    from restante.store.schema import require_current

    settings = invocation.settings
    require_current(settings.database)
    given = given_secret("Password", ask=ask, from_stdin=password_stdin)
    password = secrets.token_urlsafe(18) if given is None else given
    store = Store(settings.database)
    try:
        add_administrator(store, name, password, now=time.time())
    finally:
        store.close()
    click.echo(f"Added {name}. Sign in at {settings.portal.url}/admin/")
    if given is None:
        click.echo(f"Password: {password}")
