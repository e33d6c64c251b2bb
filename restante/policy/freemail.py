"""Domains at which anybody can have a mailbox.  The list is shipped as data, with its sources, and read once."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def freemail_domains() -> frozenset[str]:
    """The domains, in lower-case A-labels."""
    text = files("restante.policy").joinpath("data/freemail.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
