"""From a decision to a plan: who is held, who is handed over, who stays with the MTA."""

from __future__ import annotations

import itertools

import pytest

from restante.envelope import Address
from restante.policy import Condition, Otherwise, Rule
from restante.routing import Decision, RecipientDecision, Route
from restante.store.models import DeliveryState
from restante.tls.evidence import Requirement
from restante_milter.plan import Plan, make_plan

NOW = 1_800_000_000.0
RULE = Rule(name="r", when=(Condition(detectors=("*",)),), otherwise=Otherwise.PORTAL, deadline_hours=2)
S = DeliveryState


def _plan(*routes: tuple[Route, Requirement] | Route) -> Plan:
    decisions = []
    for number, one in enumerate(routes):
        route, requirement = one if isinstance(one, tuple) else (one, Requirement.ENCRYPTED)
        recipient = Address(f"r{number}@d{number}.example", f"d{number}.example")
        decisions.append(RecipientDecision(recipient, route, f"reason {number}", requirement, deadline_hours=2))
    return make_plan(Decision(RULE, (), tuple(decisions)), tuple((f"NOTIFY={n}",) for n in range(len(routes))), NOW)


def test_mail_that_no_rule_matched_is_left_alone() -> None:
    relayed = (RecipientDecision(Address("a@b.example", "b.example"), Route.RELAY, ""),)
    assert make_plan(Decision(None, (), relayed), ((),), NOW) == Plan()


def test_where_everybody_goes_by_tls_a_mark_is_enough() -> None:
    plan = _plan(Route.TLS, Route.TLS)
    assert (plan.deliveries, plan.removed, plan.refuse) == ((), (), "")
    assert plan.mark is not None
    assert (plan.mark.otherwise, plan.mark.rule, plan.mark.deadline) == ("portal", "r", NOW + 7200)


def test_who_goes_by_tls_beside_relayed_mail_is_handed_over() -> None:
    plan = _plan(Route.RELAY, Route.TLS, Route.PORTAL)
    assert plan.mark is None
    assert plan.removed == (1, 2)
    assert [row.state for row in plan.deliveries] == [S.LEFT_WITH_MTA, S.HANDOVER, S.HELD]
    assert plan.deliveries[1].parameters == ("NOTIFY=1",)


def test_two_levels_of_tls_are_both_handed_over_each_at_its_own() -> None:
    plan = _plan((Route.TLS, Requirement.ENCRYPTED), (Route.TLS, Requirement.AUTHENTICATED))
    assert plan.mark is None
    assert plan.removed == (0, 1)
    assert [row.handover.requirement for row in plan.deliveries if row.handover] == [
        Requirement.ENCRYPTED,
        Requirement.AUTHENTICATED,
    ]


def test_a_message_that_everybody_is_refused_is_refused_whole() -> None:
    plan = _plan(Route.REJECT, Route.REJECT)
    assert "reason 0; reason 1" in plan.refuse
    assert (plan.deliveries, plan.removed, plan.mark) == ((), (), None)


@pytest.mark.parametrize("routes", [routes for n in (1, 2, 3) for routes in itertools.product(Route, repeat=n)])
def test_every_recipient_has_exactly_one_way(routes: tuple[Route, ...]) -> None:
    plan = _plan(*routes)
    if set(routes) == {Route.REJECT}:
        assert plan.refuse
        return
    ours = {index for index, route in enumerate(routes) if route in {Route.PORTAL, Route.QUARANTINE, Route.REJECT}}
    assert ours <= set(plan.removed)
    for index, route in enumerate(routes):
        stays = index not in plan.removed
        if route is Route.TLS:
            # Never both, and never neither: marked and left with the MTA, or in our hands.
            assert stays == (plan.mark is not None)
        if route is Route.RELAY:
            assert stays
            assert plan.mark is None
    # What is removed from the MTA is written down, and only that is in a state of ours.
    if plan.removed:
        assert len(plan.deliveries) == len(routes)
        kept = {index for index, row in enumerate(plan.deliveries) if row.state is not S.LEFT_WITH_MTA}
        assert kept == set(plan.removed)


def test_a_recipient_named_twice_gets_one_copy_and_is_removed_twice() -> None:
    bob, eve = Address("b@x.example", "x.example"), Address("e@x.example", "x.example")
    decisions = tuple(RecipientDecision(one, Route.PORTAL, "no TLS") for one in (bob, eve, bob))
    plan = make_plan(Decision(RULE, (), decisions), ((), (), ()), NOW)
    assert plan.removed == (0, 1, 2)
    assert [row.recipient for row in plan.deliveries] == ["b@x.example", "e@x.example"]
