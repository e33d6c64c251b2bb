"""What domains publish about themselves binds Postfix: DANE and MTA-STS from signed DNS to the peer's own record."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from restante.store.engine import Store
from restante.tls.tlsa import public_key_info
from tests.core.tls_policy_host import PolicyHost
from tests.e2e.world import HASTY, POLICY, PROVE, World
from tests.lab.certificates import CertificateKind
from tests.lab.dns import Record
from tests.lab.lab import Lab
from tests.lab.netns import Host
from tests.lab.peers import Peer
from tests.lab.services import ServiceOptions

# The lab's resolver is not on the MTA's own host, and its addresses are private.
SETTINGS = {"tls.trust_ad": "yes", "tls.sts_private_addresses": "true"}

Publish = Callable[[Peer, str], None]


@pytest.fixture(scope="module")
def publishing_world() -> Iterator[World]:
    with Lab(peers=(), options=ServiceOptions(policy=POLICY, settings=SETTINGS)) as lab:
        assert lab.services is not None
        store = Store(lab.services.settings.database)
        yield World(lab, lab.services, store)
        store.close()


@pytest.fixture
def world(publishing_world: World) -> Iterator[World]:
    publishing_world.begin()
    yield publishing_world
    publishing_world.end()


def pin(world: World, peer: Peer, digest: str) -> None:
    world.lab.dns.add(Record(f"_25._tcp.{peer.mx}", "TLSA", f"3 1 1 {digest}"))


def digest_of(peer: Peer, kind: CertificateKind) -> str:
    pem = (peer._directory / f"{kind}.pem").read_bytes()
    certificate = x509.load_pem_x509_certificates(pem)[0]
    return hashlib.sha256(public_key_info(certificate.public_bytes(Encoding.DER))).hexdigest()


class Policies:
    """The HTTPS server of one domain's policy, on port 443 of its MX host's namespace."""

    def __init__(self, host: Host, context: ssl.SSLContext, mx: str) -> None:
        self._listener = host.call(lambda: socket.create_server((host.ipv4, 443)))
        self._context, self._mx = context, mx
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._stop = asyncio.Event()
        self._thread.start()

    async def _serve(self) -> None:
        server = PolicyHost(self._context)
        server.policy(self._mx)
        async with server.on(self._listener):
            await self._stop.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()
        self._listener.close()


@pytest.fixture
def enforce(world: World) -> Iterator[Publish]:
    """Publish an MTA-STS policy for a peer."""
    running: list[Policies] = []

    def publish(peer: Peer, mx: str) -> None:
        name = f"mta-sts.{peer.domain}"
        leaf: trustme.LeafCert = world.lab.authority._authority.issue_cert(name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        running.append(Policies(peer.host, context, mx))
        world.lab.dns.add(
            Record(name, "A", peer.host.ipv4), Record(f"_mta-sts.{peer.domain}", "TXT", '"v=STSv1; id=1;"')
        )

    yield publish
    for one in running:
        one.close()


@pytest.mark.behaviour("F6")
def test_a_pinned_certificate_proves_the_peer_to_postfix(world: World) -> None:
    peer = world.peer("tls", certificate=CertificateKind.SELF_SIGNED)
    pin(world, peer, digest_of(peer, CertificateKind.SELF_SIGNED))
    assert "DANE" in world.described(peer.domain)
    world.post(f"bob@{peer.domain}", sender=PROVE)
    (received,) = world.wait_for_mail(peer)
    assert received.tls
    assert f"Verified TLS connection established to {peer.mx}" in world.lab.server.log()


@pytest.mark.behaviour("F6")
def test_a_peer_that_fails_its_pins_gets_nothing_although_any_tls_would_do(world: World) -> None:
    peer = world.peer("tls")
    pin(world, peer, "00" * 32)
    recipient = f"carol@{peer.domain}"
    world.post(recipient, sender=HASTY)
    world.wait_until_held(recipient, seconds=60)
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("F6")
def test_a_host_of_the_policy_that_proves_its_name_gets_its_mail(world: World, enforce: Publish) -> None:
    peer = world.peer("tls")
    enforce(peer, peer.mx)
    assert "MTA-STS" in world.described(peer.domain)
    world.post(f"bob@{peer.domain}", sender=PROVE)
    (received,) = world.wait_for_mail(peer)
    assert received.tls


@pytest.mark.behaviour("F6")
@pytest.mark.parametrize(
    ("kind", "mx"),
    [(CertificateKind.SELF_SIGNED, ""), (CertificateKind.VALID, "mx.elsewhere.example")],
    ids=["cannot prove its name", "is not in the policy"],
)
def test_a_host_that_fails_the_policy_gets_nothing_although_any_tls_would_do(
    world: World, enforce: Publish, kind: CertificateKind, mx: str
) -> None:
    peer = world.peer("tls", certificate=kind)
    enforce(peer, mx or peer.mx)
    recipient = f"carol@{peer.domain}"
    world.post(recipient, sender=HASTY)
    world.wait_until_held(recipient, seconds=60)
    assert world.mails(peer) == []
    world.assert_never_clear()
