"""From a decision to what is done with each recipient, as a value: what is held, what is handed over, what stays.

Pure.  ``session`` carries a plan out: commit what is held, then tell the MTA.
"""

from __future__ import annotations

from dataclasses import dataclass

from restante.marks import RouteMark
from restante.routing import Decision, RecipientDecision, Route
from restante.store.holding import HandOver, NewDelivery
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
    every recipient that stays with the MTA goes by mandatory TLS, or, where the MTA is asked by recipient, those at
    the positions ``secured``; ``refuse`` holds the reply's text where the whole
    message is refused.
    """

    deliveries: tuple[NewDelivery, ...] = ()
    secured: tuple[int, ...] = ()
    removed: tuple[int, ...] = ()
    mark: RouteMark | None = None
    refuse: str = ""
    requirement: Requirement = Requirement.ENCRYPTED


def make_plan(
    decision: Decision,
    parameters: tuple[tuple[str, ...], ...],
    now: float,
    *,
    by_recipient: bool = False,
    kept_seconds: float = 0.0,
) -> Plan:
    """Turn ``decision`` into a plan; ``parameters`` are each recipient's ESMTP parameters, in envelope order.

    The routing header moves *all* recipients that are left to the TLS transport.  So where some recipients stay on
    the ordinary way, or two need different TLS levels, ways out or next hops, those that need TLS are taken into the
    store and handed over by the worker instead.  ``by_recipient`` tells of an MTA that is asked for TLS by recipient:
    there those that stay on the ordinary way need no split.  ``kept_seconds`` is how long the sender wishes a copy to
    wait that is held only later; 0 means as the rule says.
    """
    rule = decision.rule
    if rule is None:
        return Plan()
    rejected = decision.routed(Route.REJECT)
    if len(rejected) == len(decision.recipients):
        return Plan(refuse=_refusal(rejected))
    tls = decision.routed(Route.TLS)
    ways = {(one.requirement, one.otherwise, one.deadline_hours, one.next_hop) for one in tls}
    mixed = bool(decision.routed(Route.RELAY)) and not by_recipient
    split = bool(tls) and (mixed or len(ways) > 1 or bool(tls[0].next_hop))
    rows = tuple(
        (index, _new_delivery(one, parameters[index], now, split=split, heal=rule.heal))
        for index, one in enumerate(decision.recipients)
    )
    removed = tuple(index for index, row in rows if row.state is not DeliveryState.LEFT_WITH_MTA)
    # A recipient that the client named twice gets one copy, and is removed twice.
    once = {row.recipient: row for _, row in reversed(rows)}
    mark = None
    if tls and not split:
        deadline = now + tls[0].deadline_hours * 3600
        mark = RouteMark.fresh(tls[0].requirement, tls[0].otherwise, rule.name, deadline, kept_seconds)
    stays = () if split or not by_recipient else tls
    return Plan(
        secured=tuple(index for index, one in enumerate(decision.recipients) if one in stays),
        deliveries=tuple(row for index, row in rows if once[row.recipient] is row) if removed else (),
        removed=removed,
        mark=mark,
        requirement=max((one.requirement for one in tls), key=_strictness, default=rule.tls),
    )


def _strictness(requirement: Requirement) -> int:
    return int(requirement is Requirement.AUTHENTICATED)


def _new_delivery(
    one: RecipientDecision, parameters: tuple[str, ...], now: float, *, split: bool, heal: bool
) -> NewDelivery:
    if one.route is Route.TLS:
        state = DeliveryState.HANDOVER if split else DeliveryState.LEFT_WITH_MTA
    else:
        state = _HELD_AS.get(one.route, DeliveryState.LEFT_WITH_MTA)
    return NewDelivery(
        recipient=one.recipient.text,
        domain=one.recipient.domain,
        route=one.route,
        state=state,
        reason=one.reason,
        parameters=parameters,
        # Without evidence the portal was chosen by agreement, and stays the way.
        heal=heal and one.route is Route.PORTAL and one.evidence is not None,
        handover=HandOver(one.requirement, one.otherwise, now + one.deadline_hours * 3600, one.next_hop),
    )


def _refusal(rejected: tuple[RecipientDecision, ...]) -> str:
    return "Sensitive message not sent: " + "; ".join(sorted({one.reason for one in rejected}))[:400]
