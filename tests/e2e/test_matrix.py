"""One row for each kind of peer: what Restante learns of it, and what becomes of mail to it through a real Postfix.

All peers and all messages are there at once; each row is then one test.  docs/peers.md is this table in words.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from socket import create_server

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from restante.store.engine import Store
from restante.store.models import DeliveryState
from restante.tls.tlsa import public_key_info
from tests.core.tls_policy_host import PolicyHost
from tests.e2e.world import SENDER, World
from tests.lab import mail
from tests.lab.behaviours import BEHAVIOURS, Behaviour, behaviour
from tests.lab.certificates import CertificateKind
from tests.lab.crowd import Crowd, Member, conduct_of
from tests.lab.dns import Record
from tests.lab.lab import Lab
from tests.lab.postfix import PostfixConfig
from tests.lab.services import ServiceOptions
from tests.lab.waiting import LabError, wait_until

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "peers.md"
# Long enough for several attempts on a busy machine, short enough to wait for.
DEADLINE_SECONDS = 10
ENCRYPTED, PROVED = "encrypted@site.example", "authenticated@site.example"
POLICY = "".join(
    f"""
[[rule]]
name = "{sender.partition("@")[0]}"
tls = "{sender.partition("@")[0]}"
deadline_hours = {DEADLINE_SECONDS / 3600:.8f}
senders = ["{sender}"]
when = [{{ detectors = ["trigger-*"] }}]
"""
    for sender in (ENCRYPTED, PROVED)
)
SETTINGS = {"tls.trust_ad": "yes", "tls.sts_private_addresses": "true", "tls.sts_seconds": "3"}
FATE_SECONDS = 60.0

TLS, CLEAR, PORTAL, QUEUE = "over TLS", "in clear", "portal", "kept in the queue"

Publish = Callable[["Place"], Sequence[Record]]


@dataclass(frozen=True, slots=True)
class Place:
    """A row's own peer, first, and what else stands beside it.  ``digest`` gives the pin of a certificate."""

    members: tuple[Member, ...]
    digest: Callable[[CertificateKind], str]

    @property
    def first(self) -> Member:
        return self.members[0]

    def hosts(self) -> list[Record]:
        return [Record(one.mx, "A", one.address) for one in self.members]

    def pinned(self, *data: str) -> list[Record]:
        return [*plain(self), *(Record(f"_25._tcp.{self.first.mx}", "TLSA", one) for one in data)]


def plain(place: Place) -> list[Record]:
    """The members as MX hosts, best first."""
    exchanges = [
        Record(place.first.domain, "MX", f"{10 * rank} {one.mx}.") for rank, one in enumerate(place.members, 1)
    ]
    return [*exchanges, *place.hosts()]


def dead_first(place: Place) -> list[Record]:
    """Before the host that answers, a name without an address: nolisting, or a mistake."""
    return [*plain(place), Record(place.first.domain, "MX", f"5 dead.{place.first.domain}.")]


def refusing_first(place: Place) -> list[Record]:
    """Before the host that answers, an address at which nobody listens."""
    return [
        *plain(place),
        Record(place.first.domain, "MX", f"5 dead.{place.first.domain}."),
        Record(f"dead.{place.first.domain}", "A", "10.77.0.53"),
    ]


def ipv6_only(place: Place) -> list[Record]:
    return [
        Record(place.first.domain, "MX", f"10 {place.first.mx}."),
        Record(place.first.mx, "AAAA", place.first.address6),
    ]


def alias(place: Place) -> list[Record]:
    name = f"alias-{place.first.mx}"
    return [
        Record(place.first.domain, "MX", f"10 {name}."),
        Record(name, "CNAME", f"{place.first.mx}."),
        *place.hosts(),
    ]


def twenty(place: Place) -> list[Record]:
    """Twenty names for one address."""
    names = [f"h{number}.{place.first.domain}" for number in range(19)]
    return [
        *plain(place),
        *(Record(place.first.domain, "MX", f"{20 + rank} {name}.") for rank, name in enumerate(names)),
        *(Record(name, "A", place.first.address) for name in names),
    ]


def address_alone(place: Place) -> list[Record]:
    return [Record(place.first.domain, "A", place.first.address)]


@dataclass(frozen=True, slots=True)
class Row:
    """``level`` is the evidence; then the fates of a sensitive message, of one to a peer that must prove its name, and
    of an ordinary one.  ``beside`` are more hosts; ``sts`` names a policy of :data:`POLICIES`."""

    name: str
    level: str
    sensitive: str
    proved: str
    ordinary: str
    conduct: Behaviour = BEHAVIOURS["tls"]
    publish: Publish = plain
    beside: tuple[Behaviour, ...] = ()
    sts: str = ""
    marks: tuple[str, ...] = ("F13",)


def _does(name: str, **changes: object) -> Behaviour:
    return behaviour(name, changes)


def _pins(*data: str, kind: CertificateKind = CertificateKind.VALID) -> Publish:
    return lambda place: place.pinned(*(one.format(place.digest(kind)) for one in data))


SELF_SIGNED = CertificateKind.SELF_SIGNED
CLEAR_PEER = _does("clear")
ROWS = (
    Row("TLS 1.3 and a good certificate", "pkix", TLS, TLS, TLS, marks=("F1", "F6")),
    Row("no STARTTLS", "none", PORTAL, PORTAL, CLEAR, CLEAR_PEER, marks=("F3", "F13")),
    Row("STARTTLS answered with 502", "none", PORTAL, PORTAL, CLEAR, _does("starttls-unknown"), marks=("F5", "F7")),
    Row("STARTTLS answered with 454", "unknown", PORTAL, PORTAL, CLEAR, _does("starttls-refused"), marks=("F8",)),
    Row("STARTTLS answered with the end of the connection", "unknown", PORTAL, PORTAL, QUEUE, _does("starttls-closed")),
    Row("STARTTLS answered with noise", "none", PORTAL, PORTAL, CLEAR, _does("starttls-garbage"), marks=("F5", "F7")),
    Row("the handshake ends with an alert", "none", PORTAL, PORTAL, CLEAR, _does("handshake-fails"), marks=("F5",)),
    Row("TLS 1.0 alone", "none", PORTAL, PORTAL, TLS, _does("tls1.0-only"), marks=("F4",)),
    Row("TLS 1.1 alone", "none", PORTAL, PORTAL, TLS, _does("tls1.1-only"), marks=("F4",)),
    Row("anonymous ciphers alone", "none", PORTAL, PORTAL, TLS, _does("anonymous-ciphers"), marks=("F4",)),
    Row("expired certificate", "encrypted", TLS, PORTAL, TLS, _does("expired"), marks=("F6",)),
    Row("self-signed certificate", "encrypted", TLS, PORTAL, TLS, _does("self-signed"), marks=("F6",)),
    Row("certificate of another name", "encrypted", TLS, PORTAL, TLS, _does("wrong-name"), marks=("F6",)),
    Row("intermediate certificate missing", "encrypted", TLS, PORTAL, TLS, _does("no-intermediate"), marks=("F6",)),
    Row("a client certificate is demanded", "unknown", PORTAL, PORTAL, CLEAR, _does("client-certificate")),
    Row("the greeting comes byte by byte", "pkix", TLS, TLS, TLS, _does("drip-banner"), marks=("F8",)),
    Row("the greeting comes after three seconds", "pkix", TLS, TLS, TLS, _does("slow-banner"), marks=("F8",)),
    Row("421 to all but the first connection", "pkix", PORTAL, PORTAL, QUEUE, _does("busy-after-one"), marks=("F8",)),
    Row("421 to everybody", "unknown", PORTAL, PORTAL, QUEUE, _does("tempfail-421"), marks=("F8",)),
    Row("greylisting, for one attempt", "pkix", TLS, TLS, TLS, _does("greylist"), marks=("F8",)),
    Row(
        "greylisting beyond the deadline", "pkix", PORTAL, PORTAL, QUEUE,
        _does("greylist", greylist_seconds=600), marks=("F8",),
    ),
    Row("the answer to EHLO is cut off", "unknown", PORTAL, PORTAL, QUEUE, _does("truncated-ehlo"), marks=("F7",)),
    Row("STARTTLS overwritten in the answer to EHLO", "none", PORTAL, PORTAL, CLEAR, _does("mangled-ehlo")),
    Row("EHLO is not known", "none", PORTAL, PORTAL, CLEAR, _does("refused-ehlo"), marks=("F7",)),
    Row(
        "plain text injected behind the answer to STARTTLS", "none", PORTAL, PORTAL, TLS,
        _does("starttls-injection"), marks=("F7",),
    ),
    Row("STARTTLS is offered to the prober alone", "pkix", PORTAL, PORTAL, CLEAR, _does("drops-tls"), marks=("F7",)),
    Row("nobody listens", "unknown", PORTAL, PORTAL, QUEUE, publish=lambda place: [
        Record(place.first.domain, "MX", f"10 {place.first.mx}."), Record(place.first.mx, "A", "10.77.0.53"),
    ], marks=("F8",)),
    Row("the first MX has no address", "pkix", TLS, TLS, TLS, publish=dead_first, marks=("F10",)),
    Row("nobody listens at the first MX", "pkix", TLS, TLS, TLS, publish=refusing_first, marks=("F10",)),
    Row("a backup MX without TLS", "pkix", TLS, TLS, TLS, beside=(CLEAR_PEER,), marks=("F10",)),
    Row("a first MX without TLS, a backup with it", "pkix", TLS, TLS, CLEAR, CLEAR_PEER, beside=(_does("tls"),),
        marks=("F10",)),
    Row("IPv6 alone", "pkix", TLS, TLS, TLS, publish=ipv6_only),
    Row("no MX, an address alone", "pkix", TLS, TLS, TLS, publish=address_alone),
    Row("MX that is an alias", "pkix", TLS, TLS, TLS, publish=alias),
    Row("twenty MX", "pkix", TLS, TLS, TLS, publish=twenty),
    Row("DANE, valid pin of a self-signed certificate", "dane", TLS, TLS, TLS, _does("self-signed"),
        _pins("3 1 1 {}", kind=SELF_SIGNED), marks=("F6",)),
    Row("DANE, a wrong digest", "unknown", PORTAL, PORTAL, TLS, publish=_pins(f"3 1 1 {'00' * 32}"), marks=("F6",)),
    Row("DANE, a wrong digest beside a right one", "dane", TLS, TLS, TLS,
        publish=_pins(f"3 1 1 {'00' * 32}", "3 1 1 {}"), marks=("F6",)),
    Row("DANE for the first MX alone", "pkix", TLS, TLS, TLS, publish=_pins("3 1 1 {}"), beside=(_does("tls"),),
        marks=("F6",)),
    Row("DANE, unusable records alone", "pkix", TLS, TLS, TLS, publish=_pins("1 1 1 {}"), marks=("F6",)),
    Row("DANE without STARTTLS", "unknown", PORTAL, PORTAL, CLEAR, CLEAR_PEER, _pins("3 1 1 {}"), marks=("F6", "F7")),
    Row("MTA-STS, enforce", "mta-sts", TLS, TLS, TLS, sts="enforce", marks=("F6",)),
    Row("MTA-STS, enforce, self-signed certificate", "unknown", PORTAL, PORTAL, TLS, _does("self-signed"),
        sts="enforce", marks=("F6",)),
    Row("MTA-STS, enforce, without STARTTLS", "unknown", PORTAL, PORTAL, CLEAR, CLEAR_PEER,
        sts="enforce", marks=("F6",)),
    Row("MTA-STS, testing, self-signed certificate", "encrypted", TLS, PORTAL, TLS, _does("self-signed"),
        sts="testing", marks=("F6",)),
    Row("MTA-STS, the host is not in the policy", "unknown", PORTAL, PORTAL, TLS, sts="mismatch", marks=("F6",)),
    Row("MTA-STS, the policy is behind a redirect", "pkix", TLS, TLS, TLS, sts="redirect", marks=("F6",)),
    Row("MTA-STS, a huge policy", "pkix", TLS, TLS, TLS, sts="huge", marks=("F6",)),
    Row("MTA-STS, the policy comes byte by byte", "pkix", TLS, TLS, TLS, sts="slow", marks=("F6",)),
)  # fmt: skip


def _enforce(host: PolicyHost, mx: str) -> None:
    host.policy(mx)


def _slow(host: PolicyHost, mx: str) -> None:
    host.policy(mx)
    host.fault = "drip"


POLICIES: dict[str, Callable[[PolicyHost, str], None]] = {
    "enforce": _enforce,
    "testing": lambda host, mx: host.policy(mx, mode="testing"),
    "mismatch": lambda host, _: host.policy("mx.elsewhere.example"),
    "redirect": lambda host, _: host.serve("", status="302 Found", more="Location: https://10.77.0.53/\r\n"),
    "huge": lambda host, mx: host.serve(f"version: STSv1\r\nmode: enforce\r\nmx: {mx}\r\n" + "x: y\r\n" * 200_000),
    "slow": _slow,
}


class PolicyHosts:
    """The HTTPS servers of all rows with MTA-STS, on port 443 of each row's own address."""

    def __init__(self, lab: Lab, crowd: Crowd, places: dict[str, Place]) -> None:
        self._lab, self._crowd, self._places = lab, crowd, places
        self._loop = asyncio.new_event_loop()
        self._stop, self._ready = asyncio.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        if not self._ready.wait(20):
            raise LabError("the policy hosts did not start")

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            for row in ROWS:
                if row.sts:
                    await stack.enter_async_context(self._host(self._places[row.name].first, row.sts))
            self._ready.set()
            await self._stop.wait()

    def _host(self, member: Member, policy: str) -> PolicyHost:
        leaf: trustme.LeafCert = self._lab.authority._authority.issue_cert(f"mta-sts.{member.domain}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        leaf.configure_cert(context)
        host = PolicyHost(context).on(self._crowd.host.call(lambda: create_server((member.address, 443))))
        POLICIES[policy](host, member.mx)
        return host

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        self._loop.close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was seen of one row."""

    level: str
    reason: str
    sensitive: str
    proved: str
    ordinary: str


SENDERS = {"sensitive": ENCRYPTED, "proved": PROVED, "ordinary": SENDER}


class Matrix:
    """Everything that the rows need, from the start of the lab to the outcomes."""

    def __init__(self, lab: Lab, world: World, crowd: Crowd) -> None:
        self._lab, self._world, self._crowd = lab, world, crowd
        self.secret = "MATRIX-SECRET-4711"
        numbers = iter(range(1, 1000))
        self.places = {
            row.name: Place(
                tuple(crowd.add(next(numbers), conduct_of(one)) for one in (row.conduct, *row.beside)), self._digest
            )
            for row in ROWS
        }

    def _digest(self, kind: CertificateKind) -> str:
        certificate = x509.load_pem_x509_certificates(self._crowd.pem(kind).read_bytes())[0]
        return hashlib.sha256(public_key_info(certificate.public_bytes(Encoding.DER))).hexdigest()

    def publish(self) -> None:
        """The DNS of all rows."""
        records: list[Record] = []
        for row in ROWS:
            place = self.places[row.name]
            records += row.publish(place)
            if row.publish is ipv6_only:
                self._crowd.add_ipv6(place.first, self._lab.mta)
            if row.sts:
                host = f"mta-sts.{place.first.domain}"
                records += [
                    Record(host, "A", place.first.address),
                    Record(f"_mta-sts.{place.first.domain}", "TXT", '"v=STSv1; id=1;"'),
                ]
        self._lab.dns.add(*records)

    def look(self, directory: Path) -> dict[str, tuple[str, str]]:
        """Level and reason of every row, as ``restante domain`` gives them."""
        names, output = directory / "domains.txt", directory / "evidence.json"
        names.write_text("".join(f"{place.first.domain}\n" for place in self.places.values()), encoding="utf-8")
        self._world.services.command("domain", "--file", str(names), "--output", str(output))
        seen = {one["domain"]: one for one in json.loads(output.read_text(encoding="utf-8"))}
        return {
            name: (str(seen[place.first.domain]["level"]), str(seen[place.first.domain]["reason"]))
            for name, place in self.places.items()
        }

    def send(self) -> None:
        """Three messages to every row, many at a time."""
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda job: self._send(*job), ((row, kind) for kind in SENDERS for row in ROWS)))

    def _send(self, row: Row, kind: str) -> None:
        recipient, sender = self._recipient(row, kind), SENDERS[kind]
        if kind == "ordinary":
            message = mail.newsletter(sender=sender, to=[recipient])
        else:
            message = mail.triggered(self.secret, sender=sender, to=[recipient])
        answer = self._lab.send(message, [recipient], sender=sender)
        assert answer.accepted, (row.name, kind, answer)

    def _recipient(self, row: Row, kind: str) -> str:
        return f"{kind}@{self.places[row.name].first.domain}"

    def outcomes(self, seen: dict[str, tuple[str, str]]) -> dict[str, Outcome]:
        """What became of everything by now."""
        held = {one.recipient: one.state for one in self._world.held()}
        queued = json.dumps(self._lab.server.queued())
        return {
            row.name: Outcome(*seen[row.name], *(self._fate(row, kind, held, queued) for kind in SENDERS))
            for row in ROWS
        }

    def _fate(self, row: Row, kind: str, held: dict[str, DeliveryState], queued: str) -> str:
        recipient = self._recipient(row, kind)
        received = [
            one
            for member in self.places[row.name].members
            for one in list(member.recorder.mails)
            if recipient in str(one["recipients"]) and one["sender"] == SENDERS[kind]
        ]
        fates = {TLS if one["tls"] else CLEAR for one in received}
        if recipient in held:
            fates.add(PORTAL if held[recipient] is DeliveryState.HELD else str(held[recipient]))
        if not fates and f'"{recipient}"' in queued:
            fates.add(QUEUE)
        return " and ".join(sorted(fates)) or "lost"


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Matrix, dict[str, Outcome]]]:
    options = ServiceOptions(policy=POLICY, settings=SETTINGS)
    postfix = PostfixConfig(main_cf={"inet_protocols": "all"})
    with Lab(peers=(), options=options, postfix=postfix) as lab:
        assert lab.services is not None
        crowd = Crowd(lab.network, lab.authority, lab.directory / "crowd")
        store = Store(lab.services.settings.database)
        run = Matrix(lab, World(lab, lab.services, store), crowd)
        run.publish()
        policies = PolicyHosts(lab, crowd, run.places)
        try:
            seen = run.look(tmp_path_factory.mktemp("matrix"))
            run.send()
            _wait_for_fates(run, seen)
            yield run, run.outcomes(seen)
        finally:
            policies.close()
            crowd.close()
            store.close()


def _wait_for_fates(run: Matrix, seen: dict[str, tuple[str, str]]) -> None:
    def all_as_expected() -> bool:
        outcomes = run.outcomes(seen)
        return all(_fates(outcomes[row.name]) == _fates(row) for row in ROWS)

    try:
        wait_until(all_as_expected, FATE_SECONDS, "all fates")
    except LabError:
        return  # each row's own test says what it got instead


def _fates(row: Row | Outcome) -> tuple[str, str, str]:
    return row.sensitive, row.proved, row.ordinary


@pytest.mark.behaviour("F13")
@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.name, marks=[pytest.mark.behaviour(mark) for mark in row.marks]) for row in ROWS],
)
def test_each_kind_of_peer_is_judged_and_served_as_the_table_says(
    row: Row, matrix: tuple[Matrix, dict[str, Outcome]]
) -> None:
    run, outcomes = matrix
    got = outcomes[row.name]
    assert (got.level, *_fates(got)) == (row.level, *_fates(row)), got.reason
    for member in run.places[row.name].members:
        assert run.secret.encode() not in member.recorder.clear_bytes()
        for sender in (ENCRYPTED, PROVED):
            assert f"MAIL FROM:<{sender}>".encode() not in member.recorder.clear_bytes()


@pytest.mark.behaviour("F13")
def test_the_peers_would_have_seen_what_comes_in_clear(matrix: tuple[Matrix, dict[str, Outcome]]) -> None:
    run, _ = matrix
    assert b"The autumn fair opens on Saturday" in run.places["no STARTTLS"].first.recorder.clear_bytes()


def document() -> str:
    """docs/peers.md, from the table."""
    lines = [
        f"| {row.name} | `{row.level}` | {row.sensitive} | {row.proved} | {row.ordinary} |"
        for row in ROWS
    ]  # fmt: skip
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


_HEAD = """# What happens with which peer

Each line is one scripted SMTP server in `tests/e2e/test_matrix.py`, driven through a real Postfix 3.7. The columns: the
evidence that `restante domain` reports; what becomes of a sensitive message under a rule that asks for encryption, of
one under a rule that asks for a proven name (`tls = "authenticated"`), and of an ordinary message. The rules have a
deadline of ten seconds, so what another rule would keep in the queue is in the portal here.

| peer | evidence | sensitive | sensitive, proven name | ordinary |
|---|---|---|---|---|
"""
_TAIL = """
Elsewhere: expired DNSSEC signatures and every fault of TLSA records in `tests/core/test_tls_dane.py`; expired,
refreshed and withdrawn MTA-STS policies in `tests/core/test_tls_mta_sts.py`; peers that change between the look and the
delivery in `tests/e2e/test_tls.py`; peers that do anything at any byte in `tests/e2e/test_never_clear.py`.

An ordinary message is Postfix's affair: with `smtp_tls_security_level = may` it goes in clear where TLS fails.
"""


def test_the_document_is_this_table() -> None:
    assert re.sub(r"\s+\Z", "\n", DOCUMENT.read_text(encoding="utf-8")) == document()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
