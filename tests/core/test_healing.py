"""Healing in the store: once, not against the recipient, and with a key that goes when the message's goes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from restante.store import holding, links
from restante.store.holding import IllegalTransition
from restante.store.models import DeliveryState, JobKind, Link, LinkState, OutboxJob
from tests.core.stores import NOW, Holder

pytestmark = pytest.mark.behaviour("A7")


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[Holder]:
    made = Holder(f"sqlite:///{tmp_path}/store.db")
    yield made
    made.store.close()


def _held(holder: Holder) -> tuple[str, OutboxJob]:
    """A copy that waits under a rule with ``heal``, with a live link; its delivery id and its job."""
    request = holder.request(("bob@x.example", DeliveryState.HELD))
    request = replace(request, deliveries=tuple(replace(one, heal=True) for one in request.deliveries))
    (delivery,) = holder.deliveries(holder.hold(request))
    assert links.mint_link(holder.store, delivery.id, needs_code=False, new_code=False, now=NOW) is not None
    with holder.store.read() as session:
        return delivery.id, session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.HEAL)).one()


def _heal(holder: Holder, delivery_id: str, job: OutboxJob) -> None:
    assert job.sealed is not None
    holding.heal(holder.store, job.id, delivery_id, job.payload, job.sealed, now=NOW + 1)


def test_a_healed_copy_is_handed_over_once_and_its_link_is_dead(holder: Holder) -> None:
    delivery_id, job = _held(holder)
    _heal(holder, delivery_id, job)
    assert holder.state(delivery_id) == DeliveryState.HANDOVER
    with holder.store.read() as session:
        assert session.scalars(select(Link.state)).all() == [LinkState.REVOKED]
        kinds = session.scalars(select(OutboxJob.kind).order_by(OutboxJob.kind)).all()
    assert kinds.count(JobKind.HANDOVER) == 1
    with pytest.raises(IllegalTransition):
        _heal(holder, delivery_id, job)


@pytest.mark.parametrize("state", [DeliveryState.OPENED, DeliveryState.RECALLED, DeliveryState.DELETED])
def test_who_was_first_wins_and_nothing_is_sent(holder: Holder, state: DeliveryState) -> None:
    delivery_id, job = _held(holder)
    if state is DeliveryState.OPENED:
        with holder.store.write() as session:
            holding.opened(session, delivery_id, now=NOW)
    elif state is DeliveryState.RECALLED:
        holding.recall(holder.store, delivery_id, actor="ann", now=NOW)
    else:
        holding.delete(holder.store, delivery_id, actor="admin:rosa", now=NOW)
    with pytest.raises(IllegalTransition):
        _heal(holder, delivery_id, job)
    assert holder.state(delivery_id) == state
    with holder.store.read() as session:
        assert JobKind.HANDOVER not in session.scalars(select(OutboxJob.kind)).all()


def test_the_workers_key_goes_with_the_messages(holder: Holder) -> None:
    delivery_id, job = _held(holder)
    assert job.sealed is not None
    holding.recall(holder.store, delivery_id, actor="ann", now=NOW)
    with holder.store.read() as session:
        assert session.scalars(select(OutboxJob.sealed).where(OutboxJob.sealed.is_not(None))).all() == []
