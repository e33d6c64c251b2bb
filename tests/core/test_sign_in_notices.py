"""Changes to ways to sign in, on either database: who is to be told of what, how often at most, and nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import delete, select, update

from restante.access import Proof
from restante.enrolment_keys import PortalKeys
from restante.store import enrolments, freezing, sign_in_notices, throttle
from restante.store.enrolments import Ground, NewPasskey, NewPassword, NotAllowed
from restante.store.models import AuditRecord, Delivery, DeliveryState, JobKind, OutboxJob, OutboxState
from restante.store.sign_in_notices import GATHER_SECONDS, MOST_LINES, PER_ADDRESS
from restante.vault import generate_keypair
from tests.core.stores import NOW, Holder

BOB, EVE = "bob@x.example", "eve@x.example"
PASSWORD = NewPassword("argon2-hash", b"s" * 20, 1)


class Portal:
    """A store with copies that were opened, and what the portal does with enrolments."""

    def __init__(self, url: str) -> None:
        self.holder = Holder(url)
        self.store = self.holder.store
        (vault, _), (_, worker_public) = generate_keypair(), generate_keypair()
        self.keys = PortalKeys.of(vault, worker_public, b"p" * 32)
        self.passkeys = 0

    def ground(self, address: str = BOB, proof: Proof = Proof.CODE) -> Ground:
        delivery = self.holder.held(address)
        with self.store.write() as session:
            session.execute(update(Delivery).where(Delivery.id == delivery).values(state=DeliveryState.OPENED))
            return Ground(delivery, session.get_one(Delivery, delivery).message_id, address, proof)

    def passkey(self) -> NewPasskey:
        self.passkeys += 1
        return NewPasskey(b"%d" % self.passkeys, b"public key", 0)

    def enrol(self, address: str = BOB, *, now: float = NOW) -> str:
        return enrolments.enrol(self.store, self.keys, self.ground(address), self.passkey(), handle=b"h", now=now)

    def add(self, enrolment_id: str, way: NewPasskey | NewPassword = PASSWORD, *, now: float = NOW) -> None:
        enrolments.add_way(self.store, self.keys, enrolment_id, way, now=now)

    def remove(self, actor: str = "recipient", *, now: float = NOW) -> None:
        enrolments.remove(self.store, self.keys.common, BOB, actor=actor, now=now)

    def jobs(self) -> list[OutboxJob]:
        with self.store.read() as session:
            asked = select(OutboxJob).where(OutboxJob.kind == JobKind.SIGN_IN).order_by(OutboxJob.due_at)
            return list(session.scalars(asked))

    def told(self) -> list[list[str]]:
        """What each mail that is promised tells of."""
        return [[one["what"] for one in job.payload["changes"]] for job in self.jobs()]

    def send(self) -> None:
        """Take every mail for sent."""
        with self.store.write() as session:
            session.execute(update(OutboxJob).values(state=OutboxState.DONE, attempts=1))


@pytest.fixture
def portal(database_url: str) -> Iterator[Portal]:
    one = Portal(database_url)
    yield one
    one.store.close()


@pytest.mark.behaviour("P5")
def test_each_change_is_told_and_those_near_each_other_share_a_mail(portal: Portal) -> None:
    first = portal.enrol()
    portal.add(first, now=NOW + 1)
    portal.add(first, now=NOW + 2)
    enrolments.set_greeting(portal.store, portal.keys.common, first, "blue elephant", now=NOW + 3)
    portal.enrol(BOB.upper(), now=NOW + 4)
    assert portal.told() == [["passkey", "password", "new-password", "removed", "passkey"]]
    (job,) = portal.jobs()
    assert job.due_at == NOW + GATHER_SECONDS  # what comes later does not put it off
    assert [one["at"] for one in job.payload["changes"]] == [NOW, NOW + 1, NOW + 2, NOW + 4, NOW + 4]
    portal.send()
    portal.remove(now=NOW + 5)
    portal.send()
    portal.enrol(now=NOW + 6)
    portal.send()
    portal.remove("operator:root", now=NOW + 7)
    assert portal.told()[1:] == [["removed"], ["passkey"], ["removed-by-operator"]]
    for secret in (BOB, "argon2", "public key", "elephant"):
        assert secret not in str([job.payload for job in portal.jobs()])


@pytest.mark.behaviour("P5")
def test_a_freeze_that_ends_an_enrolment_is_told(portal: Portal) -> None:
    ground = portal.ground(proof=Proof.NUMBER)
    enrolments.enrol(portal.store, portal.keys, ground, portal.passkey(), handle=b"h", now=NOW)
    portal.send()
    freezing.freeze(portal.store, ground.delivery_id, actor="recipient", now=NOW + 1)
    assert portal.told() == [["passkey"], ["removed"]]
    assert portal.jobs()[1].payload["delivery"] == ground.delivery_id


def test_what_was_refused_is_not_told(portal: Portal) -> None:
    way = portal.passkey()
    enrolments.enrol(portal.store, portal.keys, portal.ground(), way, handle=b"h", now=NOW)
    weak = portal.ground(proof=Proof.NUMBER)
    refused: list[Callable[[], object]] = [
        lambda: enrolments.enrol(portal.store, portal.keys, weak, portal.passkey(), handle=b"h", now=NOW),
        lambda: enrolments.enrol(portal.store, portal.keys, portal.ground(EVE), way, handle=b"h", now=NOW),
        lambda: enrolments.remove(portal.store, portal.keys.common, BOB, actor="recipient", now=NOW, ground=weak),
        lambda: portal.add("0" * 32),
    ]
    for act in refused:
        with pytest.raises(NotAllowed):
            act()
    assert portal.told() == [["passkey"]]


@pytest.mark.behaviour("P5")
def test_nobody_can_fill_a_mailbox_and_nothing_goes_untold(portal: Portal) -> None:
    name = portal.enrol()
    portal.send()
    for number in range(1, PER_ADDRESS.tries + 5):
        portal.add(name, now=NOW + number)
        with portal.store.write() as session:  # what is due is sent
            due = (OutboxJob.due_at <= NOW + number + GATHER_SECONDS,)
            session.execute(update(OutboxJob).where(*due).values(state=OutboxState.DONE, attempts=1))
    assert len(portal.jobs()) == PER_ADDRESS.tries + 1
    last = portal.jobs()[-1]
    assert last.due_at == NOW + PER_ADDRESS.seconds
    assert len(last.payload["changes"]) == 5
    portal.enrol(EVE, now=NOW + 50)
    assert NOW + 50 + GATHER_SECONDS in [job.due_at for job in portal.jobs()]  # another address is not concerned
    portal.send()
    later = NOW + PER_ADDRESS.seconds + 1
    throttle.purge(portal.store, now=later)
    portal.remove(now=later)
    assert portal.jobs()[-1].due_at == later + GATHER_SECONDS


def test_a_mail_has_so_many_lines_and_the_last_of_each_kind(portal: Portal) -> None:
    name = portal.enrol()
    for number in range(1, 40):
        portal.add(name, now=NOW + number)
    portal.remove(now=NOW + 41)
    (job,) = portal.jobs()
    changes = [(one["what"], one["at"] - NOW) for one in job.payload["changes"]]
    assert len(changes) == MOST_LINES
    assert {("passkey", 0), ("password", 1), ("new-password", 39), ("removed", 41)} <= set(changes)


def test_a_mail_under_way_takes_nothing_more(portal: Portal) -> None:
    name = portal.enrol()
    with portal.store.write() as session:  # a worker has it, or it is to be tried again
        session.execute(update(OutboxJob).where(OutboxJob.kind == JobKind.SIGN_IN).values(attempts=1))
    portal.add(name)
    (job, _) = portal.jobs()
    assert sign_in_notices.again_in_clear(portal.store, job.id, now=NOW)
    portal.add(name)
    assert sorted(portal.told()) == [["passkey"], ["passkey"], ["password", "new-password"]]
    assert not sign_in_notices.again_in_clear(portal.store, "0" * 32, now=NOW)


def test_of_changes_at_once_none_is_lost(portal: Portal) -> None:
    name = portal.enrol()
    barrier = threading.Barrier(4)
    ways = [portal.passkey() for _ in range(4)]

    def add(way: NewPasskey) -> None:
        barrier.wait()
        portal.add(name, way)

    threads = [threading.Thread(target=add, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert portal.told() == [["passkey"] * 5]


def test_where_nobody_can_be_told_the_record_says_so(portal: Portal) -> None:
    name = portal.enrol()
    portal.send()
    with portal.store.write() as session:
        session.execute(delete(AuditRecord).where(AuditRecord.action == sign_in_notices.ENROLLED))
    portal.add(name)
    assert portal.told() == [["passkey"]]
    with portal.store.read() as session:
        record = session.scalars(select(AuditRecord).where(AuditRecord.action == "untold-sign-in-change")).one()
    assert record.detail == {"changes": ["password"]}
