"""Sensitive mail goes out under TLS or not at all: what real peers received from a real Postfix."""

from __future__ import annotations

import pytest

from tests.e2e.world import World


@pytest.mark.behaviour("F1")
def test_smoke(world: World) -> None:
    peer = world.peer("tls")
    world.post(f"bob@{peer.domain}")
    (received,) = world.wait_for_mail(peer)
    print(received.content.decode())
    assert received.tls_version == "TLSv1.3"
    world.assert_never_clear()
    p2 = world.peer("clear")
    world.post(f"bob@{p2.domain}")
    h = world.wait_until_held(f"bob@{p2.domain}")
    print(world.content_of(h).decode())
    n = world.wait_for_notice(f"bob@{p2.domain}")
    print(n.content.decode())
    n = world.wait_for_notice("ann@site.example")
    print(n.content.decode())
    world.settle()
