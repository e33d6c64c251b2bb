"""From what the hosts showed to what is known of the domain.  Pure: no clock, no network.

A domain can if one reachable MX host can.  It cannot only if every reachable host is a firm no, seen twice.
Everything else is unknown, and unknown mail goes by mandatory TLS, where delivery finds out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from restante.tls.evidence import AUTHENTICATED_LEVELS, Evidence, Level, MxEvidence, Published
from restante.tls.mx import MxAnswer, Outcome
from restante.tls.probe import HostLook

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

POSITIVE_FRESH: Final = DAY
POSITIVE_STALE: Final = 7 * DAY
NONE_FIRST: Final = HOUR
NONE_AGAIN: Final = DAY
UNKNOWN_FIRST: Final = 5 * MINUTE
UNKNOWN_LONGEST: Final = HOUR
NO_MAIL_LONGEST: Final = HOUR

POSITIVE_LEVELS: Final = AUTHENTICATED_LEVELS | {Level.ENCRYPTED}
_BEST_FIRST: Final = (Level.DANE, Level.MTA_STS, Level.PKIX, Level.ENCRYPTED)
UNCONFIRMED: Final = "one negative answer proves nothing yet"


def without_hosts(domain: str, answer: MxAnswer, now: float, previous: Evidence | None = None) -> Evidence | None:
    """Evidence that DNS alone gives: no mail, or unknown.  ``None`` when there are hosts to look at."""
    if answer.outcome is Outcome.NO_MAIL:
        until = now + min(float(answer.ttl), NO_MAIL_LONGEST)
        return Evidence(domain, Level.NO_MAIL, answer.reason, now, until, until, _count(Level.NO_MAIL, previous))
    if answer.outcome is Outcome.UNKNOWN:
        return dated(Evidence(domain, Level.UNKNOWN, answer.reason, now, now, now), previous)
    return None


def judge(domain: str, looks: Sequence[HostLook], now: float, previous: Evidence | None = None) -> Evidence:
    """Evidence of ``domain`` from one look at each of its MX hosts, in order of preference.

    ``previous`` only counts: confirmations, and with them lifetimes.
    """
    hosts = tuple(look.evidence for look in looks)
    level, reason = _level(looks)
    return dated(Evidence(domain, level, reason, now, now, now, hosts=hosts), previous)


def to_remember(previous: Evidence | None, found: Evidence) -> Evidence:
    """What to keep of two pieces of evidence: a look that failed does not undo what was seen within the last days."""
    if (
        previous is not None
        and previous.level in POSITIVE_LEVELS
        and found.level is Level.UNKNOWN
        and not _refused(found)
        and not _gives_way(previous, found)
        and found.checked_at < previous.stale_until
    ):
        return replace(previous, fresh_until=min(found.fresh_until, previous.stale_until))
    return found


def must_confirm(previous: Evidence | None) -> bool:
    """Whether a no is to be confirmed at once.

    The first message to a domain should not wait for an answer.  A domain that was seen with TLS lately gets the
    benefit of the doubt: its first no is only noted.
    """
    return previous is None or previous.level not in POSITIVE_LEVELS


def _level(looks: Sequence[HostLook]) -> tuple[Level, str]:
    hosts = [look.evidence for look in looks]
    for level in _BEST_FIRST:
        able = [host for host in hosts if host.level is level]
        if able:
            return level, f"{able[0].host}: {able[0].reason}"
    reached = [look for look in looks if look.evidence.reachable]
    if not reached:
        return Level.UNKNOWN, f"no MX host can be reached ({_first(hosts)})" if hosts else "no MX host"
    doubtful = [look.evidence for look in reached if look.evidence.level is not Level.NONE]
    if doubtful:
        return Level.UNKNOWN, f"not conclusive: {_first(doubtful)}"
    refusals = _first([look.evidence for look in reached])
    if not all(look.confirmed for look in reached):
        return Level.UNKNOWN, f"{UNCONFIRMED}: {refusals}"
    return Level.NONE, f"no usable TLS: {refusals}"


def _first(hosts: Sequence[MxEvidence]) -> str:
    text = f"{hosts[0].host}: {hosts[0].reason}"
    return text if len(hosts) == 1 else f"{text}, and {len(hosts) - 1} more"


def _refused(evidence: Evidence) -> bool:
    return any(host.level is Level.NONE for host in evidence.hosts)


def _gives_way(previous: Evidence, found: Evidence) -> bool:
    """Whether keeping ``previous`` would forget a policy that the domain has published since."""
    return found.policy is not Published.NOTHING and found.policy is not previous.policy


def _count(level: Level, previous: Evidence | None) -> int:
    return previous.confirmations + 1 if previous is not None and previous.level is level else 1


def dated(evidence: Evidence, previous: Evidence | None) -> Evidence:
    """``evidence`` with its lifetimes, which follow from its level and how often it was seen in a row."""
    now, count = evidence.checked_at, _count(evidence.level, previous)
    if evidence.level in POSITIVE_LEVELS:
        fresh, stale = POSITIVE_FRESH, POSITIVE_STALE
    elif evidence.level is Level.NONE:
        fresh = stale = NONE_FIRST if count == 1 else NONE_AGAIN
    else:
        fresh = stale = min(UNKNOWN_FIRST * 2.0 ** min(count - 1, 10), UNKNOWN_LONGEST)
    return replace(evidence, fresh_until=now + fresh, stale_until=now + stale, confirmations=count)
