"""TLS evidence as values: levels, what each MX host showed, and what that means for a requirement.

A prediction only picks a route.  Enforcement happens at delivery, in the MTA.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self


class Level(StrEnum):
    """What a domain was seen to do, best first."""

    DANE = "dane"
    MTA_STS = "mta-sts"
    PKIX = "pkix"
    ENCRYPTED = "encrypted"
    NONE = "none"
    UNKNOWN = "unknown"
    NO_MAIL = "no-mail"


class Requirement(StrEnum):
    """What a rule asks of the peer: any TLS of 1.2 or better, or TLS with a peer that proved its name."""

    ENCRYPTED = "encrypted"
    AUTHENTICATED = "authenticated"


class Ability(StrEnum):
    """Whether a domain, or one MX host, can meet a requirement."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    NO_MAIL = "no-mail"


class Published(StrEnum):
    """What a domain publishes about TLS to it, where that binds senders."""

    NOTHING = ""
    DANE = "dane"
    MTA_STS = "mta-sts"


AUTHENTICATED_LEVELS = frozenset({Level.DANE, Level.MTA_STS, Level.PKIX})


@dataclass(frozen=True, slots=True)
class MxEvidence:
    """What one MX host showed.  ``level`` is DANE, PKIX, ENCRYPTED, NONE (a firm no) or UNKNOWN (inconclusive).

    ``reachable`` is false for a host that does not answer at all: it counts neither for nor against the domain.
    """

    host: str
    preference: int
    level: Level
    reason: str
    address: str = ""
    tls_version: str = ""
    cipher: str = ""
    certificate: str = ""
    reachable: bool = True


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one domain.  Times are Unix seconds.

    Before ``fresh_until`` it is used as it is; until ``stale_until`` it may be used while it is being refreshed.
    ``confirmations`` counts consecutive checks with the same level.

    ``policy`` is what the domain itself publishes: delivery keeps to it, whatever the level is, or not at all.
    ``match`` are the certificate names that an MTA-STS policy allows, as Postfix writes them.  ``notes`` are remarks
    of sources that had nothing to decide.
    """

    domain: str
    level: Level
    reason: str
    checked_at: float
    fresh_until: float
    stale_until: float
    confirmations: int = 1
    hosts: tuple[MxEvidence, ...] = ()
    policy: Published = Published.NOTHING
    match: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @classmethod
    def unknown(cls, domain: str, reason: str, now: float) -> Self:
        """Evidence of nothing: never fresh, so that the next question asks again."""
        return cls(domain, Level.UNKNOWN, reason, now, now, now)

    def ability(self, requirement: Requirement) -> Ability:
        """Whether the domain can meet ``requirement``, by the per-MX rule.

        Yes when one host meets it; no only when every reachable host is a firm no.
        """
        if self.level is Level.NO_MAIL:
            return Ability.NO_MAIL
        if self.level in AUTHENTICATED_LEVELS:
            return Ability.YES
        if self.level is Level.ENCRYPTED:
            if requirement is Requirement.ENCRYPTED:
                return Ability.YES
            undecided = any(host.level is Level.UNKNOWN and host.reachable for host in self.hosts)
            return Ability.UNKNOWN if undecided else Ability.NO
        return Ability.NO if self.level is Level.NONE else Ability.UNKNOWN

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; :meth:`from_dict` reads it back."""
        # Not asdict(), which copies every value deeply: these are all immutable, and each sensitive message asks.
        hosts = tuple({name: getattr(host, name) for name in host.__slots__} for host in self.hosts)
        return {**{name: getattr(self, name) for name in self.__slots__}, "hosts": hosts}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Inverse of :meth:`to_dict`.  Raises ``KeyError``, ``TypeError`` or ``ValueError`` on anything else."""
        hosts = tuple(MxEvidence(**{**host, "level": Level(host["level"])}) for host in data["hosts"])
        # The last three are missing in what earlier versions stored.
        published = {
            "policy": Published(data.get("policy", "")),
            "match": tuple(data.get("match", ())),
            "notes": tuple(data.get("notes", ())),
        }
        return cls(**{**data, **published, "level": Level(data["level"]), "hosts": hosts})
