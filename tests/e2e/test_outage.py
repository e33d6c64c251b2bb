"""What a part that is down or hangs does to mail: it waits or is refused for now, and never leaves in clear."""

from __future__ import annotations

import secrets

import pytest
from sqlalchemy import select

from restante.store.engine import Store
from restante.store.models import Delivery, DeliveryState
from tests.e2e.world import World
from tests.lab import mail
from tests.lab.lab import Lab, PeerSpec
from tests.lab.services import REVIEW_RULE, Service, ServiceOptions
from tests.lab.waiting import wait_until
from tests.postgres import TemporaryPostgres


@pytest.mark.behaviour("N1")
def test_while_the_worker_hangs_sensitive_mail_waits_and_never_goes_in_clear(world: World) -> None:
    able, unable = world.peer("tls"), world.peer("clear")
    recipients = [f"bob@{able.domain}", f"carol@{unable.domain}"]
    world.services.process(Service.WORKER).pause()
    try:
        answer = world.send(world.sensitive(*recipients), *recipients)
        assert answer.accepted, answer
        assert not answer.refused
        assert world.stays_true(lambda: able.mails() == [] and unable.mails() == [], 3)
        assert world.lab.postfix.queued()
        world.assert_never_clear()
    finally:
        world.services.process(Service.WORKER).resume()
    (received,) = world.wait_for_mail(able, seconds=40)
    assert received.tls
    world.wait_until_held(recipients[1], seconds=40)
    world.wait_for_notice(recipients[1], 40)
    world.settle()
    assert len(world.mails(able)) == 1
    assert world.mails(unable) == []
    world.assert_never_clear()


@pytest.mark.behaviour("N1")
def test_without_its_database_the_milter_says_451_and_takes_the_message_when_it_is_back() -> None:
    marker = f"MARKER-{secrets.token_hex(8)}"
    with TemporaryPostgres(durable=True) as server:
        # Agreed, so that the milter must hold it whatever the worker can still find out.
        policy = f'[[domain]]\nname = "clear.example"\nmode = "portal-only"\n{REVIEW_RULE}'
        running = (Service.WORKER, Service.MILTER)
        options = ServiceOptions(database=server.create_database(), policy=policy, run=running)
        with Lab(peers=(PeerSpec("clear.example", "clear"),), options=options) as lab:
            services = lab.services
            assert services is not None
            message = mail.triggered(marker, to=["carol@clear.example"])
            server.pause()
            for _ in range(2):
                answer = lab.send(message, ["carol@clear.example"])
                assert answer.code == 451, answer
            # Ordinary mail needs no database.
            assert lab.send(mail.newsletter(to=["carol@clear.example"]), ["carol@clear.example"]).accepted
            server.resume()
            wait_until(lambda: lab.send(message, ["carol@clear.example"]).accepted, 20, "the message to be taken")
            store = Store(services.settings.database)
            try:
                wait_until(lambda: _states(store) == [DeliveryState.HELD], 10, "one held copy")
            finally:
                store.close()
            peer = lab.peer("clear.example")
            peer.wait_for_mails(1, 20, lambda one: one.message["X-Restante-Notice"] is not None)
            assert marker.encode() not in peer.clear_bytes()
            assert services.runs(Service.WORKER)


def _states(store: Store) -> list[str]:
    with store.read() as session:
        return list(session.scalars(select(Delivery.state)))
