"""``restante explain``: what would happen to a message, and why.  Sends nothing and stores no message."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import BinaryIO

import click

from restante.classify.engine import Classifier
from restante.cli import Invocation
from restante.commands.evidence import evidence_cache, look, stored
from restante.envelope import Address, BadAddress, Envelope
from restante.explain import explain as explanation_of
from restante.explain import render
from restante.policy import Policy, load_policy
from restante.routing import decide, domains_to_judge, matching_rule


class _AddressType(click.ParamType[Address]):
    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Read an address as the milter would."""
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(str(value))
        except BadAddress as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--sender", type=_AddressType(), required=True, help="The envelope's sender; empty for a bounce.")
@click.option("--recipient", "recipients", type=_AddressType(), required=True, multiple=True, help="Repeatable.")
@click.option("--policy", "policy_path", type=click.Path(path_type=Path, dir_okay=False), help="Another policy file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-network", is_flag=True, help="Use only stored evidence.")
@click.pass_obj
def explain(
    invocation: Invocation,
    file: BinaryIO,
    sender: Address,
    recipients: tuple[Address, ...],
    policy_path: Path | None,
    as_json: bool,  # noqa: FBT001  click passes it by name
    no_network: bool,  # noqa: FBT001  click passes it by name
) -> None:
    """Show the findings in FILE (a raw message, - for standard input) and each recipient's route."""
    policy = _policy(invocation, policy_path)
    source = file if file.seekable() else io.BytesIO(file.read())
    classification = Classifier(policy).classify(source)
    envelope = Envelope(sender, recipients)
    rule, matched = matching_rule(policy, classification, envelope)
    wanted = domains_to_judge(rule, policy, envelope)
    evidence = {}
    if wanted:
        with evidence_cache(invocation) as cache:
            evidence = stored(cache, wanted) if no_network else look(invocation, cache, wanted)
    found = explanation_of(classification, decide(policy, rule, matched, envelope, evidence))
    click.echo(json.dumps(found, indent=2) if as_json else render(found))


def _policy(invocation: Invocation, path: Path | None) -> Policy:
    """The policy named on the command line, else the settings', else the built-in one."""
    if not invocation.settings_exist:
        return load_policy(path)
    settings = invocation.settings
    return load_policy(path or settings.policy, frozenset(settings.internal_domains))
