"""Erasure and the sender's wish for it, through the real services: a backup of the database that is put back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from restante.store.models import Base, Blob, Delivery, DeliveryState, Epoch, Erasure, Message
from restante.vault import CannotOpen
from tests.e2e.test_held import Waiting, assert_opens, visitor
from tests.e2e.world import World
from tests.lab.services import Service
from tests.lab.waiting import wait_until

DAY = 86_400.0


def _copied(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.mark.behaviour("P12")
def test_a_backup_that_is_put_back_opens_what_lives_and_nothing_that_has_expired(world: World, tmp_path: Path) -> None:
    # The lab empties its tables between tests; the worker finds that there is no epoch, and opens one.
    wait_until(lambda: _count(world, Epoch), 30, "an epoch to seal to")
    peer = world.peer("clear")
    gone, living = Waiting(world, f"carol@{peer.domain}"), Waiting(world, f"dave@{peer.domain}")
    with world.store.read() as session:
        assert None not in session.scalars(select(Blob.epoch_id)).all()
    database = Path(world.services.settings.database.removeprefix("sqlite:///"))
    _copied(database, tmp_path / "backup.db")
    with world.store.write() as session:
        its_message = select(Delivery.message_id).where(Delivery.recipient == gone.recipient)
        session.execute(update(Message).where(Message.id.in_(its_message)).values(expires_at=1.0))
    world.services.restart(Service.WORKER)  # it looks for what has expired at its start and then every minute
    world.wait_until_held(gone.recipient, DeliveryState.EXPIRED)
    wait_until(lambda: not _count(world, Erasure), 30, "the worker to take the share out of the ring")
    world.services.stop()
    _copied(tmp_path / "backup.db", database)
    world.services.start()
    held = world.wait_until_held(gone.recipient)  # so the database says
    with pytest.raises(CannotOpen):
        world.content_of(held)
    answer = visitor(world).open(gone.token, gone.code)
    assert answer.status == 503
    assert world.marker not in answer.text
    assert_opens(world, living)


def _count(world: World, table: type[Base]) -> int:
    with world.store.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


@pytest.mark.behaviour("P10")
def test_the_senders_wish_holds_where_tls_fails_after_the_message_left(world: World) -> None:
    peer = world.seen_with_tls()
    recipient = f"carol@{peer.domain}"
    peer.behave("clear")
    message = world.sensitive(recipient)
    message["X-Restante-Expire"] = "2d"
    assert world.send(message, recipient).accepted
    held = world.wait_until_held(recipient)
    with world.store.read() as session:
        found = session.get_one(Message, held.message_id)
    assert found.expires_at - found.created_at == pytest.approx(2 * DAY, abs=1)
    assert b"X-Restante-Expire" not in world.content_of(held)
    world.settle()
    world.assert_never_clear()
