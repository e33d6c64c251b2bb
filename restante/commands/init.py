"""``restante init``: a fresh installation."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from restante.cli import Invocation
from restante.init import Answers, initialise


@click.command()
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to write; the folder of --settings when not given.",
)
@click.option("--hostname", help="This host's full name; found out when not given.")
@click.option("--organisation", help="What notices and the portal call you; the host's domain when not given.")
@click.option("--portal-url", help="The portal's address as recipients see it; https://HOSTNAME when not given.")
@click.option("--internal-domain", "internal_domains", multiple=True, help="A domain whose mail stays on this site.")
@click.option("--notice-sender", help="From: of notices; restante@DOMAIN when not given.")
@click.option("--database", help="SQLAlchemy address; SQLite in /var/lib/restante when not given.")
@click.option("--set", "extra", multiple=True, metavar="SECTION.KEY=VALUE", help="Any other setting.  Repeatable.")
@click.pass_obj
def init(
    invocation: Invocation,
    directory: Path | None,
    hostname: str | None,
    organisation: str | None,
    portal_url: str | None,
    internal_domains: tuple[str, ...],
    notice_sender: str | None,
    database: str | None,
    extra: tuple[str, ...],
) -> None:
    """Write settings, a policy and fresh keys, readable by their owner alone."""
    folder = directory or invocation.settings_path.absolute().parent
    host = hostname or socket.getfqdn()
    domain = internal_domains[0] if internal_domains else host.partition(".")[2] or host
    answers = Answers(
        hostname=host,
        organisation=organisation or domain,
        portal_url=portal_url or f"https://{host}",
        notice_sender=notice_sender or f"restante@{domain}",
        database=database or "sqlite:////var/lib/restante/restante.db",
        internal_domains=internal_domains or (domain,),
        extra=tuple(_pair(text) for text in extra),
    )
    settings = initialise(folder, answers)
    click.echo(f"Wrote {folder}/restante.toml, policy.toml and credentials/ for {settings.hostname}.")
    click.echo("Next: restante db upgrade; restante admin add NAME; restante postfix; restante doctor")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.BadParameter("write it as section.key=value", param_hint="--set")
    return key.strip(), value.strip()
