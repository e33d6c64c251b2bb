"""Notices to enrolled recipients: no code to pass on, nothing that opens, and the way without the device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from restante.access import CodeWay, NoticeForm, Proof
from restante.enrolment_keys import PortalKeys
from restante.store import enrolments, fresh, links
from restante.store.enrolments import Ground, NewPassword
from restante.store.models import Link
from restante.tokens import plain_number
from restante.vault import generate_keypair
from tests.milter.test_jobs import CODE, TOKEN, Office

BOB, SENDER = "bob@x.example", "ann@site.example"
GREETING = "blue elephant"


class Site:
    """The worker's office, and the portal's keys."""

    def __init__(self, folder: Path) -> None:
        (vault, _), (_, worker_public) = generate_keypair(), generate_keypair()
        self.keys = PortalKeys.of(vault, worker_public, b"p" * 32)
        self.office = Office(folder, keys=self.keys.common)
        self.store = self.office.holder.store

    def enrol(self, proof: Proof = Proof.CODE, greeting: str = "") -> None:
        ground = Ground("d" * 32, "m" * 32, BOB.upper(), proof)
        way = NewPassword("hash", b"s" * 20, 1)
        name = enrolments.enrol(self.store, self.keys, ground, way, handle=b"h", now=time.time())
        enrolments.set_greeting(self.store, self.keys.common, name, greeting, now=time.time())

    def deliver(self, **changes: Any) -> str:
        """Hold a message for Bob and send all notices; the notice's text."""
        self.office.hold(BOB, **changes)
        return self.send()

    def send(self) -> str:
        mta = self.office.up()
        try:
            self.office.run()
        finally:
            mta.stop()
        return " ".join(self.office.mailbox.last_to(BOB).split())

    def everything(self) -> str:
        return "\n".join(mail.as_string() for _, mail in self.office.mailbox.mails)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


@pytest.mark.behaviour("P4")
@pytest.mark.behaviour("P3")
def test_a_notice_in_clear_asks_to_sign_in_and_holds_nothing_that_opens(site: Site) -> None:
    site.enrol(greeting=GREETING)
    text = site.deliver()
    assert "https://pickup.site.example/sign-in" in text
    assert GREETING in text
    assert "we never ask for a password" not in text
    assert TOKEN.search(site.everything()) is None
    assert CODE.search(site.everything()) is None
    told = " ".join(site.office.mailbox.last_to(SENDER).split())
    assert "signs in to read it and needs no access code" in told
    with site.store.read() as session:
        link = session.scalars(select(Link)).one()
    assert (link.code_way, link.code_hash, link.number_hash) == (CodeWay.ENROLLED, None, None)
    number = next(each for each in text.split(": ") if plain_number(each[:15]))[:15]
    with pytest.raises(links.NoSuchLink):  # the number of the notice is no way in, with whatever code
        links.find_live_link(site.store, plain_number(number), now=time.time())


@pytest.mark.behaviour("P4")
def test_a_notice_by_number_has_no_address_for_who_signs_in_either(site: Site) -> None:
    site.enrol()
    text = site.deliver(notice=NoticeForm.NUMBER)
    assert "https://" not in text
    assert "Sign in on the page for secure mail" in text


@pytest.mark.behaviour("P4")
@pytest.mark.parametrize(
    ("proof", "changes"),
    [(Proof.NUMBER, {"always_code": True}), (Proof.CODE, {"enrolled": False})],
    ids=["who only reads the mailbox", "the rule accepts nobody"],
)
def test_codes_all_the_same(site: Site, proof: Proof, changes: dict[str, Any]) -> None:
    site.enrol(proof, greeting=GREETING)
    text = site.deliver(**changes)
    assert "/p/" in text
    assert GREETING in text
    assert CODE.search(site.office.mailbox.last_to(SENDER)) is not None


@pytest.mark.behaviour("P6")
def test_without_the_device_a_fresh_notice_has_a_code(site: Site) -> None:
    site.enrol()
    first = site.deliver()
    number = plain_number(first.partition("you need this number there: ")[2][:15])
    assert len(number) == 12
    fresh.ask(site.store, "", number, now=time.time(), by_code=True)
    text = site.send()
    found = TOKEN.search(site.office.mailbox.last_to(BOB))
    assert found is not None
    assert "You also need an access code" in text
    code = CODE.search(site.office.mailbox.last_to(SENDER))
    assert code is not None
    assert links.is_code(links.find_live_link(site.store, found[1], now=time.time()), code[0])


def test_after_removal_there_are_codes_again(site: Site) -> None:
    site.enrol()
    enrolments.remove(site.store, site.keys.common, BOB, actor="operator:root", now=time.time())
    assert "/p/" in site.deliver()
    assert CODE.search(site.office.mailbox.last_to(SENDER)) is not None
