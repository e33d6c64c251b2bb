"""TLS evidence in words: what ``restante domain NAME`` prints.  Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from restante.tls.evidence import Ability, Evidence, Level, MxEvidence, Published, Requirement

_LEVELS: Final = {
    Level.DANE: "DANE: the domain's signed DNS records pin its certificates",
    Level.MTA_STS: "MTA-STS: the domain publishes a policy that enforces TLS",
    Level.PKIX: "TLS with a certificate that a trusted authority issued for the host's name",
    Level.ENCRYPTED: "TLS 1.2 or better, with a certificate that cannot be verified",
    Level.NONE: "no usable TLS, seen twice on every host that can be reached",
    Level.UNKNOWN: "not known",
    Level.NO_MAIL: "the domain takes no mail",
}
_HOSTS: Final = {
    Level.DANE: "TLS, certificate pinned by DANE",
    Level.PKIX: "TLS, certificate verified",
    Level.ENCRYPTED: "TLS, certificate not verified",
    Level.NONE: "no usable TLS",
    Level.UNKNOWN: "not conclusive",
}
_POLICIES: Final = {
    Published.DANE: "its DANE records: delivery needs a certificate that they pin, or waits",
    Published.MTA_STS: "its MTA-STS policy: delivery needs a verified certificate of a host in it, or waits",
}
_CONSEQUENCES: Final = {
    Ability.YES: "sent over mandatory TLS",
    Ability.NO: "not sent by SMTP; the rule's way out is taken (portal, quarantine or rejection)",
    Ability.UNKNOWN: "sent over mandatory TLS; delivery finds out, and never goes on in clear",
    Ability.NO_MAIL: "given to the MTA, which bounces it",
}


def describe(evidence: Evidence, now: float) -> str:
    """Several lines of plain text, without a final newline.  ``now`` is in Unix seconds."""
    return "\n".join(_lines(evidence, now))


def _lines(evidence: Evidence, now: float) -> Iterator[str]:
    yield f"Domain   {evidence.domain}"
    yield f"Level    {evidence.level}: {_LEVELS[evidence.level]}"
    yield f"Reason   {evidence.reason}"
    yield f"Checked  {_moment(evidence.checked_at)}, {_ago(now - evidence.checked_at)}{_times(evidence.confirmations)}"
    yield f"Good     {_good(evidence, now)}"
    if evidence.policy is not Published.NOTHING:
        yield f"Binding  {_POLICIES[evidence.policy]}"
    for note in evidence.notes:
        yield f"Note     {note}"
    yield ""
    yield "MX hosts" if evidence.hosts else "MX hosts: none were looked at"
    for host in evidence.hosts:
        yield from _host(host, evidence.policy)
    yield ""
    yield "A sensitive message now"
    yield f"  where any TLS suffices           {_CONSEQUENCES[evidence.ability(Requirement.ENCRYPTED)]}"
    yield f"  where the peer must be verified  {_CONSEQUENCES[evidence.ability(Requirement.AUTHENTICATED)]}"


def _host(host: MxEvidence, policy: Published) -> Iterator[str]:
    # A host may do TLS and still fail what its domain publishes.
    bound = host.level is Level.NONE and policy is not Published.NOTHING
    shown = "not usable for this domain" if bound else _HOSTS.get(host.level, host.level)
    where = f" [{host.address}]" if host.address else ""
    yield f"  {host.preference:>5} {host.host}{where}: {shown}"
    yield f"        {host.reason}" + ("" if host.reachable else " (not reachable: counts neither way)")
    if host.tls_version:
        yield f"        {host.tls_version}, {host.cipher}"
    if host.certificate:
        yield f"        certificate: {host.certificate}"


def _good(evidence: Evidence, now: float) -> str:
    if now < evidence.fresh_until:
        text = f"for {_span(evidence.fresh_until - now)}"
        if evidence.stale_until > evidence.fresh_until:
            text += f", then for {_span(evidence.stale_until - evidence.fresh_until)} while it is refreshed"
        return text
    if now < evidence.stale_until:
        return f"for {_span(evidence.stale_until - now)} while it is refreshed"
    return "no longer: the next message looks again"


def _times(count: int) -> str:
    return f", the same {count} times in a row" if count > 1 else ""


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))


def _ago(seconds: float) -> str:
    return f"{_span(seconds)} ago" if seconds >= 1 else "just now"


def _span(seconds: float) -> str:
    """A time span in its largest fitting unit, rounded."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{round(seconds / size)} {unit}"
    return f"{max(0, round(seconds))} seconds"
