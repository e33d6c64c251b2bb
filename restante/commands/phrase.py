"""``restante phrase``: what was agreed with recipients beforehand, in the place of access codes."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from restante.cli import Invocation
from restante.commands.secret_input import given_secret

if TYPE_CHECKING:
    from restante.store.engine import Store


@click.group()
def phrase() -> None:
    """Look after the phrases of rules with code = "phrase"."""


@phrase.command(name="set")
@click.argument("recipient")
@click.option("--ask", is_flag=True, help="Ask for the phrase instead of making one.")
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the phrase from the first line of standard input.")
@click.pass_obj
def set_phrase(invocation: Invocation, recipient: str, ask: bool, from_stdin: bool) -> None:  # noqa: FBT001  click names them
    """Agree a phrase with RECIPIENT; without an option a fresh one is made and printed, once.

    There is no option that takes the phrase itself: it would stay in the shell's history and in the process list.
    """
    from restante.store.phrases import agree
    from restante.tokens import mint_code

    given = given_secret("Phrase", ask=ask, from_stdin=from_stdin)
    chosen = f"{mint_code()}-{mint_code()}" if given is None else given
    with _store(invocation) as store:
        agree(store, recipient, chosen, actor=_operator(), now=time.time())
    click.echo(f"Agreed with {recipient}, for notices that are sent from now on.")
    if given is None:
        click.echo(f"Phrase: {chosen}")


@phrase.command()
@click.argument("recipient")
@click.pass_obj
def remove(invocation: Invocation, recipient: str) -> None:
    """Remove RECIPIENT's phrase: codes go to the sender again."""
    from restante.store.phrases import forget

    with _store(invocation) as store:
        forget(store, recipient, actor=_operator(), now=time.time())
    click.echo(f"Removed the phrase of {recipient}.")


@phrase.command(name="list")
@click.pass_obj
def list_phrases(invocation: Invocation) -> None:
    """With whom a phrase is agreed, since when and by whom.  The phrases themselves are not known here."""
    from restante.store.phrases import everyone

    with _store(invocation) as store:
        for one in everyone(store):
            day = datetime.fromtimestamp(one.changed_at, UTC)
            click.echo(f"{one.recipient}\t{day:%Y-%m-%d}\t{one.changed_by}")


@contextmanager
def _store(invocation: Invocation) -> Iterator[Store]:
    from restante.store.engine import Store
    from restante.store.schema import require_current

    require_current(invocation.settings.database)
    store = Store(invocation.settings.database)
    try:
        yield store
    finally:
        store.close()


def _operator() -> str:
    """Who types, for the audit record."""
    return f"operator:{getpass.getuser()}"[:80]
