"""What one MX host shows, peer behaviour by peer behaviour, over real sockets."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante.tls.evidence import Level, MxEvidence
from restante.tls.mx import MxHost
from restante.tls.probe import BadTrustStore, HostLook, HostProber, ProbeSettings
from tests.core import tls_peers as peers
from tests.core.tls_peers import NAME, Behaviour, Certificates, Peer, free_port, says

GREETING = b"220 peer.test ESMTP\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("ca"))


def probe_settings(ca_file: Path | None, port: int) -> ProbeSettings:
    return ProbeSettings(
        "mail.our.test",
        connect_timeout=1,
        banner_timeout=1,
        total_timeout=2,
        port=port,
        ca_file=ca_file,
        confirm_pause=0.02,
    )


async def look_at(peer: Peer, ca_file: Path, *, confirm: bool = False, host: MxHost | None = None) -> HostLook:
    prober = HostProber(probe_settings(ca_file, peer.port))
    async with peer:
        look = await prober.look(host or MxHost(NAME, 10, (peer.address,)), peer.port, confirm=confirm)
    await prober.close()
    return look


Make = Callable[[Certificates], Behaviour]

TABLE: dict[str, tuple[Make, Level, str]] = {
    "certificate verifies": (lambda c: peers.tls(c.valid()), Level.PKIX, "verified"),
    "banner drips slowly": (lambda c: peers.slow(c.valid()), Level.PKIX, "verified"),
    "untrusted chain": (lambda c: peers.tls(c.untrusted()), Level.ENCRYPTED, "without a verifiable certificate"),
    "expired certificate": (lambda c: peers.tls(c.expired()), Level.ENCRYPTED, "without a verifiable certificate"),
    "wrong name": (lambda c: peers.tls(c.misnamed()), Level.ENCRYPTED, "without a verifiable certificate"),
    "weak key": (lambda c: peers.tls(c.weak()), Level.ENCRYPTED, "without a verifiable certificate"),
    "only TLS 1.1": (lambda c: peers.tls(c.old()), Level.NONE, "TLS handshake"),
    "only anonymous ciphers": (lambda c: peers.tls(c.anonymous()), Level.NONE, "TLS handshake"),
    "client certificate demanded, TLS 1.3": (
        lambda c: peers.refuses_client(c.demanding(ssl.TLSVersion.TLSv1_3)),
        Level.UNKNOWN,
        "TLS failed after the handshake: tlsv13 alert certificate required",
    ),
    "client certificate demanded, TLS 1.2": (
        lambda c: peers.refuses_client(c.demanding(ssl.TLSVersion.TLSv1_2)),
        Level.NONE,
        "TLS handshake failed: ",
    ),
    "hangs up after the handshake": (
        lambda c: peers.tls_then(c.valid(), b""),
        Level.UNKNOWN,
        "after the TLS handshake: peer closed",
    ),
    "falls silent after the handshake": (
        lambda c: peers.tls_then(c.valid(), b"", then_close=False),
        Level.UNKNOWN,
        "too long altogether",
    ),
    "EHLO cut off under TLS": (
        lambda c: peers.tls_then(c.valid(), b"250-peer.test\r\n250-SI"),
        Level.UNKNOWN,
        "after the TLS handshake: peer closed",
    ),
    "noise under TLS": (
        lambda c: peers.tls_then(c.valid(), b"\x16\x03\n"),
        Level.UNKNOWN,
        "after the TLS handshake: not an SMTP reply",
    ),
    "EHLO refused under TLS": (lambda c: peers.tls_then(c.valid(), b"421 busy\r\n"), Level.PKIX, "verified"),
    "no STARTTLS": (lambda _: says(GREETING, peers.EHLO_PLAIN), Level.NONE, "does not offer STARTTLS"),
    "STARTTLS only in the greeting line": (
        lambda _: says(GREETING, b"250-STARTTLS\r\n250 SIZE\r\n"),
        Level.NONE,
        "does not offer STARTTLS",
    ),
    "STARTTLS overwritten": (lambda _: says(GREETING, b"250-p\r\n250 XXXXXXXA\r\n"), Level.NONE, "does not offer"),
    "EHLO not known": (lambda _: says(GREETING, b"500 what?\r\n"), Level.NONE, "does not know EHLO"),
    "STARTTLS refused for good": (lambda _: says(GREETING, peers.EHLO, b"502 no\r\n"), Level.NONE, "refuses it"),
    "plain text injected": (lambda _: peers.injects, Level.NONE, "injected"),
    "garbage instead of a handshake": (lambda _: peers.garbage_in_handshake, Level.NONE, "TLS handshake"),
    "hangs up in the handshake": (lambda _: peers.closes_in_handshake, Level.NONE, "broke off"),
    "stalls in the handshake": (lambda _: peers.stalls_in_handshake, Level.UNKNOWN, "too long altogether"),
    "STARTTLS refused for now": (lambda _: says(GREETING, peers.EHLO, b"454 later\r\n"), Level.UNKNOWN, "454 later"),
    "rate limit": (lambda _: says(b"421 slow down\r\n"), Level.UNKNOWN, "421 slow down"),
    "blocklisted": (lambda _: says(b"554 no service\r\n"), Level.UNKNOWN, "554 no service"),
    "421 to EHLO": (lambda _: says(GREETING, b"421 closing\r\n"), Level.UNKNOWN, "421 closing"),
    "EHLO refused by policy": (lambda _: says(GREETING, b"550 not you\r\n"), Level.UNKNOWN, "550 not you"),
    "truncated EHLO": (lambda _: says(GREETING, b"250-peer.test\r\n250-SI", then_close=True), Level.UNKNOWN, "closed"),
    "code changes in EHLO": (lambda _: says(GREETING, b"250-p\r\n451 x\r\n"), Level.UNKNOWN, "changes its code"),
    "hangs up at once": (lambda _: peers.hangs_up, Level.UNKNOWN, "closed"),
    "never greets": (lambda _: peers.silent, Level.UNKNOWN, "no greeting in time"),
    "greets with garbage": (lambda _: says(b"\x16\x03\x01\x00\xff\n"), Level.UNKNOWN, "not an SMTP reply"),
    "endless EHLO": (lambda _: peers.endless_ehlo, Level.UNKNOWN, "too long"),
    "endless line": (lambda _: peers.endless_line, Level.UNKNOWN, "too long"),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_behaviour_has_its_level(name: str, certificates: Certificates) -> None:
    make, level, reason = TABLE[name]
    peer = Peer("127.0.0.11", free_port(), make(certificates))

    evidence = asyncio.run(look_at(peer, certificates.ca_file)).evidence

    assert (evidence.level, evidence.reachable) == (level, True), evidence
    assert reason in evidence.reason
    assert not [command for command in peer.commands if command.upper().startswith(("MAIL", "RCPT", "DATA", "HELO"))]
    assert {command for command in peer.commands if command.startswith("EHLO")} <= {"EHLO mail.our.test"}


def test_a_good_peer_sees_sni_a_goodbye_and_one_connection(certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.tls(certificates.valid()))
    evidence = asyncio.run(look_at(peer, certificates.ca_file, confirm=True)).evidence
    assert peer.commands == ["EHLO mail.our.test", "STARTTLS", "EHLO mail.our.test", "QUIT"]
    assert (peer.server_names, peer.connections) == ([NAME], 1)
    assert (evidence.tls_version, evidence.address, evidence.certificate) == ("TLSv1.3", "127.0.0.11", "verified")
    assert evidence.cipher


@pytest.mark.parametrize(
    ("context", "words"),
    [("untrusted", "unable to get local issuer"), ("expired", "expired"), ("misnamed", "Hostname mismatch")],
)
def test_a_bad_certificate_is_named_and_the_cipher_still_known(
    context: str, words: str, certificates: Certificates
) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.tls(getattr(certificates, context)()))
    evidence = asyncio.run(look_at(peer, certificates.ca_file)).evidence
    assert words in evidence.certificate
    assert evidence.tls_version == "TLSv1.3"


def test_a_no_is_looked_at_twice_before_it_counts(certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), says(GREETING, peers.EHLO_PLAIN))
    look = asyncio.run(look_at(peer, certificates.ca_file, confirm=True))
    assert (look.evidence.level, look.confirmed, peer.connections) == (Level.NONE, True, 2)


def test_a_no_that_does_not_repeat_is_not_confirmed(certificates: Certificates) -> None:
    ordinary = peers.tls(certificates.valid())

    async def at_first_without(session: peers.Session) -> None:
        await (says(GREETING, peers.EHLO_PLAIN) if session.peer.connections == 1 else ordinary)(session)

    peer = Peer("127.0.0.11", free_port(), at_first_without)
    look = asyncio.run(look_at(peer, certificates.ca_file, confirm=True))
    assert (look.evidence.level, look.confirmed) == (Level.PKIX, False)


def test_the_next_address_is_tried_when_one_refuses(certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.tls(certificates.valid()))
    host = MxHost(NAME, 10, ("127.0.0.99", "127.0.0.11"))
    evidence = asyncio.run(look_at(peer, certificates.ca_file, host=host)).evidence
    assert (evidence.level, evidence.address) == (Level.PKIX, "127.0.0.11")


def test_refused_everywhere_is_not_reachable(certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.silent)
    host = MxHost(NAME, 10, ("127.0.0.98", "127.0.0.99"))
    evidence = asyncio.run(look_at(peer, certificates.ca_file, host=host)).evidence
    assert (evidence.level, evidence.reachable) == (Level.UNKNOWN, False)
    assert "refused" in evidence.reason.lower()


def test_an_address_literal_proves_no_name(certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.tls(certificates.valid()))
    host = MxHost("127.0.0.11", 0, ("127.0.0.11",))
    evidence = asyncio.run(look_at(peer, certificates.ca_file, host=host)).evidence
    assert (evidence.level, peer.server_names) == (Level.ENCRYPTED, [None])


@pytest.mark.parametrize("name", ["_odd_.peer.test", "-.test", "a" * 80 + ".test", "x..test"])
def test_an_odd_host_name_is_a_value_not_an_exception(name: str, certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.tls(certificates.valid()))
    evidence = asyncio.run(look_at(peer, certificates.ca_file, host=MxHost(name, 0, ("127.0.0.11",)))).evidence
    assert evidence.level in {Level.ENCRYPTED, Level.UNKNOWN}


def test_simultaneous_questions_share_one_connection(certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.tls(certificates.valid()))

    async def scenario() -> list[HostLook]:
        prober = HostProber(probe_settings(certificates.ca_file, peer.port))
        host = MxHost(NAME, 10, (peer.address,))
        async with peer:
            return await asyncio.gather(*(prober.look(host, peer.port, confirm=True) for _ in range(50)))

    looks = asyncio.run(scenario())
    assert {look.evidence.level for look in looks} == {Level.PKIX}
    assert peer.connections == 1


def test_a_trust_store_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    async def build() -> None:
        HostProber(probe_settings(tmp_path / "missing.pem", 25))

    with pytest.raises(BadTrustStore, match=r"missing\.pem"):
        asyncio.run(build())


FRAGMENTS = st.sampled_from(
    [
        b"220 hi\r\n",
        b"220-",
        b"250-x\r\n",
        b"250 STARTTLS\r\n",
        b"250 SIZE\r\n",
        b"421 no\r\n",
        b"220 go\r\n",
        b"\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x03\x00\x7a",
        b"250",
        b"\x00",
        b"999 x\r\n",
        b"-" * 5000,
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(st.one_of(FRAGMENTS, st.binary(max_size=200)), min_size=1, max_size=6))
def test_no_bytes_of_a_peer_raise_hang_or_look_like_tls(said: list[bytes], certificates: Certificates) -> None:
    peer = Peer("127.0.0.11", free_port(), peers.blurts(*said))
    started = time.monotonic()
    evidence: MxEvidence = asyncio.run(look_at(peer, certificates.ca_file)).evidence
    assert evidence.level in {Level.NONE, Level.UNKNOWN}
    assert time.monotonic() - started < 5
