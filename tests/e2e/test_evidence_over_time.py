"""What happens when a domain loses its TLS, or gains it while a message waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import select

from restante.store.models import DeliveryState, Link, LinkState, OutboxJob
from tests.e2e.policies import agreed
from tests.e2e.world import SENDER, World, text_of
from tests.lab.services import Service

POSTMASTER = "postmaster@site.example"
HEALING = "healing@site.example"
RULE = f"""
[[rule]]
name = "healing"
heal = true
senders = ["{HEALING}"]
when = [{{ detectors = ["trigger-*"] }}]
"""


@contextmanager
def _settings(world: World, section: str, line: str) -> Iterator[None]:
    path = world.services.settings_path
    before = path.read_text(encoding="utf-8")
    changed = before.replace(f"[{section}]\n", f"[{section}]\n{line}\n", 1)
    assert changed != before
    path.write_text(changed, encoding="utf-8")
    world.services.restart(Service.WORKER)
    try:
        yield
    finally:
        path.write_text(before, encoding="utf-8")
        world.services.restart(Service.WORKER)


@pytest.mark.behaviour("A8")
def test_a_domain_long_seen_with_tls_that_shows_none_is_held_and_alarms_once(world: World) -> None:
    peer = world.seen_with_tls()
    world.services.command("domain", peer.domain, "--recheck")
    peer.behave("clear")
    with _settings(world, "notice", f'postmaster = "{POSTMASTER}"'):
        for name in ("bob", "carol"):
            world.post(f"{name}@{peer.domain}")
            world.wait_until_held(f"{name}@{peer.domain}")
        mailboxes = world.lab.mailboxes
        (told,) = mailboxes.wait_for_mails(1, 30, lambda one: POSTMASTER in one.recipients)
        assert f"- {peer.domain}" in text_of(told)
        world.settle()
    assert world.audit().count("strip-alarm") == 1
    assert world.audit().count("strip-alarm-told") == 1
    assert "strip alarm" in world.services.command("domain", peer.domain, "--no-network").lower()
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("A8")
def test_a_domain_that_never_had_tls_alarms_nobody(world: World) -> None:
    peer = world.peer("clear")
    world.post(f"bob@{peer.domain}")
    world.wait_until_held(f"bob@{peer.domain}")
    world.settle()
    assert "strip-alarm" not in world.audit()


@pytest.mark.behaviour("A7")
def test_a_message_that_waits_unread_goes_out_once_the_domain_has_tls(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"bob@{peer.domain}"
    with agreed(world, RULE), _settings(world, "worker", "heal_seconds = 0.5"):
        world.post(recipient, sender=HEALING)
        held = world.wait_until_held(recipient)
        world.wait_for_notice(recipient)
        peer.behave("tls")
        (received,) = world.wait_for_mail(peer, seconds=30)
        assert (received.tls, received.recipients) == (True, (recipient,))
        world.wait_until_held(recipient, DeliveryState.HANDED_OVER)
        told = world.lab.mailboxes.wait_for_mails(
            1, 20, lambda one: HEALING in one.recipients and "the link to the portal is closed" in text_of(one)
        )
        assert len(told) == 1
        world.settle()
    with world.store.read() as session:
        assert set(session.scalars(select(Link.state).where(Link.delivery_id == held.delivery_id))) == {
            LinkState.REVOKED
        }
        assert session.scalars(select(OutboxJob.sealed).where(OutboxJob.sealed.is_not(None))).all() == []
    assert len(world.mails(peer)) == 1
    world.assert_never_clear()


@pytest.mark.behaviour("A7")
def test_without_healing_the_worker_has_no_key_and_the_message_waits(world: World) -> None:
    peer = world.peer("clear")
    recipient = f"bob@{peer.domain}"
    with _settings(world, "worker", "heal_seconds = 0.5"):
        world.post(recipient, sender=SENDER)
        world.wait_until_held(recipient)
        peer.behave("tls")
        world.settle()
        with world.store.read() as session:
            assert session.scalars(select(OutboxJob.kind).where(OutboxJob.kind == "heal")).all() == []
            assert session.scalars(select(OutboxJob.sealed).where(OutboxJob.sealed.is_not(None))).all() == []
        assert world.mails(peer) == []
