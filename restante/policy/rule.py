"""One rule: when it matches, and what then happens to the message."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from pydantic import Field

from restante.classify.finding import Finding
from restante.envelope import Envelope
from restante.policy.condition import Condition
from restante.policy.fields import Frozen, Name
from restante.tls.evidence import Requirement


class Action(StrEnum):
    """What a matching rule does.  ``protect`` is mandatory TLS with :class:`Otherwise` as the way out."""

    PROTECT = "protect"
    RELAY = "relay"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Otherwise(StrEnum):
    """Where a recipient's copy goes when the domain cannot do TLS well enough."""

    PORTAL = "portal"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Rule(Frozen):
    """One rule.  It matches when any of its conditions does and the sender and recipient patterns fit.

    ``senders`` and ``recipient_domains`` are domains or addresses; empty means everyone.  ``expires_days`` bounds
    how long a held message waits.  ``deadline_hours`` bounds how long delivery over TLS is tried before the portal.
    ``always_code`` asks for an access code even where the notice went over TLS.  ``heal`` delivers a message that
    waits unopened after all, once its domain was seen with TLS twice; the worker can then open what so waits.
    """

    name: Name
    when: tuple[Condition, ...] = Field(min_length=1)
    action: Action = Action.PROTECT
    tls: Requirement = Requirement.ENCRYPTED
    otherwise: Otherwise = Otherwise.PORTAL
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    always_code: bool = False
    heal: bool = False
    expires_days: int = Field(default=14, ge=1, le=365)
    deadline_hours: float = Field(default=24, ge=0, le=120)

    def match(self, findings: tuple[Finding, ...], envelope: Envelope) -> tuple[Finding, ...] | None:
        """The findings that made the rule match, or ``None`` when it does not."""
        if self.senders and not _any_address(self.senders, (envelope.sender,)):
            return None
        if self.recipients and not _any_address(self.recipients, envelope.recipients):
            return None
        for condition in self.when:
            hits = condition.match(findings)
            if hits:
                return hits
        return None

    @property
    def expires_after(self) -> timedelta:
        """How long a held message waits for its recipient."""
        return timedelta(days=self.expires_days)


def _any_address(patterns: tuple[str, ...], addresses: tuple[object, ...]) -> bool:
    texts = [str(address).lower() for address in addresses]
    return any(
        text == pattern.lower() or text.rpartition("@")[2] == pattern.lower().lstrip("@")
        for pattern in patterns
        for text in texts
    )
