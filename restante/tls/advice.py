"""What a domain's evidence means for people: what it would take to do better, and what happens to mail now.  Pure."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from restante.policy import DomainMode, DomainPolicy
from restante.tls.evidence import Evidence, Level

_NEXT: Final = {
    Level.DANE: "nothing: this is the best there is",
    Level.MTA_STS: "DANE: sign the domain and its mail hosts with DNSSEC and publish TLSA records for every MX host",
    Level.PKIX: "MTA-STS in mode enforce, or DANE: either pins what was seen here, so that nobody can strip it",
    Level.ENCRYPTED: "a certificate of a trusted authority for the name of an MX host, with its whole chain",
    Level.NONE: "STARTTLS with TLS 1.2 or better on at least one MX host",
    Level.UNKNOWN: "an MX host that can be reached and answers STARTTLS; delivery finds out meanwhile",
    Level.NO_MAIL: "an MX record: the domain takes no mail",
}
_PORTAL: Final = "sensitive mail is never sent by SMTP: the rule's way out is taken at once"
_MODES: Final = {
    DomainMode.ALWAYS: "all mail, sensitive or not, goes over mandatory TLS",
    DomainMode.INTERNAL: "the domain is of this site: its mail is not looked at",
    DomainMode.NEVER: _PORTAL,
    DomainMode.PORTAL_ONLY: _PORTAL,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """How often and when the domain was seen with TLS, and when its loss was noticed; Unix seconds, 0 for never."""

    positives: int
    last_positive_at: float
    alarmed_at: float


def advise(evidence: Evidence, seen: Seen | None, agreed: DomainPolicy | None) -> str:
    """Several lines that follow those of :func:`restante.tls.report.describe`, without a final newline."""
    return "\n".join(_lines(evidence, seen, agreed))


def _lines(evidence: Evidence, seen: Seen | None, agreed: DomainPolicy | None) -> Iterator[str]:
    if agreed is not None:
        yield from _agreed(agreed)
    yield ""
    yield f"To do better  {_NEXT[evidence.level]}"
    if seen is not None:
        times = "once" if seen.positives == 1 else f"{seen.positives} times"
        yield f"Seen with TLS {times}, last at {_moment(seen.last_positive_at)}"
        if seen.alarmed_at > seen.last_positive_at:
            yield f"STRIP ALARM   since {_moment(seen.alarmed_at)}: it was long seen with TLS and now shows none."
            yield "              Somebody on the path may be removing it.  Look from another network; ask the domain."


def _agreed(agreed: DomainPolicy) -> Iterator[str]:
    yield "Agreed in the policy, before all of the above"
    if agreed.mode in _MODES:
        yield f"  {_MODES[agreed.mode]}"
    if agreed.certificate_names:
        yield f"  the peer's certificate must carry {' or '.join(agreed.certificate_names)}"
    elif agreed.authenticated:
        yield "  the peer must prove its name"
    if agreed.next_hop:
        yield f"  mail is delivered at {agreed.next_hop}, not at the MX hosts"
    if agreed.otherwise is not None:
        yield f"  the way out is {agreed.otherwise}, whatever the rule says"
    if agreed.deadline_hours is not None:
        yield f"  delivery is tried for {agreed.deadline_hours:g} hours"
    yield from _inbound(agreed)


def _inbound(agreed: DomainPolicy) -> Iterator[str]:
    if agreed.inbound_certificate:
        yield f"  mail from it is refused without the client certificate {agreed.inbound_certificate}"
    elif agreed.inbound_tls:
        yield "  mail from it is refused without TLS"


def _moment(when: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(when))
