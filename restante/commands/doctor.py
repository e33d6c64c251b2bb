"""``restante doctor``: what is wrong with this installation."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from restante.cli import Invocation
from restante.doctor import check


@click.command()
@click.option(
    "--config-directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Postfix's configuration folder; its compiled-in default when not given.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of name, problem and remedy.")
@click.pass_obj
def doctor(invocation: Invocation, config_directory: Path | None, as_json: bool) -> None:  # noqa: FBT001  by name
    """Name each mistake in settings, keys, database and Postfix.  Exits with 1 when there is one."""
    findings = check(invocation.settings_path, config_directory)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            click.echo(str(finding))
        if not findings:
            click.echo("Nothing is wrong.")
    sys.exit(1 if findings else 0)
