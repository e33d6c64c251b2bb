"""Whatever a peer, or somebody on the way to it, does at any byte: no sensitive byte in clear, no message lost.

A run is one message with its sender's rule and its recipients, and for each recipient a peer that an attacker plays:
a conduct for each connection in turn, so that the prober may see another one than Postfix.  Runs are generated, and
go through the real Postfix, milter and worker in rounds of many at once.

``RESTANTE_RUNS`` is the number of runs, ``RESTANTE_SEED`` another seed than the fixed one.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from socket import SO_LINGER, SOL_SOCKET, socket

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from restante.postfix import TLS_TRANSPORT
from restante.store.engine import Store
from restante.store.models import DeliveryState
from tests.e2e.world import World, text_of
from tests.lab import mail
from tests.lab.behaviours import Behaviour, Ehlo, Greeting, StartTls, TlsKind
from tests.lab.certificates import CertificateKind
from tests.lab.crowd import BLOCK, ZONE, Crowd, Member, play
from tests.lab.dns import Record, mail_host
from tests.lab.lab import SITE, Lab
from tests.lab.peers import ReceivedMail
from tests.lab.services import ServiceOptions
from tests.lab.smtpd import Gone, Recorder, Wire
from tests.lab.waiting import LabError, wait_until

RUNS = int(os.environ.get("RESTANTE_RUNS", "200"))
SEED = int(os.environ.get("RESTANTE_SEED", "1"))
RUNS_A_ROUND = 100  # most of a round is waiting for the slowest attackers
ROUNDS = -(-RUNS // RUNS_A_ROUND)
PEERS_A_RUN = 3
ROUND_SECONDS = 20.0
LOST_SECONDS = 20.0
ENOUGH_CONNECTIONS = 4  # of a peer whose message is still queued: the look, its confirmation, and two attempts


SETTINGS = {"tls.banner_seconds": "2", "tls.total_seconds": "4"}


class Way(StrEnum):
    """What the attacker does when the chosen number of bytes has passed."""

    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"
    DELAY = "delay"
    INSERT = "insert"
    DAMAGE = "damage"


@dataclass(frozen=True, slots=True)
class Fault:
    """``way`` after ``at`` bytes from the server, or, with ``from_client``, from the client."""

    way: Way
    at: int
    data: bytes = b""
    from_client: bool = False


@dataclass(frozen=True, slots=True)
class Conduct:
    """One connection: what the server does, and where somebody on the path steps in."""

    behaviour: Behaviour
    fault: Fault | None = None
    starttls_reply: bytes = b""


class AttackedWire(Wire):
    """A wire with somebody on it, who counts the bytes as they cross the network."""

    def __init__(self, number: int, client: socket, recorder: Recorder, conduct: Conduct) -> None:
        super().__init__(number, client, recorder)
        self._client, self._fault, self._reply = client, conduct.fault, conduct.starttls_reply
        self._sent = self._received = 0

    def send_raw(self, data: bytes) -> None:
        """Send, with the fault in its place and the answer to STARTTLS replaced."""
        if self._reply and self.tls is None and data.startswith(b"220 2.0.0 Ready"):
            data = self._reply
        fault = self._fault
        if fault is None or fault.from_client or not self._sent <= fault.at < self._sent + len(data):
            self._sent += len(data)
            super().send_raw(data)
            return
        cut = fault.at - self._sent
        self._sent += len(data)
        super().send_raw(data[:cut])
        if fault.way is Way.INSERT:
            super().send_raw(fault.data + data[cut:])
        elif fault.way is Way.DAMAGE:
            super().send_raw(bytes([data[cut] ^ 0x55]) + data[cut + 1 :])
        else:
            self._strike(fault.way)
            super().send_raw(data[cut:])

    def handshake(self, context: ssl.SSLContext) -> None:
        """Do the handshake, or, where STARTTLS was answered with anything but 220, go on in clear."""
        if not self._reply or self._reply.startswith(b"220"):
            super().handshake(context)

    def receive(self) -> bytes:
        """Receive, and strike once enough has come."""
        data = super().receive()
        fault, before = self._fault, self._received
        self._received += len(data)
        if fault is not None and fault.from_client and before <= fault.at < self._received:
            if fault.way in {Way.INSERT, Way.DAMAGE}:
                super().send_raw(fault.data)
            else:
                self._strike(fault.way)
        return data

    def _strike(self, way: Way) -> None:
        if way is Way.DELAY:
            time.sleep(0.5)
            return
        if way is Way.SILENCE:
            self.drain(6)
        if way is Way.RESET:
            with suppress(OSError):
                self._client.setsockopt(SOL_SOCKET, SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        raise Gone(way)


@dataclass(frozen=True, slots=True)
class Run:
    """``rule`` is the sender's; ``peers`` are the conducts of one recipient's peer each, the last one for ever;
    ``mixed`` adds a colleague of the site."""

    rule: str
    peers: tuple[tuple[Conduct, ...], ...]
    mixed: bool


RULES = {
    f"{tls}-{otherwise}-{name}": f"""
[[rule]]
name = "{tls}-{otherwise}-{name}"
tls = "{tls}"
otherwise = "{otherwise}"
deadline_hours = {hours:.8f}
senders = ["{tls}-{otherwise}-{name}@site.example"]
when = [{{ detectors = ["trigger-*"] }}]
"""
    for tls, otherwise, (name, hours) in itertools.product(
        ("encrypted", "authenticated"), ("portal", "quarantine", "reject"), (("hasty", 1 / 3600), ("patient", 24.0))
    )
}

HOSTILE = st.sampled_from(
    (
        b"250 2.0.0 Ok\r\n",
        b"250-STARTTLS\r\n250 OK\r\n",
        b"354 Go ahead\r\n",
        b"\r\n",
        b"\x00\xff\x16\x03\x01",
        b"221 Bye\r\n",
        b"554 no\r\n",
        b"250 2.1.0 Ok\r\n250 2.1.5 Ok\r\n354 Go ahead\r\n250 2.0.0 Taken\r\n",
    )
) | st.binary(min_size=1, max_size=64)
ANSWERS = st.sampled_from(
    (
        b"250 2.0.0 Ok\r\n",
        b"454 4.7.0 later\r\n",
        b"502 5.5.1 what?\r\n",
        b"220 2.0.0 Ready\r\n250 2.0.0 injected\r\n",
        b"220-2.0.0 Ready\r\n220 now\r\n",
        b"220",
        b"354 Go ahead\r\n",
        b"421 Bye\r\n",
    )
) | st.binary(min_size=1, max_size=40)
PLAIN_TLS = st.just(Behaviour())
BEHAVIOURS = PLAIN_TLS | st.builds(
    Behaviour,
    greeting=st.sampled_from((Greeting.READY,) * 6 + (Greeting.TOO_BUSY,)),
    ehlo=st.sampled_from((Ehlo.FULL,) * 5 + tuple(Ehlo)),
    starttls=st.sampled_from((StartTls.HANDSHAKE,) * 3 + (StartTls.ABSENT,) * 3 + tuple(StartTls)),
    certificate=st.sampled_from((CertificateKind.VALID, *CertificateKind)),
    tls_kind=st.sampled_from((TlsKind.MODERN,) * 4 + tuple(TlsKind)),
    greylist_attempts=st.sampled_from((0, 0, 0, 1)),
    rcpt_code=st.sampled_from((250,) * 6 + (450, 550)),
    data_code=st.sampled_from((250,) * 6 + (451, 554)),
)
# The dialogue in clear, the handshake, and the session beneath it end at about 250, 1,800 and 3,000 bytes.
FAULTS = st.builds(
    Fault,
    way=st.sampled_from((Way.RESET, Way.CLOSE, Way.INSERT, Way.DAMAGE, Way.DELAY) * 3 + (Way.SILENCE,)),
    at=st.integers(0, 300) | st.integers(0, 3000),
    data=HOSTILE,
    from_client=st.booleans(),
)
CONDUCTS = st.builds(
    Conduct,
    behaviour=BEHAVIOURS,
    fault=st.none() | FAULTS,
    starttls_reply=st.sampled_from((b"", b"", b"")) | ANSWERS,
)
# A peer that pleased the prober is the more dangerous one.
LURED = st.tuples(st.just(Conduct(Behaviour())), CONDUCTS, CONDUCTS)
PEERS = LURED | st.lists(CONDUCTS, min_size=1, max_size=4).map(tuple)
ONE_RUN = st.builds(
    Run,
    rule=st.sampled_from(sorted(RULES)),
    peers=st.lists(PEERS, min_size=1, max_size=PEERS_A_RUN).map(tuple),
    mixed=st.booleans(),
)


@dataclass(slots=True)
class Sent:
    """One run under way.  ``secret`` may be in clear nowhere."""

    run: Run
    sender: str
    members: list[Member]
    recipients: list[str]
    secret: str
    taken: bool = False
    reply: str = ""


class Battle:
    """The site, and the crowd of attackers."""

    def __init__(self, lab: Lab, world: World, crowd: Crowd) -> None:
        self._lab, self._world, self._crowd = lab, world, crowd
        self._numbers = itertools.count(1)
        self.runs = 0
        self.ends: Counter[str] = Counter()

    def fight(self, runs: list[Run]) -> None:
        """One round: everything is sent, and all of it is accounted for and was never in clear."""
        self._world.begin()
        sent = [self._prepare(run) for run in runs]
        with ThreadPoolExecutor(32) as pool:
            list(pool.map(self._send, sent))
        # What was in clear once is a failure whatever comes after it.
        wait_for(lambda: [] if self._secrets_in_clear() else self._open(sent), ROUND_SECONDS)
        ends = self._round
        for one in sent:
            self._assert_never_clear(one)
        for one, recipient in self._lost(sent):
            pytest.fail(f"{recipient} is nowhere: {one.run}, answered {one.reply}")
        assert not self._secrets_in_clear(), "in clear, of an earlier round"
        self.runs += len(runs)
        self.ends += ends

    def _secrets_in_clear(self) -> bool:
        return re.search(rb"S\d{7}E", self._crowd.clear_bytes()) is not None

    def _prepare(self, run: Run) -> Sent:
        number = next(self._numbers)
        members = [
            self._crowd.add((number - 1) * PEERS_A_RUN + place, attack(conducts))
            for place, conducts in enumerate(run.peers, 1)
        ]
        recipients = [member.recipient for member in members]
        if run.mixed:
            recipients.append(f"colleague-{number}@{SITE}")
        return Sent(run, f"{run.rule}@{SITE}", members, recipients, f"S{number:07d}E")

    def _send(self, one: Sent) -> None:
        message = sensitive(one)
        answer = self._lab.send(message, one.recipients, sender=one.sender)
        assert not answer.refused, answer
        one.taken, one.reply = answer.accepted, f"{answer.code} {answer.reply}"

    def _lost(self, sent: list[Sent]) -> list[tuple[Sent, str]]:
        """Copies that no glance finds.  One glance misses what moves between two folders of the queue meanwhile."""
        missing: dict[str, Sent] | None = None

        def glance() -> bool:
            nonlocal missing
            now = {recipient: one for one, recipient, where in self._open(sent) if not where}
            missing = now if missing is None else {name: missing[name] for name in missing.keys() & now.keys()}
            return not missing

        with suppress(LabError):
            wait_until(glance, LOST_SECONDS, "every copy to be found")
        return [(one, recipient) for recipient, one in (missing or {}).items()]

    def _open(self, sent: list[Sent]) -> list[tuple[Sent, str, str]]:
        """Recipients that have not come to an end, each with where the copy is; empty where it is nowhere."""
        queue = json.dumps(self._lab.server.queued())
        stored: dict[str, set[DeliveryState]] = {}
        for copy in self._world.held():
            stored.setdefault(copy.recipient, set()).add(copy.state)
        mailboxes = self._lab.mailboxes.mails()
        told = {recipient for one in mailboxes for recipient in failed(one)}
        colleagues = {recipient for one in mailboxes for recipient in one.recipients}
        still_open = []
        ends: Counter[str] = Counter()
        for one in sent:
            if not one.taken:
                ends["refused"] += 1
                continue
            for place, recipient in enumerate(one.recipients):
                states = stored.get(recipient, set())
                end = self._end(one, place, recipient, states, told | colleagues)
                queued = f'"{recipient}"' in queue
                if not end and queued and self._tried(one, place):
                    end = "queued"
                ends[end or "open"] += 1
                if not end:
                    waits = "store" if DeliveryState.HANDOVER in states else ""
                    still_open.append((one, recipient, "queue" if queued else waits))
        self._round = ends
        return still_open

    @staticmethod
    def _tried(one: Sent, place: int) -> bool:
        return place < len(one.members) and one.members[place].connections >= ENOUGH_CONNECTIONS

    @staticmethod
    def _end(one: Sent, place: int, recipient: str, states: set[DeliveryState], mailboxes: set[str]) -> str:
        for state in (DeliveryState.HELD, DeliveryState.QUARANTINED):
            if state in states:
                return str(state)
        if place < len(one.members) and any(
            record["sender"] == one.sender and record["tls"] for record in list(one.members[place].recorder.mails)
        ):
            return "over TLS"
        if recipient in mailboxes:
            return "sender told" if place < len(one.members) else "colleague"
        return ""

    def _assert_never_clear(self, one: Sent) -> None:
        for member in one.members:
            read = member.recorder.clear_bytes()
            assert one.secret.encode() not in read, f"in clear at {member.domain}: {one.run}"
            assert f"MAIL FROM:<{one.sender}>".encode() not in read, f"envelope in clear at {member.domain}: {one.run}"
            for record in member.recorder.mails:
                assert record["tls"] or record["sender"] != one.sender, f"taken in clear at {member.domain}: {one.run}"


def sensitive(one: Sent) -> EmailMessage:
    """A message in which every line carries the secret, so that a leak of any part shows."""
    message = mail.triggered(one.secret, sender=one.sender, to=[f"everybody@{SITE}"])
    message.set_content("\n".join(f"{one.secret}-{line}" for line in range(60)))
    return message


def failed(received: ReceivedMail) -> list[str]:
    """The recipients of which a bounce or a notice says that they did not get it."""
    bounced = re.findall(rb"Final-Recipient: rfc822; *(\S+)", received.content)
    found = [one.decode("ascii") for one in bounced]
    if received.message["X-Restante-Notice"] is not None:
        found += re.findall(r"^- (\S+?@[\w.-]+)\b.*not sent", text_of(received), re.MULTILINE)
    return found


def attack(conducts: tuple[Conduct, ...]) -> Callable[[Member, int, socket, Crowd], None]:
    """A peer with a conduct for each connection; the last one stays."""

    def serve(member: Member, number: int, client: socket, crowd: Crowd) -> None:
        conduct = conducts[min(number, len(conducts) - 1)]
        play(member, number, AttackedWire(number, client, member.recorder, conduct), crowd, conduct.behaviour)

    return serve


def wait_for(still_open: Callable[[], list[tuple[Sent, str, str]]], seconds: float) -> list[tuple[Sent, str, str]]:
    """What is still open when nothing is any more, or after ``seconds``."""
    with suppress(LabError):
        wait_until(lambda: not still_open(), seconds, "every copy to come to an end")
    return still_open()


def different_runs(count: int) -> list[Run]:
    """``count`` generated runs, no two alike, always the same ones for one seed."""
    runs: dict[str, Run] = {}

    @seed(SEED)
    @settings(
        max_examples=4 * count,  # hypothesis likes to vary what it had; what it repeats is left out
        deadline=None,
        database=None,
        phases=[Phase.generate],  # a failure names its run; to shrink real deliveries would take hours
        suppress_health_check=list(HealthCheck),
    )
    @given(ONE_RUN)
    def collect(run: Run) -> None:
        runs.setdefault(repr(run), run)

    collect()
    assert len(runs) >= count
    return list(runs.values())[-count:]  # the first ones are the simplest


@pytest.fixture(scope="module")
def battle() -> Iterator[Battle]:
    peers = range(1, (ROUNDS + 1) * RUNS_A_ROUND * PEERS_A_RUN + 1)
    records: list[Record] = []
    for number in peers:
        records += mail_host(f"d{number}.{ZONE}", f"mx{number}.{ZONE}", str(BLOCK[number]))
    options = ServiceOptions(policy="".join(RULES.values()), settings=SETTINGS)
    with Lab(peers=(), options=options, records=records) as lab:
        assert lab.services is not None
        crowd = Crowd(lab.network, lab.authority, lab.directory / "crowd")
        store = Store(lab.services.settings.database)
        fought = Battle(lab, World(lab, lab.services, store), crowd)
        try:
            yield fought
        finally:
            crowd.close()
            store.close()


@pytest.mark.behaviour("F13")
@pytest.mark.behaviour("F5")
@pytest.mark.behaviour("F7")
@pytest.mark.slow
def test_no_attacker_at_any_byte_gets_a_sensitive_byte_in_clear(battle: Battle) -> None:
    print(f"RESTANTE_SEED={SEED} RESTANTE_RUNS={RUNS}")
    runs = different_runs(RUNS)
    for start in range(0, RUNS, RUNS_A_ROUND):
        started = time.monotonic()
        battle.fight(runs[start : start + RUNS_A_ROUND])
        print(f"{battle.runs} runs, {time.monotonic() - started:.1f} s: {dict(battle._round)}")
    assert battle.runs == RUNS
    # The attackers really met mail of every kind of end.
    assert set(battle.ends) >= {"held", "quarantined", "over TLS", "queued", "sender told", "colleague"}


@pytest.mark.behaviour("F13")
def test_the_attackers_would_have_seen_an_ordinary_message(battle: Battle) -> None:
    battle._world.begin()
    member = battle._crowd.add(
        (ROUNDS + 1) * RUNS_A_ROUND * PEERS_A_RUN, attack((Conduct(Behaviour(starttls=StartTls.ABSENT)),))
    )
    assert battle._lab.send(mail.newsletter(to=[member.recipient]), [member.recipient]).accepted
    wait_until(lambda: member.recorder.mails, 20, "an ordinary message")
    assert b"The autumn fair opens on Saturday" in member.recorder.clear_bytes()


@pytest.mark.behaviour("F13")
def test_a_site_that_does_not_enforce_tls_is_found_out(battle: Battle) -> None:
    # Last in this file: the lab is of no use after it.
    postfix = battle._lab.postfix
    lax = [f"{TLS_TRANSPORT}/unix/smtp_tls_security_level=may", f"{TLS_TRANSPORT}/unix/smtp_tls_policy_maps="]
    postfix.run(["postconf", "-c", str(postfix.config), "-P", *lax])
    postfix.stop()  # a reload leaves alone the clients that are still at work
    postfix.start()
    lured = (Conduct(Behaviour()), Conduct(Behaviour(starttls=StartTls.ABSENT)))
    with pytest.raises(AssertionError, match="in clear"):
        battle.fight([Run("encrypted-portal-patient", (lured,), mixed=False)] * 3)
