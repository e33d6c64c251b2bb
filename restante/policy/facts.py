"""What rules can ask of one message: findings, envelope, circumstances, and what is known of its recipients."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Protocol

from restante.classify.finding import Classification
from restante.envelope import Address, Envelope
from restante.policy.addresses import AddressSet
from restante.policy.freemail import freemail_domains
from restante.policy.lookalike import resembles
from restante.policy.packs import Named


class Direction(StrEnum):
    """Where a message goes.  One recipient elsewhere makes it outgoing."""

    OUTGOING = "outgoing"
    INTERNAL = "internal"
    INBOUND = "inbound"


class Acquaintances(Protocol):
    """Whom this site has written to before (:class:`restante.store.correspondents.Correspondents`)."""

    def wrote(self, sender: Address, recipients: Collection[Address]) -> bool:
        """Whether ``sender`` has written to every one of ``recipients`` before."""

    def mistaken(self, domains: Collection[str]) -> frozenset[str]:
        """Those of ``domains`` that are not frequent themselves and look like one that is."""


class Strangers:
    """Acquaintances of a site that learns none: nobody was ever written to, and no domain is frequent."""

    def wrote(self, _sender: Address, _recipients: Collection[Address]) -> bool:
        """Nobody was."""
        return False

    def mistaken(self, _domains: Collection[str]) -> frozenset[str]:
        """There is nothing to mistake a domain for."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is true at the moment of sending.  ``at`` has a time zone."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    acquaintances: Acquaintances = field(default_factory=Strangers)


@dataclass(frozen=True)
class Context:
    """What the policy itself knows: what findings are called, groups, and which domains are whose.

    ``agreed`` are the domains with an entry of their own, ``internal`` those of this site.
    """

    named: Named = field(default_factory=Named)
    groups: Mapping[str, AddressSet] = field(default_factory=dict)
    internal: frozenset[str] = frozenset()
    agreed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Facts:
    """One message as rules see it.  What costs something is worked out when the first rule asks."""

    classification: Classification
    envelope: Envelope
    context: Context
    circumstances: Circumstances = field(default_factory=Circumstances)

    @cached_property
    def outside(self) -> tuple[Address, ...]:
        """The recipients that are not of this site."""
        return tuple(one for one in self.envelope.recipients if not one.stays_here(self._is_internal))

    def _is_internal(self, domain: str) -> bool:
        return domain in self.context.internal

    @property
    def recipients(self) -> int:
        """How many recipients there are."""
        return len(self.envelope.recipients)

    @cached_property
    def direction(self) -> Direction:
        """Where the message goes."""
        if self.outside:
            return Direction.OUTGOING
        return Direction.INTERNAL if self.envelope.sender.stays_here(self._is_internal) else Direction.INBOUND

    @cached_property
    def to_freemail(self) -> bool:
        """Whether some recipient's mailbox is one that anybody can have."""
        return any(one.domain in freemail_domains() for one in self.outside)

    @cached_property
    def first_contact(self) -> bool:
        """Whether some recipient elsewhere was never written to by this sender."""
        sender = self.envelope.sender
        return bool(self.outside) and not self.circumstances.acquaintances.wrote(sender, self.outside)

    @cached_property
    def to_lookalike(self) -> bool:
        """Whether some recipient's domain can be taken for an agreed, internal or frequent one, and is none."""
        known = self.context.agreed | self.context.internal
        strange = {one.domain for one in self.outside if one.domain} - known - freemail_domains()
        if any(resembles(domain, known) for domain in strange):
            return True
        return bool(strange) and bool(self.circumstances.acquaintances.mistaken(strange))
