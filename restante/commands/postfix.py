"""``restante postfix``: the lines that attach Restante to the Postfix of this machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from restante.cli import Invocation
from restante.policy import load_policy
from restante.postconf import NoPostfix, Postconf
from restante.postfix import Site, internal_domains, render, site_of


@click.command()
@click.option(
    "--config-directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Postfix's configuration folder; its compiled-in default when not given.",
)
@click.pass_obj
def postfix(invocation: Invocation, config_directory: Path | None) -> None:
    """Print what main.cf, master.cf and the header checks must say.  Changes nothing."""
    settings = invocation.settings
    try:
        site = site_of(Postconf(config_directory), settings)
    except NoPostfix as error:
        click.echo(f"restante: {error}. The lines below assume Debian's Postfix 3.7.", err=True)
        site = Site(config_directory=config_directory) if config_directory else Site()
    policy = load_policy(settings.policy, frozenset(settings.internal_domains))
    wiring = render(settings, replace(site, internal_domains=internal_domains(settings, policy)))
    click.echo(f"# ---- into {site.config_directory}/main.cf")
    click.echo(wiring.main_cf_text)
    click.echo(f"# ---- appended to {site.config_directory}/master.cf")
    click.echo(wiring.master_cf)
    click.echo("# ---- for services that master.cf has already, to be run once")
    for option, value in wiring.master_options.items():
        click.echo(f"postconf -c {site.config_directory} -P {option}={value}")
    for path, text in wiring.files.items():
        click.echo(f"\n# ---- as {path}")
        click.echo(text)
    click.echo("# ---- then: postfix reload; restante doctor")
