"""DANE: signed zones, a validating resolver, peers with certificates; and every way in which it can fall short."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from restante.settings import TlsSettings
from restante.tls import tlsa, verdict
from restante.tls.evidence import Ability, Evidence, Level, Published, Requirement
from restante.tls.from_settings import verdict_engine
from restante.tls.report import describe
from restante.tls.resolve import Records, Resolver, Tlsa
from restante.tls.trust import ResolverTrust, Trust
from restante.tls.trust_mode import TrustAd
from tests.core import tls_peers as peers
from tests.core.signed_dns import SignedDns
from tests.core.tls_dns import FaultyDns
from tests.core.tls_peers import Behaviour, Certificates, Peer, free_port, plain

PORT = free_port()
NOW = time.time()


def issue(
    name: str,
    issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
    *,
    ca: bool = False,
    days: int = 1,
    pathlen: int | None = None,
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate for ``name``, self-signed or under ``issuer``; with negative ``days`` it has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    builder = (
        x509.CertificateBuilder(issuer[0].subject if issuer else subject, subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - dt.timedelta(days=30))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=pathlen), critical=True)
    )
    if not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def pin(certificate: x509.Certificate, usage: int = 3, selector: int = 1, matching: int = 1) -> Tlsa:
    data = spki(certificate) if selector else der(certificate)
    return Tlsa(usage, selector, matching, {0: data, 1: sha(data, 256), 2: sha(data, 512)}[matching])


def sha(data: bytes, bits: int) -> bytes:
    return hashlib.new(f"sha{bits}", data).digest()


def text(record: Tlsa) -> str:
    return f"{record.usage} {record.selector} {record.matching} {record.data.hex()}"


ROOT = issue("Root of the peers", ca=True)
MIDDLE = issue("Middle", ROOT, ca=True)
LEAF = issue("mx.d.test", MIDDLE)
SELF = issue("unrelated.example")
CHAIN = [der(LEAF[0]), der(MIDDLE[0]), der(ROOT[0])]
NAMES = ("mx.d.test", "d.test")


# --- records against chains ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize(("usage", "pinned"), [(3, 0), (2, 1), (2, 2)], ids=["leaf", "issuer", "root"])
def test_every_usage_selector_and_matching_type(usage: int, pinned: int, selector: int, matching: int) -> None:
    certificates = [LEAF[0], MIDDLE[0], ROOT[0]]
    right = tlsa.usable([pin(certificates[pinned], usage, selector, matching)])
    wrong = tlsa.usable([pin(SELF[0], usage, selector, matching)])
    assert len(right) == len(wrong) == 1
    assert tlsa.match(CHAIN, right, NAMES, NOW).matched
    assert not tlsa.match(CHAIN, wrong, NAMES, NOW).matched
    assert tlsa.match(CHAIN, [*wrong, *right], NAMES, NOW).matched


def under(issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> list[bytes]:
    return [der(issue("mx.d.test", issuer)[0]), der(issuer[0])]


NOT_A_CA = issue("mx.e.test", ROOT)
EXPIRED = issue("mx.d.test", MIDDLE, days=-1)
EXPIRED_CA = issue("Expired", ROOT, ca=True, days=-1)
NO_MORE_CAS = issue("No more", ROOT, ca=True, pathlen=0)
BELOW_NO_MORE = issue("One more", NO_MORE_CAS, ca=True)
ANCHORS = {
    "the anchor left out": ([der(LEAF[0])], pin(MIDDLE[0], 2), False),
    "the anchor left out, but whole in DNS": ([der(LEAF[0])], pin(MIDDLE[0], 2, 0, 0), True),
    "the anchor left out, but its key in DNS": ([der(LEAF[0])], pin(MIDDLE[0], 2, 1, 0), True),
    "the chain in disorder": ([CHAIN[0], CHAIN[2], CHAIN[1]], pin(ROOT[0], 2), True),
    "an expired certificate": ([der(EXPIRED[0]), CHAIN[1]], pin(MIDDLE[0], 2), False),
    "an expired certificate, pinned itself": ([der(EXPIRED[0])], pin(EXPIRED[0]), True),
    "an expired issuer": (under(EXPIRED_CA), pin(EXPIRED_CA[0], 2), False),
    "an issuer that is no authority": ([*under(NOT_A_CA)], pin(NOT_A_CA[0], 2), False),
    "a path longer than allowed": (
        [*under(BELOW_NO_MORE), der(NO_MORE_CAS[0]), CHAIN[2]],
        pin(ROOT[0], 2),
        False,
    ),
    "the anchor beside the chain, not above it": ([der(SELF[0]), CHAIN[1]], pin(MIDDLE[0], 2), False),
    "the peer's own certificate as anchor": (CHAIN, pin(LEAF[0], 2), False),
}


@pytest.mark.parametrize("case", ANCHORS)
def test_a_trust_anchor_must_really_be_above_the_certificate(case: str) -> None:
    chain, record, expected = ANCHORS[case]
    assert tlsa.match(chain, tlsa.usable([record]), ("unrelated.example", *NAMES), NOW).matched is expected


def test_below_an_anchor_the_name_counts_and_for_the_pinned_certificate_it_does_not() -> None:
    assert not tlsa.match(CHAIN, [pin(MIDDLE[0], 2)], ("mx.other.test", "192.0.2.1"), NOW).matched
    assert tlsa.match(CHAIN, [pin(LEAF[0])], ("mx.other.test",), NOW).matched


NAME_CASES = {
    ("mx.d.test", "MX.D.test."): True,
    ("*.d.test", "mx.d.test"): True,
    ("*.d.test", "d.test"): False,
    ("*.d.test", "a.mx.d.test"): False,
    ("m*.d.test", "mx.d.test"): False,
    ("*.test", "d.test"): False,
    ("*.*.test", "a.*.test"): False,
    ("*", "test"): False,
    ("", ""): False,
}


@pytest.mark.parametrize(("pattern", "name"), NAME_CASES)
def test_a_wildcard_is_one_whole_label(pattern: str, name: str) -> None:
    assert tlsa.name_matches(pattern, name) is NAME_CASES[pattern, name]


UNUSABLE = {
    "PKIX-TA": pin(LEAF[0], 0),
    "PKIX-EE": pin(LEAF[0], 1),
    "unknown usage": pin(LEAF[0], 4),
    "private usage": pin(LEAF[0], 255),
    "unknown selector": Tlsa(3, 2, 1, bytes(32)),
    "unknown matching type": Tlsa(3, 1, 3, bytes(32)),
    "short digest": Tlsa(3, 1, 1, bytes(31)),
    "digest of the other length": Tlsa(3, 1, 1, bytes(64)),
    "long digest": Tlsa(3, 1, 2, bytes(65)),
    "no data": Tlsa(3, 1, 0, b""),
    "no certificate": Tlsa(3, 0, 0, b"\x30\x03\x02\x01\x05"),
    "no key": Tlsa(2, 1, 0, b"\x30\x00"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_a_mail_client_cannot_use_is_unusable(case: str) -> None:
    assert tlsa.usable([UNUSABLE[case]]) == ()


def test_of_two_digests_the_stronger_counts() -> None:
    strong, weak, whole = pin(SELF[0], 3, 1, 2), pin(LEAF[0], 3, 1, 1), pin(LEAF[0], 3, 1, 0)
    assert tlsa.usable([weak, strong]) == (strong,)
    assert set(tlsa.usable([weak, strong, whole])) == {strong, whole}


def test_a_certificate_of_an_impossible_version_matches_nothing_and_breaks_nothing() -> None:
    odd = CHAIN[1].replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x63", 1)
    assert odd != CHAIN[1]
    assert tlsa.usable([Tlsa(2, 0, 0, odd)]) == ()
    assert "cannot be read" in tlsa.match([CHAIN[0], odd], [pin(MIDDLE[0], 2)], NAMES, NOW).reason


def corrupt(data: bytes) -> st.SearchStrategy[bytes]:
    def change(parts: tuple[int, bytes, int]) -> bytes:
        start, put, skip = parts
        return data[:start] + put + data[start + skip :]

    return st.tuples(st.integers(0, len(data)), st.binary(max_size=8), st.integers(0, 40)).map(change)


CERTIFICATES = st.one_of(st.binary(max_size=80), st.sampled_from(CHAIN), *(corrupt(one) for one in CHAIN))
RECORDS = st.builds(
    Tlsa,
    st.integers(0, 255) | st.sampled_from([2, 3]),
    st.integers(0, 255) | st.sampled_from([0, 1]),
    st.integers(0, 255) | st.sampled_from([0, 1, 2]),
    CERTIFICATES | st.binary(min_size=32, max_size=32) | st.binary(min_size=64, max_size=64),
)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@settings(deadline=None)
@given(st.lists(CERTIFICATES, max_size=4), st.lists(RECORDS, max_size=6))
def test_no_bytes_break_the_comparison_and_none_match_by_chance(chain: list[bytes], records: list[Tlsa]) -> None:
    good = tlsa.usable(records)
    result = tlsa.match(chain, good, NAMES, NOW)
    assert result.reason
    if result.matched:
        authentic = {form for one in CHAIN for form in (one, tlsa.public_key_info(one))}
        own = {chain[0]} | ({tlsa.public_key_info(chain[0])} if chain[0] in CHAIN else set())
        assert any(record.data in authentic | own or record.usage == 3 for record in good)


@settings(deadline=None)
@given(CERTIFICATES)
def test_a_key_is_found_in_any_certificate_or_refused(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert tlsa.public_key_info(data) in data


def test_the_key_is_the_one_that_a_parser_finds() -> None:
    for certificate in (LEAF[0], ROOT[0], x509.load_pem_x509_certificate(trustme.CA().cert_pem.bytes())):
        assert tlsa.public_key_info(der(certificate)) == spki(certificate)


# --- domains ------------------------------------------------------------------------------------------------------


@dataclass
class Host:
    """One MX host: where it listens, how it behaves, what pins it."""

    name: str
    behaviour: str = "valid"
    pins: list[str] = field(default_factory=list)
    alias: str = ""


class World:
    """Signed zones with one domain a case, and the peers of all of them."""

    def __init__(self, directory: Path) -> None:
        self.certificates = Certificates(directory)
        self.own = directory / "own.pem"
        self._write(self.own, SELF[1], SELF[0])
        self.chain = directory / "chain.pem"
        self.anchored = issue("mx.anchored.signed.test", MIDDLE)
        self._write(self.chain, self.anchored[1], self.anchored[0], MIDDLE[0])
        self.records: list[tuple[str, str, str]] = []
        self.peers: dict[str, str] = {}
        self._arrange()
        self.dns = SignedDns(directory, self.records)

    def _write(self, path: Path, key: ec.EllipticCurvePrivateKey, *certificates: x509.Certificate) -> None:
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates)
        path.write_bytes(private + public)

    def domain(self, name: str, *hosts: Host) -> None:
        for number, host in enumerate(hosts):
            self.records.append((name, "MX", f"{10 * number} {host.name}."))
            owner = host.alias or host.name
            if host.alias:
                self.records.append((host.name, "CNAME", f"{host.alias}."))
            address = f"127.0.4.{len(self.peers) + 1}"
            self.records.append((owner, "A", address))
            self.peers[address] = host.behaviour
            self.records += [(f"_{PORT}._tcp.{host.name}", "TLSA", data) for data in host.pins]

    def _arrange(self) -> None:
        good, wrong = text(pin(SELF[0])), text(Tlsa(3, 1, 1, bytes(32)))
        anchor = text(pin(MIDDLE[0], 2, 0, 1))
        dull = ["0 1 1 " + "00" * 32, "3 1 1 00ff", "1 0 0 30"]
        self.domain("valid.signed.test", Host("mx.valid.signed.test", "own", [wrong, good]))
        self.domain("anchored.signed.test", Host("mx.anchored.signed.test", "chain", [anchor]))
        self.domain("wrong.signed.test", Host("mx.wrong.signed.test", "valid", [wrong]))
        self.domain("stripped.signed.test", Host("mx.stripped.signed.test", "plain", [good]))
        self.domain("silent.signed.test", Host("mx.silent.signed.test", "none", [good]))
        self.domain("unusable.signed.test", Host("mx.unusable.signed.test", "own", dull))
        self.domain("unpinned.signed.test", Host("mx.unpinned.signed.test", "own"))
        self.domain("part.signed.test", Host("a.part.signed.test", "own", [good]), Host("b.part.signed.test", "own"))
        self.domain(
            "half.signed.test", Host("a.half.signed.test", "own", [wrong]), Host("b.half.signed.test", "own", [good])
        )
        # The address is signed, the pins are behind an alias into a zone whose signatures have expired.
        self.domain("late.signed.test", Host("mx.late.signed.test", "own"))
        self.records.append((f"_{PORT}._tcp.mx.late.signed.test", "CNAME", "pins.stale.test."))
        self.records.append(("pins.stale.test", "TLSA", good))
        # Pins behind an alias into an unsigned zone prove nothing: here they would even fit.
        self.domain("loose.signed.test", Host("mx.loose.signed.test", "own"))
        self.records.append((f"_{PORT}._tcp.mx.loose.signed.test", "CNAME", "pins.plain.test."))
        self.records.append(("pins.plain.test", "TLSA", good))
        self.domain("stale.test", Host("mx.stale.test", "own", [good]))
        self.domain("bogus.test", Host("mx.bogus.test", "own", [good]))
        self.domain("plain.test", Host("mx.plain.test", "own", [good]))
        self.records.append(("forged.plain.test", "MX", "10 mx.valid.signed.test."))
        self.domain("away.signed.test", Host("mx.away.plain.test", "own", [good]))
        self.domain("alias.signed.test", Host("mx.alias.signed.test", "own", [wrong], alias="real.signed.test"))
        self.records.append((f"_{PORT}._tcp.real.signed.test", "TLSA", good))
        self.domain("out.signed.test", Host("mx.out.signed.test", "own", [good], alias="real.plain.test"))

    def behaviour(self, kind: str) -> Behaviour | None:
        if kind == "plain":
            return plain()
        if kind == "valid":
            return peers.tls(self.certificates.valid())
        if kind == "none":
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.own if kind == "own" else self.chain)
        return peers.tls(context)

    def settings(self, **changes: object) -> TlsSettings:
        base = TlsSettings(
            ca_file=self.certificates.ca_file,
            nameservers=(self.dns.nameserver,),
            confirm_pause_seconds=0,
            port=PORT,
            banner_seconds=2,
            dnssec_broken_name="mx.bogus.test",
            mta_sts=False,
        )
        return base.model_copy(update=changes)

    def evidence(self, domain: str, **changes: object) -> Evidence:
        async def look() -> Evidence:
            async with asyncio.timeout(30), contextlib.AsyncExitStack() as stack:
                for address, kind in self.peers.items():
                    behaviour = self.behaviour(kind)
                    if behaviour is not None:
                        await stack.enter_async_context(Peer(address, PORT, behaviour))
                engine = verdict_engine(self.settings(**changes), "mail.our.test", Nothing())
                try:
                    return await engine.evidence(domain)
                finally:
                    await engine.close()

        return asyncio.run(look())


class Nothing:
    def get(self, domain: str) -> Evidence | None:  # noqa: ARG002 (a cache that keeps nothing)
        return None

    def put(self, evidence: Evidence) -> None:
        pass


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if shutil.which("knotd", path="/usr/sbin:/usr/bin") is None or shutil.which("unbound") is None:
        pytest.skip("knot and unbound are not installed")
    built = World(tmp_path_factory.mktemp("dane"))
    yield built
    built.dns.close()


# Domain, level, what binds delivery, a word of the reason or of a note.
DOMAINS = {
    "valid": ("valid.signed.test", Level.DANE, Published.DANE, "DANE-EE"),
    "pinned authority": ("anchored.signed.test", Level.DANE, Published.DANE, "DANE-TA"),
    "wrong digest": ("wrong.signed.test", Level.UNKNOWN, Published.DANE, "TLSA does not match"),
    "STARTTLS stripped": ("stripped.signed.test", Level.UNKNOWN, Published.DANE, "does not offer STARTTLS"),
    "nobody at home": ("silent.signed.test", Level.DANE, Published.DANE, "none could be looked at"),
    "unusable": ("unusable.signed.test", Level.ENCRYPTED, Published.NOTHING, "not usable"),
    "no pins": ("unpinned.signed.test", Level.ENCRYPTED, Published.NOTHING, ""),
    "partial": ("part.signed.test", Level.ENCRYPTED, Published.NOTHING, "in part"),
    "one of two fails": ("half.signed.test", Level.DANE, Published.DANE, "b.half"),
    "pins with expired signatures": ("late.signed.test", Level.UNKNOWN, Published.DANE, "TLSA lookup"),
    "unsigned pins": ("loose.signed.test", Level.ENCRYPTED, Published.NOTHING, ""),
    "MX with expired signature": ("stale.test", Level.UNKNOWN, Published.NOTHING, "MX lookup"),
    "MX with a DS that fits no key": ("bogus.test", Level.UNKNOWN, Published.NOTHING, "MX lookup"),
    "insecure delegation": ("plain.test", Level.ENCRYPTED, Published.NOTHING, ""),
    "unsigned MX towards a pinned host": ("forged.plain.test", Level.ENCRYPTED, Published.NOTHING, ""),
    "host behind an insecure delegation": ("away.signed.test", Level.ENCRYPTED, Published.NOTHING, ""),
    "pins at the end of an alias": ("alias.signed.test", Level.DANE, Published.DANE, "DANE-EE"),
    "signed alias of an unsigned host": ("out.signed.test", Level.DANE, Published.DANE, "DANE-EE"),
}


@pytest.mark.behaviour("F6")
@pytest.mark.parametrize("case", DOMAINS)
def test_what_a_domain_publishes_decides(case: str, world: World) -> None:
    domain, level, policy, word = DOMAINS[case]
    evidence = world.evidence(domain)
    assert (evidence.level, evidence.policy) == (level, policy), evidence
    assert word in f"{evidence.reason} {evidence.notes}"
    assert Evidence.from_dict(evidence.to_dict()) == evidence
    if level is Level.DANE:
        assert evidence.ability(Requirement.AUTHENTICATED) is Ability.YES
        assert verdict.MINUTE * 3 <= evidence.fresh_until - evidence.checked_at <= verdict.HOUR
    elif level is Level.UNKNOWN:
        assert {evidence.ability(one) for one in Requirement} == {Ability.UNKNOWN}


def test_an_address_has_no_pins_and_needs_no_resolver(world: World) -> None:
    evidence = world.evidence("[127.0.4.1]", dnssec_signed_name="mx.bogus.test")
    assert (evidence.level, evidence.policy, evidence.notes) == (Level.ENCRYPTED, Published.NOTHING, ())


def test_a_resolver_that_cannot_be_tested_leaves_signed_domains_unknown(world: World) -> None:
    evidence = world.evidence("valid.signed.test", dnssec_signed_name="mx.bogus.test")
    assert (evidence.level, "could not be tested" in evidence.reason) == (Level.UNKNOWN, True)
    assert world.evidence("plain.test", dnssec_signed_name="mx.bogus.test").level is Level.ENCRYPTED


def test_a_resolver_that_does_not_pass_is_said_so(world: World) -> None:
    evidence = world.evidence("valid.signed.test", trust_ad=TrustAd.NO)
    assert (evidence.level, evidence.notes) == (
        Level.ENCRYPTED,
        ("DANE is not used: the settings say not to believe the resolver",),
    )


def test_dane_can_be_turned_off(world: World) -> None:
    assert world.evidence("valid.signed.test", dane=False).level is Level.ENCRYPTED


def test_a_resolver_that_validates_passes_its_test(world: World) -> None:
    assert ask(world.dns.nameserver, "mx.bogus.test").trusted is True
    assert ask(world.dns.authority, "mx.bogus.test").trusted is False


def ask(nameserver: str, broken: str, mode: TrustAd = TrustAd.AUTO) -> Trust:
    async def test() -> Trust:
        return await ResolverTrust(Resolver((nameserver,), 0.5), mode, broken_name=broken).ask()

    return asyncio.run(test())


# --- one lying resolver -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "fault", "broken", "expected"),
    [
        (TrustAd.AUTO, "", "gone.test", True),
        (TrustAd.AUTO, "", "answers.test", False),
        (TrustAd.AUTO, "silent", "gone.test", None),
        (TrustAd.AUTO, "garbage", "gone.test", None),
        (TrustAd.NO, "", "gone.test", False),
        (TrustAd.YES, "silent", "gone.test", True),
    ],
)
def test_a_resolver_is_believed_only_for_a_reason(mode: TrustAd, fault: str, broken: str, expected: object) -> None:
    async def test() -> Trust:
        async with FaultyDns() as server:
            server.authenticated = True
            server.add("signed.test", "SOA", "ns.test. hostmaster.test. 1 3600 600 86400 120")
            server.add("answers.test", "A", "127.0.0.9")
            if fault:
                server.faults["signed.test"] = fault
            return await ResolverTrust(Resolver((server.nameserver,), 0.3), mode, "signed.test", broken).ask()

    assert asyncio.run(test()).trusted is expected


def test_a_resolver_elsewhere_is_not_believed() -> None:
    trust = ask("192.0.2.1", "gone.test")
    assert (trust.trusted, "not on this host" in trust.reason) == (False, True)


def test_tlsa_is_not_even_asked_for_behind_unsigned_addresses(tmp_path: Path) -> None:
    async def look() -> Evidence:
        async with FaultyDns() as server:
            server.domain("d.test", (10, peers.NAME, "127.0.4.200"))
            server.authenticated = True
            server.unsigned.add(peers.NAME)
            server.faults[f"_{PORT}._tcp.{peers.NAME}"] = "servfail"
            certificates = Certificates(tmp_path)
            tls = TlsSettings(
                ca_file=certificates.ca_file,
                nameservers=(server.nameserver,),
                port=PORT,
                trust_ad=TrustAd.YES,
                mta_sts=False,
            )
            async with Peer("127.0.4.200", PORT, peers.tls(certificates.valid())):
                engine = verdict_engine(tls, "mail.our.test", Nothing())
                try:
                    found = await engine.evidence("d.test")
                finally:
                    await engine.close()
            assert "TLSA" not in {kind for _, kind in server.questions}
            return found

    assert asyncio.run(look()).level is Level.PKIX


DAMAGE = st.tuples(
    st.sampled_from(["TLSA", "TXT", "MX", "CNAME"]),
    st.dictionaries(st.integers(2, 120), st.integers(0, 255), max_size=5),
    st.integers(0, 60),
)


@settings(max_examples=40, deadline=None)
@given(DAMAGE)
def test_no_bytes_of_an_answer_break_a_question(damage: tuple[str, dict[int, int], int]) -> None:
    kind, changes, cut = damage

    def corrupt(wire: bytes) -> bytes:
        damaged = bytearray(wire)
        for place, value in changes.items():
            damaged[place % len(damaged)] = value
        return bytes(damaged[: max(12, len(damaged) - cut)])

    async def ask() -> Records:
        async with FaultyDns() as server:
            server.corrupt = corrupt
            server.add("ok.test", "TLSA", text(pin(SELF[0])), "3 1 1 00ff", "255 255 255 00")
            server.add("ok.test", "TXT", '"v=STSv1; id=1;"')
            server.add("ok.test", "MX", "10 mx.ok.test.")
            return await Resolver((server.nameserver,), 0.05).ask("ok.test", kind)

    records = asyncio.run(ask())
    assert records.exists is not None or records.trouble
    assert tlsa.match(CHAIN, tlsa.usable(records.tlsa), NAMES, NOW).reason


def test_a_record_too_short_to_read_is_trouble_and_one_of_a_wrong_length_is_not() -> None:
    async def ask(*data: str) -> Records:
        async with FaultyDns() as server:
            server.add("ok.test", "TLSA", *data)
            return await Resolver((server.nameserver,), 0.3).ask("ok.test", "TLSA")

    assert asyncio.run(ask(r"\# 2 0301")).exists is None
    mixed = asyncio.run(ask("3 1 1 00ff", text(pin(SELF[0]))))
    assert tlsa.usable(mixed.tlsa) == (pin(SELF[0]),)


def test_the_report_says_what_binds_and_why_a_source_decided_nothing(world: World) -> None:
    failing = describe(world.evidence("wrong.signed.test"), NOW)
    assert "Binding  its DANE records" in failing
    assert "TLSA does not match" in failing
    assert "not usable for this domain" in failing
    assert "Note     DANE is published in part" in describe(world.evidence("part.signed.test"), NOW)


def test_new_pins_are_not_held_against_a_remembered_certificate(tmp_path: Path) -> None:
    first, second = issue(peers.NAME), issue(peers.NAME)
    paths = [tmp_path / "first.pem", tmp_path / "second.pem"]
    contexts = []
    for path, (certificate, key) in zip(paths, (first, second), strict=True):
        World._write(None, path, key, certificate)  # type: ignore[arg-type]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        contexts.append(context)

    async def look() -> list[Level]:
        now = time.time()
        async with FaultyDns() as server:
            server.authenticated = True
            server.domain("d.test", (10, peers.NAME, "127.0.4.201"))
            owner = f"_{PORT}._tcp.{peers.NAME}"
            server.add(owner, "TLSA", text(pin(first[0])))
            tls = TlsSettings(nameservers=(server.nameserver,), port=PORT, trust_ad=TrustAd.YES, mta_sts=False)
            engine = verdict_engine(tls, "mail.our.test", Nothing(), clock=lambda: now)
            try:
                async with Peer("127.0.4.201", PORT, peers.tls(contexts[0])):
                    levels = [(await engine.evidence("d.test")).level]
                now += 600
                server.records[owner, "TLSA"] = [text(pin(second[0]))]
                async with Peer("127.0.4.201", PORT, peers.tls(contexts[1])):
                    levels.append((await engine.evidence("d.test")).level)
            finally:
                await engine.close()
        return levels

    assert asyncio.run(look()) == [Level.DANE, Level.DANE]


# --- what is kept -------------------------------------------------------------------------------------------------


def known(level: Level, policy: Published = Published.NOTHING) -> Evidence:
    return Evidence("d.test", level, "as arranged", 0, 10, 1000, policy=policy)


KEPT = {
    "DANE, then DNS fails": (known(Level.DANE, Published.DANE), known(Level.UNKNOWN), Published.DANE),
    "TLS, then pins that cannot be read": (
        known(Level.ENCRYPTED),
        known(Level.UNKNOWN, Published.DANE),
        Published.DANE,
    ),
    "DANE, then for certain none": (known(Level.DANE, Published.DANE), known(Level.PKIX), Published.NOTHING),
}


@pytest.mark.parametrize("case", KEPT)
def test_what_binds_delivery_is_not_forgotten_by_a_failed_look(case: str) -> None:
    previous, found, policy = KEPT[case]
    assert verdict.to_remember(previous, found).policy is policy


def test_evidence_of_an_earlier_version_can_still_be_read() -> None:
    data = known(Level.PKIX).to_dict()
    for later in ("policy", "match", "notes"):
        del data[later]
    assert Evidence.from_dict(data) == known(Level.PKIX)
