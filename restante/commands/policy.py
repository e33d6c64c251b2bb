"""``restante policy``: look at the policy file before the services do.  Changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import click

from restante.cli import Invocation
from restante.policy import DomainPolicy, Policy, Rule, load_policy
from restante.transport_maps import resolve_next_hops

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def policy() -> None:
    """List and test the policy.  A reload takes it over: systemctl reload restante-milter restante-worker."""


@policy.command()
@_FILE
@click.pass_obj
def check(invocation: Invocation, file: Path | None) -> None:
    """Validate FILE, or the policy of the settings; says file, line, field and remedy where it is wrong."""
    found = _load(invocation, file)
    click.echo(f"The policy is valid: {len(found.rule)} rules, {len(found.domain)} domains.")


@policy.command(name="list")
@_FILE
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(invocation: Invocation, file: Path | None, as_json: bool) -> None:  # noqa: FBT001  click passes it by name
    """Show what FILE, or the policy of the settings, says: rules in their order, then domains."""
    found = _load(invocation, file)
    if as_json:
        shown = {"rule": found.rule, "domain": found.domain}
        click.echo(json.dumps({kind: [one.model_dump(mode="json") for one in each] for kind, each in shown.items()}))
        return
    for number, rule in enumerate(found.rule, 1):
        click.echo(f"{number:>3}. {_rule(rule)}")
    for domain in found.domain:
        click.echo(f"  {domain.name}: {_domain(domain)}")


def _load(invocation: Invocation, file: Path | None) -> Policy:
    """The policy, with next hops read from Postfix's tables.  Refuses what a service would refuse."""
    if file is not None:
        return resolve_next_hops(load_policy(file))
    settings = invocation.settings
    return resolve_next_hops(load_policy(settings.policy, frozenset(settings.internal_domains)))


def _rule(rule: Rule) -> str:
    detectors = "; ".join(", ".join(condition.detectors) for condition in rule.when)
    way = (
        f", TLS {rule.tls}, otherwise {rule.otherwise} after {rule.deadline_hours:g} h"
        if rule.action == "protect"
        else ""
    )
    return f"{rule.name}: {rule.action} on {detectors}{way}"


def _domain(domain: DomainPolicy) -> str:
    words = [str(domain.mode), f"TLS {'authenticated' if domain.authenticated else domain.tls}"]
    if domain.certificate_names:
        words.append(f"certificate of {' or '.join(domain.certificate_names)}")
    if domain.next_hop:
        words.append(f"by way of {domain.next_hop}")
    if domain.otherwise:
        words.append(f"otherwise {domain.otherwise}")
    if domain.deadline_hours is not None:
        words.append(f"after {domain.deadline_hours:g} h")
    if domain.inbound_certificate:
        words.append(f"its own mail must come with the certificate {domain.inbound_certificate}")
    elif domain.inbound_tls:
        words.append("its own mail must come over TLS")
    return ", ".join(words)
