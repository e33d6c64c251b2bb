"""One rule: when it matches, and what then happens to the message."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from typing import Literal

from pydantic import Field

from restante.access import CodeWay, NoticeForm
from restante.classify.finding import Finding
from restante.policy.addresses import AddressPattern, AddressSet
from restante.policy.condition import Condition
from restante.policy.facts import Facts
from restante.policy.fields import Frozen, Name
from restante.reply import ReplyTo
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

    ``senders`` and ``recipients`` are patterns of addresses; empty means everyone.  ``expires_days`` bounds
    how long a held message waits, ``extend_days`` how much longer its sender may have it kept.  ``deadline_hours``
    bounds how long delivery over TLS is tried before the portal.
    ``always_code`` asks for an access code even where the notice went over TLS; ``code`` is the way that it travels.
    ``enrolled``: where a code would be asked for, a recipient who has set a way to sign in does that instead.
    ``notice = "number"`` makes the notice carry no link; then a code is always asked for.  ``heal`` delivers a message
    that waits unopened after all, once its domain was seen with TLS twice; the worker can then open what so waits.
    ``view_only`` lets the recipient read in the portal and save nothing.  ``reply`` is whom a recipient may write back
    to from the portal.  ``four_eyes`` asks for two reviewers before
    a copy that waits for review may leave.
    """

    name: Name
    when: tuple[Condition, ...] = Field(min_length=1)
    action: Action = Action.PROTECT
    tls: Requirement = Requirement.ENCRYPTED
    otherwise: Otherwise = Otherwise.PORTAL
    senders: tuple[AddressPattern, ...] = ()
    recipients: tuple[AddressPattern, ...] = ()
    always_code: bool = False
    code: Literal[CodeWay.SENDER, CodeWay.SMS, CodeWay.PHRASE] = CodeWay.SENDER
    notice: NoticeForm = NoticeForm.LINK
    enrolled: bool = True
    view_only: bool = False
    reply: ReplyTo = ReplyTo.SENDER
    four_eyes: bool = False
    heal: bool = False
    expires_days: int = Field(default=14, ge=1, le=365)
    extend_days: int = Field(default=14, ge=0, le=365)
    deadline_hours: float = Field(default=24, ge=0, le=120)

    @cached_property
    def _senders(self) -> AddressSet:
        return AddressSet.of(self.senders)

    @cached_property
    def _recipients(self) -> AddressSet:
        return AddressSet.of(self.recipients)

    def match(self, facts: Facts) -> tuple[Finding, ...] | None:
        """The findings that made the rule match, or ``None`` when it does not."""
        envelope, groups = facts.envelope, facts.context.groups
        if self.senders and not self._senders.holds(envelope.sender, groups):
            return None
        if self.recipients and not any(self._recipients.holds(one, groups) for one in envelope.recipients):
            return None
        return next((hits for one in self.when if (hits := one.match(facts)) is not None), None)

    @property
    def expires_after(self) -> timedelta:
        """How long a held message waits for its recipient."""
        return timedelta(days=self.expires_days)

    @property
    def extended_after(self) -> timedelta:
        """How long its sender may have it kept at most."""
        return timedelta(days=self.expires_days + self.extend_days)
