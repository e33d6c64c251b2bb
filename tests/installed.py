"""``restante init`` and ``restante db upgrade`` without an interpreter for each, and without the migrations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from click.testing import CliRunner

from restante.cli import cli
from restante.settings import load_settings
from tests.migrated import upgrade

SQLITE = "sqlite:///"


def install(settings_path: Path, arguments: Sequence[str]) -> None:
    """An installation with an up-to-date database; ``arguments`` are those of ``restante init``."""
    _run("init", *arguments)
    url = load_settings(settings_path).database
    upgrade(url)
    if url.startswith(SQLITE):
        Path(url.removeprefix(SQLITE)).chmod(0o660)  # as the command makes it
    _run("--settings", str(settings_path), "db", "upgrade")


def _run(*arguments: str) -> None:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
