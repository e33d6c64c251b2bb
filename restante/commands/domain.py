"""``restante domain``: what is known of a domain's TLS, in words, or of thousands of domains in a file."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import click

from restante.cli import Invocation
from restante.commands.evidence import agreed_with, evidence_cache, look, look_at_many, stored
from restante.envelope import BadAddress, a_label
from restante.store.evidence import StoredEvidence
from restante.tls.advice import Seen, advise
from restante.tls.engine import EvidenceCache
from restante.tls.evidence import Evidence, Requirement
from restante.tls.report import describe

_COLUMNS: Final = ("domain", "level", "encrypted", "authenticated", "checked_at", "stale_until", "reason")


@click.command()
@click.argument("name", required=False)
@click.option(
    "--file", "list_file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A domain a line."
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Where --file writes: .csv, else JSON.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=50, show_default=True, help="Looks at a time.")
@click.option("--json", "as_json", is_flag=True, help="Print the evidence as JSON.")
@click.option("--recheck", is_flag=True, help="Look again, whatever is known already.")
@click.option("--no-network", is_flag=True, help="Use only stored evidence.")
@click.pass_obj
def domain(
    invocation: Invocation,
    name: str | None,
    list_file: Path | None,
    output: Path | None,
    concurrency: int,
    as_json: bool,  # noqa: FBT001  click passes it by name
    recheck: bool,  # noqa: FBT001
    no_network: bool,  # noqa: FBT001
) -> None:
    """Show the TLS evidence of the domain NAME: MX hosts, what each showed, and what that means for sensitive mail.

    With --file and --output, look at every domain of a list and write one record for each.
    """
    if (name is None) == (list_file is None):
        raise click.UsageError("name a domain, or a list with --file")
    if list_file is not None:
        if output is None or no_network:
            raise click.UsageError("--file needs --output, and the network")
        _many(invocation, list_file, output, concurrency, recheck=recheck)
        return
    try:
        wanted = a_label(name or "")
    except BadAddress as error:
        raise click.BadParameter(str(error), param_hint="NAME") from error
    with evidence_cache(invocation) as cache:
        found = stored(cache, [wanted]) if no_network else look(invocation, cache, [wanted], recheck=recheck)
        seen = _seen(cache, wanted)
    evidence = found.get(wanted) or Evidence.unknown(wanted, "nothing is stored", time.time())
    if as_json:
        click.echo(json.dumps(evidence.to_dict(), indent=2))
    else:
        click.echo(describe(evidence, time.time()))
        click.echo(advise(evidence, seen, agreed_with(invocation, wanted)))


def _seen(cache: EvidenceCache, name: str) -> Seen | None:
    known = cache.history(name) if isinstance(cache, StoredEvidence) else None
    return Seen(known.positives, known.last_positive_at, known.alarmed_at) if known is not None else None


def _many(invocation: Invocation, list_file: Path, output: Path, concurrency: int, *, recheck: bool) -> None:
    """Look at every domain of ``list_file``; memory is bounded by the concurrency, not by the list."""
    total = sum(1 for _ in _names(list_file))
    with (
        evidence_cache(invocation) as cache,
        output.open("w", encoding="utf-8", newline="") as file,
        click.progressbar(length=total, label="Domains") as bar,
    ):
        write: _CsvWriter | _JsonWriter = _CsvWriter(file) if output.suffix == ".csv" else _JsonWriter(file)

        def take(evidence: Evidence) -> None:
            write.row(evidence)
            bar.update(1)

        look_at_many(invocation, cache, _names(list_file), take, concurrency=concurrency, recheck=recheck)
        write.end()
    click.echo(f"{total} domains written to {output}")


def _names(path: Path) -> Iterator[str]:
    """The domains of a list: one a line, without blank lines and ``#`` comments."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            text = line.partition("#")[0].strip()
            if text:
                yield text


def _record(evidence: Evidence) -> dict[str, str | float]:
    return {
        "domain": evidence.domain,
        "level": str(evidence.level),
        "encrypted": str(evidence.ability(Requirement.ENCRYPTED)),
        "authenticated": str(evidence.ability(Requirement.AUTHENTICATED)),
        "checked_at": evidence.checked_at,
        "stale_until": evidence.stale_until,
        "reason": evidence.reason,
    }


class _JsonWriter:
    """A JSON array, one record a line."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._first = file, True
        file.write("[")

    def row(self, evidence: Evidence) -> None:
        self._file.write("\n" if self._first else ",\n")
        self._first = False
        self._file.write(json.dumps({**_record(evidence), "hosts": evidence.to_dict()["hosts"]}))

    def end(self) -> None:
        self._file.write("\n]\n")


class _CsvWriter:
    """RFC 4180, with a header line; what a spreadsheet would take for a formula is quoted by an apostrophe."""

    def __init__(self, file: IO[str]) -> None:
        self._writer = csv.DictWriter(file, _COLUMNS)
        self._writer.writeheader()

    def row(self, evidence: Evidence) -> None:
        self._writer.writerow({key: _plain(value) for key, value in _record(evidence).items()})

    def end(self) -> None:
        """Nothing is left to write."""


def _plain(value: str | float) -> str | float:
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@"} else value
