"""The commands ``restante milter`` and ``restante worker``."""

from __future__ import annotations

import click

from restante import dumps
from restante.cli import Invocation
from restante.log import configure
from restante.store.schema import require_current


@click.command()
@click.pass_obj
def milter(invocation: Invocation) -> None:
    """Run the milter service until SIGTERM; SIGHUP reloads the policy."""
    from restante_milter.server import Parent

    dumps.forbid()
    settings = invocation.settings
    configure(settings.log_level)
    require_current(settings.database)
    Parent(settings).run()


@click.command()
@click.pass_obj
def worker(invocation: Invocation) -> None:
    """Run the worker service until SIGTERM."""
    from restante_milter.worker import run

    dumps.forbid()
    settings = invocation.settings
    configure(settings.log_level)
    require_current(settings.database)
    run(settings)
