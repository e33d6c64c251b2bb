"""``restante delivered``: how copies under mandatory TLS really left, from the MTA's log."""

from __future__ import annotations

import json
import time
from dataclasses import asdict

import click

from restante.cli import Invocation
from restante.store.delivered import Found, find
from restante.store.engine import Store


@click.command()
@click.option("--recipient", default="", help="Copies for this address.")
@click.option("--queue-id", default="", help="Copies under this queue id.")
@click.option("--message-id", default="", help="Copies of the message with this Message-ID.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def delivered(invocation: Invocation, recipient: str, queue_id: str, message_id: str, as_json: bool) -> None:  # noqa: FBT001  click passes it by name
    """Show with which TLS version, cipher and certificate copies were delivered, and where, the latest first."""
    if not (recipient or queue_id or message_id):
        raise click.UsageError("name a --recipient, a --queue-id or a --message-id")
    store = Store(invocation.settings.database)
    try:
        found = find(store, recipient=recipient, queue_id=queue_id, message_id=message_id)
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps([{"at": one.at, **asdict(one.delivered)} for one in found], indent=2))
        return
    for one in found:
        click.echo(_line(one))
    if not found:
        click.echo("No delivery is known. Is worker.mail_log set, and does the worker run?", err=True)


def _line(found: Found) -> str:
    one = found.delivered
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found.at))
    way = f"{one.tls_version}, {one.cipher}, certificate {one.certificate}" if one.tls_version else "session not seen"
    text = f"{moment}  {one.recipient} at {one.relay}: {'WITHOUT TLS' if one.alarming else way}"
    return "".join(character if character.isprintable() else "?" for character in text)
