"""``restante dictionary``: a list of values, such as patient numbers, as hashes that the classifier looks for."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import click

from restante.classify.dictionary import (
    LONGEST,
    MOST,
    SHORTEST,
    Dictionary,
    Value,
    key_of,
    open_dictionaries,
    refused,
    write,
)
from restante.cli import Invocation
from restante.credentials import Credential, read_credential
from restante.policy import Policy, load_policy
from restante.toml_source import BadFile


@click.command()
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--column", type=click.IntRange(1, 1000), default=1, show_default=True, help="Which column, from 1.")
@click.option("--header", is_flag=True, help="The first line names the columns.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Where to; by default the policy's.")
@click.pass_obj
def dictionary(
    invocation: Invocation,
    name: str,
    file: Path,
    column: int,
    header: bool,  # noqa: FBT001  click passes it by name
    output: Path | None,
) -> None:
    """Hash the values of FILE, a CSV file in UTF-8, for the policy's [[dictionary]] called NAME.

    The values themselves are written nowhere.  A reload takes the file over.
    """
    settings = invocation.settings
    named = {one.name: one.path for one in load_policy(settings.policy).dictionary}
    path = output or named.get(name)
    if path is None:
        raise click.UsageError(f'the policy has no [[dictionary]] with name = "{name}": add one, or give --output')
    key = key_of(read_credential(settings.credentials, Credential.ROUTE), name)
    count = write(path, name, key, values(file, column, header=header))
    click.echo(f"{path}: {count} different values, hashed. Found as dictionary:{name} after the next reload.")


def opened(invocation: Invocation, policy: Policy) -> tuple[Dictionary, ...]:
    """The dictionaries that ``policy`` names.

    Raises :class:`restante.classify.dictionary.BadDictionary` or :class:`restante.credentials.BadCredential`.
    """
    if not policy.dictionary:
        return ()
    return open_dictionaries(policy.dictionary, read_credential(invocation.settings.credentials, Credential.ROUTE))


def values(path: Path, column: int, *, header: bool) -> Iterator[Value]:
    """The values of one column.  Raises :class:`restante.toml_source.BadFile` for a line that cannot be taken."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(65_536)
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=first.count), strict=True)
            for row in reader:
                line = reader.line_num
                if not any(map(str.strip, row)) or (header and line == 1):
                    continue
                yield _value(path, line, column, row)
                if line > MOST:
                    raise refused(path, line, column, f"more than {MOST} lines", "Split the list")
    except FileNotFoundError:
        raise BadFile(path, 1, "file", "does not exist", "Name a CSV file") from None
    except UnicodeDecodeError:
        raise BadFile(path, line + 1, "file", "is not UTF-8", "Save it as UTF-8") from None
    except csv.Error as error:
        raise BadFile(path, line + 1, "file", f"is no CSV: {error}", "Correct the line") from None
    except OSError as error:
        raise BadFile(path, 1, "file", f"cannot be read: {error.strerror}", "Check its owner and mode") from None
    if not line:
        raise BadFile(path, 1, "file", "is empty", "Name a file with one value a line")


def _value(path: Path, line: int, column: int, row: list[str]) -> Value:
    if len(row) < column:
        raise refused(path, line, column, f"there are only {len(row)}", "Correct the line, or name another --column")
    value = Value.of(row[column - 1])
    if not SHORTEST <= len(value.text) <= LONGEST:
        problem = f"the value has {len(value.text)} letters and digits"
        raise refused(path, line, column, problem, f"Leave out what has not {SHORTEST} to {LONGEST}")
    return value
