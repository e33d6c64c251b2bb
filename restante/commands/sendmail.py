"""``restante sendmail``: the lines that attach Restante to Sendmail."""

from __future__ import annotations

import click

from restante.cli import Invocation
from restante.sendmail import render
from restante.settings import Mta


@click.command()
@click.pass_obj
def sendmail(invocation: Invocation) -> None:
    """Print what sendmail.mc must say at its end.  Changes nothing."""
    settings = invocation.settings
    if settings.mta is not Mta.SENDMAIL:
        raise click.ClickException('these settings are for Postfix: set mta = "sendmail" and worker.intake first')
    click.echo(render(settings), nl=False)
    click.echo("dnl ---- then: make -C /etc/mail; restart sendmail; restante doctor")
