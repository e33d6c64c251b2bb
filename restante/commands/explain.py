"""``restante explain``: what would happen to a message, and why.

Sends nothing and writes nothing.  It looks at the recipients' MX hosts unless it is told not to.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from restante.classify.engine import Classifier
from restante.classify.extract.from_settings import extractor_from, require_programs
from restante.classify.extract.pool import ExtractorPool
from restante.classify.recorder import TextRecorder
from restante.cli import Invocation
from restante.commands.dictionary import opened
from restante.commands.evidence import ReadOnly, acquaintances, evidence_cache, look, stored
from restante.envelope import Address, BadAddress, Envelope
from restante.excerpts import LIMIT
from restante.explain import Case
from restante.explain import explain as explanation_of
from restante.explain_text import render
from restante.header_envelope import header_envelope
from restante.policy import Circumstances, Policy, load_policy
from restante.routing import decide, domains_to_judge, matching_rule
from restante.settings import ClassifySettings
from restante.tls.evidence import Evidence


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
@click.option("--sender", type=_AddressType(), help="The envelope's sender; empty for a bounce.  Else the header's.")
@click.option("--recipient", "recipients", type=_AddressType(), multiple=True, help="Repeatable.  Else the header's.")
@click.option("--policy", "policy_path", type=click.Path(path_type=Path, dir_okay=False), help="Another policy file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--text", "text_limit", type=click.IntRange(0, 1_000_000), default=LIMIT, show_default=True,
              help="Characters shown of each text; 0 for none.")  # fmt: skip
@click.option("--no-network", is_flag=True, help="Use only stored evidence.")
@click.pass_obj
def explain(
    invocation: Invocation,
    file: BinaryIO,
    sender: Address | None,
    recipients: tuple[Address, ...],
    policy_path: Path | None,
    text_limit: int,
    as_json: bool,  # noqa: FBT001  click passes it by name
    no_network: bool,  # noqa: FBT001
) -> None:
    """Show what is found in FILE (a raw message, - for standard input), which rule decides, and each recipient's route.

    Matches are masked, and so is whatever else looks like an identifier in the texts that are shown.
    """
    policy = policy_of(invocation, policy_path)
    source = file if file.seekable() else io.BytesIO(file.read())
    guessed = header_envelope(source)
    envelope = Envelope(guessed.sender if sender is None else sender, recipients or guessed.recipients)
    recorder = TextRecorder() if text_limit else None
    with attachments_extractor(invocation) as extractor:
        classifier = Classifier(policy, extractor=extractor, dictionaries=opened(invocation, policy))
        classification = classifier.classify(source, recorder)
    with acquaintances(invocation) as known:
        circumstances = Circumstances(acquaintances=known)
        rule, matched = matching_rule(policy, classification, envelope, circumstances)
        evidence = _evidence(invocation, domains_to_judge(rule, policy, envelope), network=not no_network)
        decision = decide(policy, rule, matched, envelope, evidence)
        case = Case(policy, envelope, classification, decision, recorder, circumstances)
        found = explanation_of(case, text_limit=text_limit)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(render(found, _bold if sys.stdout.isatty() else str))
    if not envelope.recipients:
        click.echo("The header names no recipient: name one with --recipient.", err=True)


def _bold(text: str) -> str:
    return click.style(text, bold=True)


def _evidence(invocation: Invocation, wanted: Iterable[str], *, network: bool) -> dict[str, Evidence]:
    domains = list(wanted)
    if not domains:
        return {}
    with evidence_cache(invocation) as cache:
        return look(invocation, ReadOnly(cache), domains) if network else stored(cache, domains)


@contextmanager
def attachments_extractor(invocation: Invocation) -> Iterator[ExtractorPool | None]:
    """What looks into attachments for one command, as the settings have it."""
    settings = invocation.settings.classify if invocation.settings_exist else ClassifySettings()
    require_programs(settings)
    pool = extractor_from(settings)
    try:
        yield pool
    finally:
        if pool is not None:
            pool.close()


def policy_of(invocation: Invocation, path: Path | None) -> Policy:
    """The policy named on the command line, else the settings', else the built-in one."""
    if not invocation.settings_exist:
        return load_policy(path)
    settings = invocation.settings
    return load_policy(path or settings.policy, frozenset(settings.internal_domains))
