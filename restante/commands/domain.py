"""``restante domain``: what is known of a domain's TLS."""

from __future__ import annotations

import json
import time

import click

from restante.cli import Invocation
from restante.commands.evidence import evidence_cache, look, stored
from restante.envelope import BadAddress, a_label
from restante.tls.evidence import Evidence
from restante.tls.report import describe


@click.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON.")
@click.option("--recheck", is_flag=True, help="Look again, whatever is known already.")
@click.option("--no-network", is_flag=True, help="Use only stored evidence.")
@click.pass_obj
def domain(invocation: Invocation, name: str, as_json: bool, recheck: bool, no_network: bool) -> None:  # noqa: FBT001
    """Show the TLS evidence of the domain NAME: MX hosts, what each showed, and what that means for sensitive mail."""
    try:
        wanted = a_label(name)
    except BadAddress as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    with evidence_cache(invocation) as cache:
        found = stored(cache, [wanted]) if no_network else look(invocation, cache, [wanted], recheck=recheck)
    evidence = found.get(wanted) or Evidence.unknown(wanted, "nothing is stored", time.time())
    if as_json:
        click.echo(json.dumps(evidence.to_dict(), indent=2))
    else:
        click.echo(describe(evidence, time.time()))
