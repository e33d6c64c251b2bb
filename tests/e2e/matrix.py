"""A lab in which every row of the table of peers is there at once, and what was seen of each."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_server

import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from restante.settings import Mta
from restante.store.engine import Store
from restante.store.models import DeliveryState
from restante.tls.tlsa import public_key_info
from tests.core.tls_policy_host import PolicyHost
from tests.e2e.matrix_rows import CLEAR, PORTAL, QUEUE, RETURNED, TLS, Place, Row, ipv6_only
from tests.e2e.world import SENDER, World
from tests.lab import mail
from tests.lab.certificates import CertificateKind
from tests.lab.crowd import Crowd, Member, conduct_of
from tests.lab.dns import Record
from tests.lab.lab import Lab
from tests.lab.postfix import PostfixConfig
from tests.lab.services import ServiceOptions
from tests.lab.waiting import LabError, wait_until

# Long enough for several attempts on a busy machine, short enough to wait for.
DEADLINE_SECONDS = 10
ENCRYPTED, PROVED, EXCLUSIVE = "encrypted@site.example", "authenticated@site.example", "exclusive@site.example"
POLICY = "".join(
    f"""
[[rule]]
name = "{sender.partition("@")[0]}"
tls = "{"authenticated" if sender == PROVED else "encrypted"}"
otherwise = "{"reject" if sender == EXCLUSIVE else "portal"}"
deadline_hours = {DEADLINE_SECONDS / 3600:.8f}
senders = ["{sender}"]
when = [{{ detectors = ["trigger-*"] }}]
"""
    for sender in (ENCRYPTED, PROVED, EXCLUSIVE)
)
SETTINGS = {"tls.trust_ad": "yes", "tls.sts_private_addresses": "true", "tls.sts_seconds": "3"}
FATE_SECONDS = 60.0

Fates = tuple[str, ...]


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

    def __init__(self, lab: Lab, crowd: Crowd, rows: Sequence[Row], places: dict[str, Place]) -> None:
        self._lab, self._crowd, self._rows, self._places = lab, crowd, rows, places
        self._loop = asyncio.new_event_loop()
        self._stop, self._ready = asyncio.Event(), threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        if not self._ready.wait(20):
            raise LabError("the policy hosts did not start")

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            for row in self._rows:
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
    """What was seen of one row: the evidence, and what became of each kind of message."""

    level: str
    reason: str
    fates: tuple[str, ...]


# The senders of the kinds of messages, in the order of the fates.  The last is for Sendmail alone.
SENDERS = {"sensitive": ENCRYPTED, "proved": PROVED, "ordinary": SENDER, "exclusive": EXCLUSIVE}


class Matrix:
    """Everything that the rows need, from the start of the lab to the outcomes."""

    def __init__(self, lab: Lab, world: World, crowd: Crowd, rows: Sequence[Row], kinds: int) -> None:
        self._lab, self._world, self._crowd, self._rows = lab, world, crowd, rows
        self._kinds = tuple(SENDERS)[:kinds]
        self._refused: set[str] = set()
        self.secret = "MATRIX-SECRET-4711"
        numbers = iter(range(1, 1000))
        self.places = {
            row.name: Place(
                tuple(crowd.add(next(numbers), conduct_of(one)) for one in (row.conduct, *row.beside)), self._digest
            )
            for row in self._rows
        }

    def _digest(self, kind: CertificateKind) -> str:
        certificate = x509.load_pem_x509_certificates(self._crowd.pem(kind).read_bytes())[0]
        return hashlib.sha256(public_key_info(certificate.public_bytes(Encoding.DER))).hexdigest()

    def publish(self) -> None:
        """The DNS of all rows."""
        records: list[Record] = []
        for row in self._rows:
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
        """A message of each kind to every row, many at a time."""
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda job: self._send(*job), ((row, kind) for kind in self._kinds for row in self._rows)))

    def _send(self, row: Row, kind: str) -> None:
        recipient, sender = self._recipient(row, kind), SENDERS[kind]
        if kind == "ordinary":
            message = mail.newsletter(sender=sender, to=[recipient])
        else:
            message = mail.triggered(self.secret, sender=sender, to=[recipient])
        answer = self._lab.send(message, [recipient], sender=sender)
        if kind == "exclusive" and answer.code == 550:
            self._refused.add(recipient)
        else:
            assert answer.accepted, (row.name, kind, answer)

    def _recipient(self, row: Row, kind: str) -> str:
        return f"{kind}@{self.places[row.name].first.domain}"

    def outcomes(self, seen: dict[str, tuple[str, str]]) -> dict[str, Outcome]:
        """What became of everything by now."""
        self._held = {one.recipient: one.state for one in self._world.held()}
        self._waiting = self._lab.server.waiting()
        self._bounced = b"\n".join(
            one.content for one in self._lab.mailboxes.mails() if not one.sender and EXCLUSIVE in one.recipients
        )
        return {
            row.name: Outcome(*seen[row.name], tuple(self._fate(row, kind) for kind in self._kinds))
            for row in self._rows
        }

    def _fate(self, row: Row, kind: str) -> str:
        recipient = self._recipient(row, kind)
        received = [
            one
            for member in self.places[row.name].members
            for one in list(member.recorder.mails)
            if recipient in str(one["recipients"]) and one["sender"] == SENDERS[kind]
        ]
        fates = {TLS if one["tls"] else CLEAR for one in received}
        if recipient in self._held:
            state = self._held[recipient]
            fates.add(PORTAL if state is DeliveryState.HELD else str(state))
        if recipient in self._refused or f"Original-Recipient: rfc822;{recipient}".encode() in self._bounced:
            fates.add(RETURNED)
        if not fates and recipient in self._waiting:
            fates.add(QUEUE)
        return " and ".join(sorted(fates)) or "lost"


@contextmanager
def running(directory: Path, mta: Mta, expected: Mapping[Row, Fates]) -> Iterator[tuple[Matrix, dict[str, Outcome]]]:
    """The rows of ``expected`` behind ``mta``, once every fate is as expected or the time for that is over."""
    rows = tuple(expected)
    options = ServiceOptions(policy=POLICY, settings=SETTINGS)
    postfix = PostfixConfig(main_cf={"inet_protocols": "all"})
    with Lab(peers=(), options=options, postfix=postfix, mta=mta) as lab:
        assert lab.services is not None
        crowd = Crowd(lab.network, lab.authority, lab.directory / "crowd")
        store = Store(lab.services.settings.database)
        kinds = len(next(iter(expected.values())))
        run = Matrix(lab, World(lab, lab.services, store), crowd, rows, kinds)
        run.publish()
        policies = PolicyHosts(lab, crowd, rows, run.places)
        try:
            seen = run.look(directory)
            run.send()
            _wait_for_fates(run, seen, expected)
            yield run, run.outcomes(seen)
        finally:
            policies.close()
            crowd.close()
            store.close()


def _wait_for_fates(run: Matrix, seen: dict[str, tuple[str, str]], expected: Mapping[Row, Fates]) -> None:
    def all_as_expected() -> bool:
        outcomes = run.outcomes(seen)
        return all(outcomes[row.name].fates == fates for row, fates in expected.items())

    try:
        wait_until(all_as_expected, FATE_SECONDS, "all fates")
    except LabError:
        return  # each row's own test says what it got instead
