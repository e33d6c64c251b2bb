"""``restante policy``: look at the policy file before the services do.  Changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from restante.cli import Invocation
from restante.policy import DomainPolicy, Policy, Rule, load_policy
from restante.policy.describe import describe
from restante.policy.problems import problems, refuse_first_contact
from restante.toml_source import line_of, read_text
from restante.transport_maps import resolve_next_hops

_FILE = click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))


@click.group()
def policy() -> None:
    """List and test the policy.  A reload takes it over: systemctl reload restante-milter restante-worker."""


@policy.command()
@_FILE
@click.pass_obj
def check(invocation: Invocation, file: Path | None) -> None:
    """Validate FILE, or the policy of the settings; says file, line, field and remedy where it is wrong.

    Also names rules that no message reaches, conditions that contradict each other, and what no rule decides on.  Exits
    with 1 where there is anything to mend.
    """
    found = _load(invocation, file)
    wrong = problems(found)
    path = file or (invocation.settings.policy if invocation.settings_exist else None)
    text = read_text(path) if path is not None else ""
    lines = sorted(((line_of(text, one.location), one) for one in wrong), key=lambda pair: pair[0])
    for line, one in lines:
        field = ".".join(map(str, one.location))
        click.echo(f"{path or 'the built-in policy'}:{line}: {field}: {one.text}. {one.remedy}.", err=True)
    if not all(one.hint for one in wrong):
        raise SystemExit(1)
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
        click.echo(json.dumps({kind: [_as_json(one) for one in each] for kind, each in shown.items()}))
        return
    for number, rule in enumerate(found.rule, 1):
        click.echo(f"{number:>3}. {_rule(rule)}")
    for domain in found.domain:
        click.echo(f"  {domain.name}: {_domain(domain)}")


def _as_json(table: BaseModel) -> Any:
    return table.model_dump(mode="json", by_alias=True, exclude_none=True)


def _load(invocation: Invocation, file: Path | None) -> Policy:
    """The policy, with next hops read from Postfix's tables.  Refuses what a service would refuse."""
    if not invocation.settings_exist and file is not None:
        return resolve_next_hops(load_policy(file))
    settings = invocation.settings
    path = file or settings.policy
    found = resolve_next_hops(load_policy(path, frozenset(settings.internal_domains)))
    if path is not None and not settings.correspondents.learn:
        refuse_first_contact(found, path)
    return found


def _rule(rule: Rule) -> str:
    text = f"{rule.name}: {rule.action} on {'; or '.join(map(describe, rule.when))}"
    text += f", from {', '.join(rule.senders)}" if rule.senders else ""
    text += f", to {', '.join(rule.recipients)}" if rule.recipients else ""
    if rule.action == "protect":
        text += f", TLS {rule.tls}, otherwise {rule.otherwise} after {rule.deadline_hours:g} h"
    text += "" if rule.enrolled else ", enrolled recipients need codes too"
    marks = [name for name in ("always_code", "view_only", "four_eyes", "heal") if getattr(rule, name)]
    return ", ".join([text, *(name.replace("_", " ") for name in marks)])


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
