"""From a decision to what is done with each recipient, as a value: what is held, what is handed over, what stays.

Pure.  ``session`` carries a plan out: commit what is held, then tell the MTA.
"""

from __future__ import annotations

from dataclasses import dataclass

from restante.marks import RouteMark
from restante.routing import Decision, RecipientDecision, Route
from restante.store.holding import NewDelivery
from restante.store.models import DeliveryState
from restante.tls.evidence import Requirement

_HELD_AS = {
    Route.PORTAL: DeliveryState.HELD,
    Route.QUARANTINE: DeliveryState.QUARANTINED,
    Route.REJECT: DeliveryState.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one message.

    ``deliveries`` goes to the store, and so do the recipients at the positions ``removed``; ``mark`` is set where
    every recipient that stays with the MTA goes by mandatory TLS; ``refuse`` holds the reply's text where the whole
    message is refused.
    """

    deliveries: tuple[NewDelivery, ...] = ()
    removed: tuple[int, ...] = ()
    mark: RouteMark | None = None
    refuse: str = ""
    requirement: Requirement = Requirement.ENCRYPTED


def make_plan(decision: Decision, parameters: tuple[tuple[str, ...], ...], now: float) -> Plan:
    """Turn ``decision`` into a plan; ``parameters`` are each recipient's ESMTP parameters, in envelope order.

    The routing header moves *all* recipients that are left to the TLS transport.  So where some recipients stay on
    the ordinary way, or two need different TLS levels, those that need TLS are taken into the store and handed over
    by the worker instead.
    """
    rule = decision.rule
    if rule is None:
        return Plan()
    rejected = decision.routed(Route.REJECT)
    if len(rejected) == len(decision.recipients):
        return Plan(refuse=_refusal(rejected))
    tls = decision.routed(Route.TLS)
    levels = {one.requirement for one in tls}
    split = bool(tls) and (bool(decision.routed(Route.RELAY)) or len(levels) > 1)
    rows = tuple(
        (index, _new_delivery(one, parameters[index], split=split)) for index, one in enumerate(decision.recipients)
    )
    removed = tuple(index for index, row in rows if row.state is not DeliveryState.LEFT_WITH_MTA)
    mark = None
    if tls and not split:
        deadline = now + rule.deadline_hours * 3600
        mark = RouteMark.fresh(tls[0].requirement, rule.otherwise, rule.name, deadline)
    return Plan(
        deliveries=tuple(row for _, row in rows) if removed else (),
        removed=removed,
        mark=mark,
        requirement=max(levels, key=_strictness, default=rule.tls),
    )


def _strictness(requirement: Requirement) -> int:
    return int(requirement is Requirement.AUTHENTICATED)


def _new_delivery(one: RecipientDecision, parameters: tuple[str, ...], *, split: bool) -> NewDelivery:
    if one.route is Route.TLS:
        state = DeliveryState.HANDOVER if split else DeliveryState.LEFT_WITH_MTA
    else:
        state = _HELD_AS.get(one.route, DeliveryState.LEFT_WITH_MTA)
    return NewDelivery(
        one.recipient.text, one.recipient.domain, one.route, state, one.reason, parameters, one.requirement
    )


def _refusal(rejected: tuple[RecipientDecision, ...]) -> str:
    return "Sensitive message not sent: " + "; ".join(sorted({one.reason for one in rejected}))[:400]
