"""The command line: ``restante [--settings FILE] COMMAND``.

A :class:`restante.errors.RestanteError` becomes one line on standard error and exit status 1; anything else is a
defect and shows its traceback.  Commands are imported when they are run, so that the milter never loads Flask and
``restante postfix`` works where pymilter does not.  Other packages add commands through the entry-point group
``restante.commands``.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import click

from restante import __version__
from restante.errors import RestanteError
from restante.settings import Settings, load_settings

DEFAULT_SETTINGS = Path("/etc/restante/restante.toml")
GROUP = "restante.commands"

_OWN = {
    "admin": "restante.commands.admin:admin",
    "db": "restante.commands.db:db",
    "delivered": "restante.commands.delivered:delivered",
    "dictionary": "restante.commands.dictionary:dictionary",
    "doctor": "restante.commands.doctor:doctor",
    "domain": "restante.commands.domain:domain",
    "enrolled": "restante.commands.enrolled:enrolled",
    "explain": "restante.commands.explain:explain",
    "init": "restante.commands.init:init",
    "phrase": "restante.commands.phrase:phrase",
    "policy": "restante.commands.policy:policy",
    "postfix": "restante.commands.postfix:postfix",
    "replay": "restante.commands.replay:replay",
    "ring": "restante.commands.ring:ring",
    "sendmail": "restante.commands.sendmail:sendmail",
}


@dataclass(frozen=True)
class Invocation:
    """What every command receives as ``click``'s object: which settings file was named, and its content."""

    settings_path: Path

    @cached_property
    def settings(self) -> Settings:
        """The settings, read at the first use.  Raises :class:`restante.toml_source.BadFile`."""
        return load_settings(self.settings_path)

    @property
    def settings_exist(self) -> bool:
        """Whether there is a settings file at all; some commands work without one."""
        return self.settings_path.exists()


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, without importing any."""
        del ctx
        return sorted({*_OWN, *(entry.name for entry in entry_points(group=GROUP))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; ``None`` when there is no such name."""
        del ctx
        if cmd_name in _OWN:
            return _imported(EntryPoint(cmd_name, _OWN[cmd_name], GROUP))
        for entry in entry_points(group=GROUP):
            if entry.name == cmd_name:
                return _imported(entry)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by name alone: their help texts would import every one of them."""
        with formatter.section("Commands"):
            formatter.write_text(", ".join(self.list_commands(ctx)))


def _imported(entry: EntryPoint) -> click.Command:
    module, _, attribute = entry.value.partition(":")
    command = getattr(import_module(module), attribute)
    if not isinstance(command, click.Command):
        raise TypeError(f"{entry.value} is not a click command")
    return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="restante", message="%(prog)s %(version)s")
@click.option(
    "--settings",
    "settings_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=lambda: os.environ.get("RESTANTE_SETTINGS") or DEFAULT_SETTINGS,
    show_default="$RESTANTE_SETTINGS or /etc/restante/restante.toml",
    help="The settings file.",
)
@click.pass_context
def cli(ctx: click.Context, settings_path: Path) -> None:
    """Forced TLS with portal fallback for outgoing mail."""
    ctx.obj = Invocation(settings_path)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    try:
        cli.main(args=arguments, prog_name="restante")
    except RestanteError as error:
        click.echo(f"restante: {error}", err=True)
        sys.exit(1)
