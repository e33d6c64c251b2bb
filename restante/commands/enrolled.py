"""``restante enrolled``: recipients who sign in instead of being told access codes."""

from __future__ import annotations

import base64
import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from restante.cli import Invocation

if TYPE_CHECKING:
    from restante.enrolment_keys import EnrolmentKeys
    from restante.store.engine import Store


@click.group()
def enrolled() -> None:
    """Look after recipients who have set a passkey or a password in the portal.

    Their addresses are sealed: the commands need to read worker.key.
    """


@enrolled.command(name="list")
@click.pass_obj
def list_enrolled(invocation: Invocation) -> None:
    """Who is enrolled, since when, after opening a message with what, and with how many passkeys."""
    from restante.store.enrolments import everyone

    with _store(invocation) as (store, keys):
        for one in everyone(store, keys):
            day = datetime.fromtimestamp(one.created_at, UTC)
            ways = f"{len(one.passkeys)} passkeys{', password' if one.has_password else ''}"
            click.echo(f"{one.address}\t{day:%Y-%m-%d}\t{one.proof}\t{ways}")


@enrolled.command()
@click.argument("address")
@click.pass_obj
def remove(invocation: Invocation, address: str) -> None:
    """Remove what ADDRESS has set, and sign it out: from the next notice on there are access codes again."""
    from restante.store.enrolments import OPERATOR
    from restante.store.enrolments import remove as remove_enrolment

    with _store(invocation) as (store, keys):
        remove_enrolment(store, keys, address, actor=f"{OPERATOR}{getpass.getuser()}"[:80], now=time.time())
    click.echo(f"Removed the enrolment of {address}.")


@contextmanager
def _store(invocation: Invocation) -> Iterator[tuple[Store, EnrolmentKeys]]:
    from restante.credentials import Credential, read_credential
    from restante.enrolment_keys import EnrolmentKeys
    from restante.store.engine import Store
    from restante.store.schema import require_current

    settings = invocation.settings
    require_current(settings.database)
    private = read_credential(settings.credentials, Credential.WORKER)
    keys = EnrolmentKeys.agree(private, base64.b64decode(settings.vault.public_key))
    store = Store(settings.database)
    try:
        yield store, keys
    finally:
        store.close()
