"""Next hops that the policy leaves to Postfix's own tables, read with ``postmap`` as Postfix would.

Read when the policy is loaded, so that nothing on a message's way runs a program.  What a table says and Restante
cannot keep is refused as a whole: :class:`NoNextHop` names the domain and the remedy, and the policy before stays.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from restante.errors import RestanteError
from restante.policy import FROM_TRANSPORT_MAPS, Policy
from restante.tls.mx import BadNextHop, NextHop

_SECONDS: Final = 30
_CLIENTS: Final = frozenset({"", "smtp", "relay"})

Run = Callable[[Sequence[str]], tuple[int, str]]


class NoNextHop(RestanteError):
    """A domain's next hop cannot be taken from Postfix's table.  Write it into the policy, or mend the table."""


def resolve_next_hops(policy: Policy, run: Run | None = None) -> Policy:
    """``policy`` with every next hop that names a table replaced by what the table says; ``run`` is for tests.

    Without an entry the domain's MX hosts are meant.  Raises :class:`NoNextHop`.
    """
    if not any(domain.reads_table for domain in policy.domain):
        return policy
    run = run or _run
    domains = tuple(
        domain.model_copy(update={"next_hop": _look_up(domain.name, domain.next_hop, run)})
        if domain.reads_table
        else domain
        for domain in policy.domain
    )
    try:
        return policy.with_domains(domains)
    except ValueError as error:
        raise NoNextHop(f"the tables and the policy do not go together: {error}") from error


def _look_up(name: str, table: str, run: Run) -> str:
    tables: tuple[str, ...] = (table,)
    if table == FROM_TRANSPORT_MAPS:
        status, text = run(("postconf", "-xh", "transport_maps"))
        if status != 0:
            raise NoNextHop(f"{name}: postconf does not tell transport_maps. Name the table in next_hop")
        tables = tuple(text.replace(",", " ").split())
    for one in tables:
        status, text = run(("postmap", "-q", name, one))
        if status == 0 and text.strip():
            return _next_hop(name, text.strip())
        if status > 1:
            raise NoNextHop(f"{name}: postmap cannot read {one}. Check the table and who may read it")
    return ""


def _next_hop(name: str, entry: str) -> str:
    """The next hop of one entry of transport(5): ``transport:nexthop``."""
    client, _, hop = entry.partition(":")
    if client not in _CLIENTS:
        raise NoNextHop(f"{name}: the table says {entry!r}, which is no SMTP client. Use mode internal, or a next hop")
    try:
        return str(NextHop.parse(hop)) if hop else ""
    except BadNextHop as error:
        raise NoNextHop(f"{name}: the table says {entry!r}: {error}. Write [host]:number") from error


def _run(argv: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise NoNextHop(
            f"{argv[0]} cannot be run ({type(error).__name__}). Write the next hop into the policy"
        ) from None
    # postmap says 1 both for "no entry" and for a table that it cannot open; only the latter writes an error.
    return (2 if done.returncode == 1 and done.stderr else done.returncode), done.stdout
