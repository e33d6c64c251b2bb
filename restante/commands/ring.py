"""``restante ring``: the key ring."""

from __future__ import annotations

import click

from restante.cli import Invocation


@click.group()
def ring() -> None:
    """Look after the key ring, without which no held message opens."""


@ring.command()
@click.pass_obj
def create(invocation: Invocation) -> None:
    """Make an empty key ring in the place of one that is lost.

    What was sealed to the lost one stays shut for good.  An existing ring is never replaced.
    """
    from restante.store.ring import KeyRing

    made = KeyRing.create(invocation.settings.ring_path)
    click.echo(f"Made {made.path}. The worker uses it within seconds.")
