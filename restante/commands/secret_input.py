"""A secret that an operator gives to a command: never as an argument, which shell histories and process lists keep."""

from __future__ import annotations

import sys

import click


def given_secret(label: str, *, ask: bool, from_stdin: bool) -> str | None:
    """What was typed twice, or the first line of standard input; ``None`` when neither was asked for: make one."""
    if ask:
        return str(click.prompt(label, hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n") if from_stdin else None
