"""``restante replay``: what the policy, and another one, would have done with mail that is stored somewhere.

Sends nothing, writes nothing but the report, and asks nobody: TLS evidence is what the database holds.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import click

from restante import corpus
from restante.cli import Invocation
from restante.commands.evidence import evidence_cache, stored
from restante.commands.explain import attachments_extractor, policy_of
from restante.replay import Judge, Known, Outcome, Totals
from restante.replay_pool import outcomes
from restante.replay_report import CsvReport, JsonReport, Report, TextReport
from restante.tls.engine import EvidenceCache
from restante.tls.evidence import Evidence

DIFFERENT: Final = 3
"""The exit status when some message would have gone another way."""

_MOST_DOMAINS: Final = 20_000


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--policy", "new", type=click.Path(path_type=Path, dir_okay=False), help="The policy to compare with.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--csv", "csv_file", type=click.Path(path_type=Path, dir_okay=False), help="Write differences here.")
@click.option("--jobs", type=click.IntRange(1, 256), help="Processes.  [default: one for each core]")
@click.pass_obj
def replay(
    invocation: Invocation,
    paths: tuple[Path, ...],
    new: Path | None,
    csv_file: Path | None,
    jobs: int | None,
    as_json: bool,  # noqa: FBT001  click passes it by name
) -> None:
    """Judge every message in PATHS (Maildirs, mboxes, folders, files) by the policy in force, and by --policy NEW.

    Prints each message whose rule or route would be another, and totals.  Exits with 0 where nothing would change, 3
    where something would, 1 when a path or a policy is wrong.  Senders and recipients are those of the header.
    """
    wanted = list(paths)
    corpus.check(wanted)
    now, other = policy_of(invocation, None), policy_of(invocation, new) if new is not None else None
    began = time.monotonic()
    totals = Totals()
    with ExitStack() as stack:
        extractor = stack.enter_context(attachments_extractor(invocation))
        judge = Judge(now, other, partial(_known, invocation), extractor)
        reports = list(_reports(stack, csv_file, as_json=as_json, compared=new is not None))
        progress = stack.enter_context(_progress(wanted))
        for outcome in outcomes(corpus.messages(wanted), judge, jobs or len(os.sched_getaffinity(0))):
            totals.add(outcome)
            progress(outcome)
            for report in reports:
                report.message(outcome)
    for report in reports:
        report.end(totals, time.monotonic() - began)
    if totals.changed:
        sys.exit(DIFFERENT)


def _reports(stack: ExitStack, csv_file: Path | None, *, as_json: bool, compared: bool) -> Iterator[Report]:
    yield JsonReport(sys.stdout, compared=compared) if as_json else TextReport(sys.stdout, compared=compared)
    if csv_file is not None:
        try:
            file = stack.enter_context(csv_file.open("w", encoding="utf-8", newline=""))
        except OSError as error:
            raise corpus.BadCorpus(f"{csv_file} cannot be written: {error.strerror}") from error
        yield CsvReport(file)


def _known(invocation: Invocation) -> Known:
    """Stored evidence, each domain asked for once."""
    # Open as long as the process: it reads while there are messages.
    cache: EvidenceCache = ExitStack().enter_context(evidence_cache(invocation))
    remembered: dict[str, Evidence | None] = {}

    def known(domains: Iterable[str]) -> Mapping[str, Evidence]:
        if len(remembered) > _MOST_DOMAINS:
            remembered.clear()
        missing = [domain for domain in domains if domain not in remembered]
        found = stored(cache, missing)
        remembered.update({domain: found.get(domain) for domain in missing})
        return {domain: evidence for domain in domains if (evidence := remembered.get(domain)) is not None}

    return known


@contextmanager
def _progress(paths: list[Path]) -> Iterator[Callable[[Outcome], None]]:
    """A bar over the bytes, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    total = sum(max(size, 0) for _, size in corpus.files(paths))
    with click.progressbar(length=total, label="Replaying", file=sys.stderr) as bar:

        def advance(outcome: Outcome) -> None:
            if outcome.changed or outcome.problem:
                click.echo("\r\x1b[2K", nl=False, err=True)  # the report writes on the same screen
            bar.update(outcome.size)

        yield advance
