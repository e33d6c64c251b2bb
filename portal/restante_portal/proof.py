"""What a visitor types to open a message, and how often it may be tried.

Where an access code is needed, the code (or the agreed phrase) is asked for; elsewhere the number of the notice.  The
number is no secret: it stands in the notice, apart from the link, and tells a person who reads the notice from a
program that follows its link.

Tries are counted in the store, for all processes, before anything is compared.  Whoever is blocked under a narrow limit
uses up nothing of the wide one; and where strangers at many addresses have used up the wide one, every network has a
reserve, so that whoever knows the secret still gets in.  A fresh link has limits of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

from restante.store import links, throttle
from restante.tokens import token_hash
from restante_portal.context import Portal, client_address

PER_CLIENT = throttle.Limit("code-client", 5, 900)
PER_CLIENT_OVERALL = throttle.Limit("code-client-overall", 60, 3600)
PER_LINK = throttle.Limit("code-link", 30, 3600)
RESERVE_PER_NETWORK = throttle.Limit("code-reserve-network", 2, 3600)
RESERVE_PER_LINK = throttle.Limit("code-reserve-link", 300, 3600)

LONGEST = 320


class Refused(Exception):
    """Nothing was opened.  ``problem`` is "empty", "wrong" or "throttled"; ``retry_after`` is in seconds."""

    def __init__(self, problem: str, status: int, retry_after: float = 0) -> None:
        super().__init__(problem)
        self.problem, self.status, self.retry_after = problem, status, int(retry_after)

    @property
    def minutes(self) -> int:
        """How long to wait, in words that a page can use."""
        return max(1, -(-self.retry_after // 60))


def require(here: Portal, token: str, link: links.LiveLink | None, form: Mapping[str, str]) -> links.LiveLink:
    """The link, where ``form`` shows that a person with the right to it is there.  Raises :class:`Refused`.

    No link is refused after the same work as a link with a wrong code: the same counters, one slow hash.
    """
    by_number = link is not None and not link.needs_code
    typed = form.get("number" if by_number else "code", "")[:LONGEST]
    if not typed.strip():
        raise Refused("empty", 400)
    counters = _count(here, token, link)
    right = link.is_number(token, typed) if by_number and link is not None else links.is_code(link, typed)
    if link is None or not right:
        raise Refused("wrong", 403)
    throttle.give_back(here.store, counters)
    return link


def _count(here: Portal, token: str, link: links.LiveLink | None) -> tuple[throttle.Counter, ...]:
    """Count a try.  Whoever has the address of a live link is not stopped by what others at the same client tried.

    With a number alone one is: else the limit would tell which numbers there are.
    """
    key, client = token_hash(token).hex(), throttle.client_key(client_address())
    has_link = link is not None and link.number_hash is not None
    overall = PER_CLIENT_OVERALL.of(client, key) if has_link else PER_CLIENT_OVERALL.of(client)
    network = throttle.network_key(client_address())
    try:
        return tuple(
            throttle.take_or_reserve(
                here.store,
                (PER_CLIENT.of(key, client), overall),
                PER_LINK.of(key),
                (RESERVE_PER_NETWORK.of(key, network), RESERVE_PER_LINK.of(key)),
                now=here.clock(),
            )
        )
    except throttle.Throttled as error:
        raise Refused("throttled", 429, error.retry_after) from None
