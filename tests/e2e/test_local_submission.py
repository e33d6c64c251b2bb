"""Mail that programs on the MTA's own host hand to sendmail(1) is outgoing mail like any other."""

from __future__ import annotations

import subprocess

import pytest

from restante.store.models import DeliveryState
from tests.e2e.world import SENDER, World
from tests.lab.services import Service


def hand_to_sendmail(world: World, content: bytes, *recipients: str) -> None:
    """What a program on the host does: sendmail -i -f SENDER RECIPIENT..."""
    argv = ["/usr/sbin/sendmail", "-C", str(world.lab.postfix.config), "-i", "-f", SENDER, "--", *recipients]
    subprocess.run(world.lab.mta.argv(argv), input=content, check=True, timeout=30)


@pytest.mark.behaviour("F3")
def test_a_sensitive_message_from_sendmail_is_held(world: World) -> None:
    message = world.sensitive("b@clear.example", "c@tls.example")
    hand_to_sendmail(world, message.as_bytes(), "b@clear.example", "c@tls.example")
    world.wait_until_held("b@clear.example")
    assert len(world.wait_for_mail(world.lab.peer("tls"))) == 1
    world.settle()
    world.assert_never_clear()


@pytest.mark.behaviour("O2")
def test_an_ordinary_message_from_sendmail_goes_out(world: World) -> None:
    hand_to_sendmail(world, world.ordinary("b@clear.example").as_bytes(), "b@clear.example")
    assert not world.wait_for_mail(world.lab.peer("clear"))[0].tls


@pytest.mark.behaviour("N1")
def test_sendmail_mail_waits_while_the_milter_is_down(world: World) -> None:
    world.services.stop(Service.MILTER)
    try:
        hand_to_sendmail(world, world.sensitive("b@clear.example").as_bytes(), "b@clear.example")
        world.lab.postfix.wait_for_log(r"milter.*(?:tempfail|451|Service unavailable|try again)")
        assert world.held() == []
    finally:
        world.services.start(Service.MILTER)
    world.lab.postfix.kick_pickup()
    world.wait_until_held("b@clear.example", DeliveryState.HELD, 60)
    world.settle()
    world.assert_never_clear()
