"""Notices that ways to sign in were changed: the mail as the worker sends it, its way, and what bounces of it."""

from __future__ import annotations

import asyncio
import html
import io
import re
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiosmtpd.smtp import Envelope
from sqlalchemy import select, update

from restante.access import NoticeForm, Proof
from restante.enrolment_keys import PortalKeys
from restante.marks import NOTICE_HEADER, ROUTE_HEADER, NoticeMark
from restante.notice_ids import link_of
from restante.store import enrolments, undelivered
from restante.store.enrolments import Ground, NewPasskey, NewPassword
from restante.store.models import AuditRecord, Delivery, DeliveryState, JobKind, OutboxJob, OutboxState
from restante.tls.evidence import Evidence, Level
from restante.vault import generate_keypair
from restante_milter.intake import Intake
from restante_milter.reports import read_report
from tests.milter.test_jobs import CODE, TOKEN, Office
from tests.milter.test_notice_log import BOUNCED, follow, queued, told
from tests.milter.test_reports import KIND, report

BOB, SENDER = "bob@x.example", "ann@site.example"
SECRET, GREETING = b"s" * 32, "blue elephant"


class Domains:
    """An engine for which every domain is at ``level``."""

    level = Level.UNKNOWN

    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        del recheck
        now = time.time()
        return Evidence(domain, self.level, "as the test says", now, now + 99, now + 99)

    async def close(self) -> None:
        """Nothing is under way."""


class Site:
    """The worker's office, and the portal's keys."""

    def __init__(self, folder: Path) -> None:
        (vault, _), (_, worker_public) = generate_keypair(), generate_keypair()
        self.keys = PortalKeys.of(vault, worker_public, b"p" * 32)
        self.domains = Domains()
        self.office = Office(folder, keys=self.keys.common, engine=self.domains)
        self.store = self.office.holder.store

    def enrol(self, address: str = BOB, **changes: Any) -> Ground:
        """A recipient opens a message and sets a password, a passkey and a greeting."""
        (copy,) = self.office.hold(address, **changes)
        with self.store.write() as session:
            session.execute(update(OutboxJob).values(state=OutboxState.DONE))  # its own notice is not looked at here
            session.execute(update(Delivery).where(Delivery.id == copy).values(state=DeliveryState.OPENED))
            ground = Ground(copy, session.get_one(Delivery, copy).message_id, address, Proof.CODE)
        now = time.time()
        way = NewPassword("argon2-hash", b"canary-of-the-secret", 1)
        name = enrolments.enrol(self.store, self.keys, ground, way, handle=b"h", now=now)
        enrolments.add_way(self.store, self.keys, name, NewPasskey(b"id", b"public-key", 0), now=now)
        enrolments.set_greeting(self.store, self.keys.common, name, GREETING, now=now)
        return ground

    def send(self) -> None:
        mta = self.office.up()
        try:
            self.office.run()
        finally:
            mta.stop()

    def mails(self, address: str = BOB) -> list[EmailMessage]:
        """The mails about signing in that ``address`` got."""
        marked = [
            (mail, NoticeMark.verify(SECRET, str(mail[NOTICE_HEADER])))
            for to, mail in self.office.mailbox.mails
            if to == [address]
        ]
        return [mail for mail, mark in marked if mark.job_id]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.store.close()


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content()).replace("\r\n", "\n")


def words(text: str) -> list[str]:
    return re.findall(r"[\w.@:/-]{2,}", text.replace("-- \n", ""))


@pytest.mark.behaviour("P5")
@pytest.mark.behaviour("P3")
def test_the_address_is_told_what_was_set_when_and_what_to_do_if_it_was_somebody_else(site: Site) -> None:
    site.enrol()
    site.send()
    (mail,) = site.mails()
    text = " ".join(text_of(mail).split())
    assert mail["Subject"] == "Your ways to sign in have changed"
    assert (mail["Auto-Submitted"], mail["Reply-To"]) == ("auto-generated", None)
    assert re.search(rf"- Password with one-time codes, set on \d.* {time.gmtime().tm_year}.* UTC - Passkey, set", text)
    assert "as bob@x.example on the page for secure mail of Site have changed" in text
    assert "If it was not you, somebody may be reading your mailbox. Tell Site at once" in text
    assert GREETING in text
    assert set(re.findall(r"https?://\S+", mail.as_string())) >= {"https://pickup.site.example/sign-in"}
    assert set(re.findall(r'href="([^"]*)"', text_of(mail, "html"))) == {"https://pickup.site.example/sign-in"}
    assert words(text_of(mail)) == words(
        html.unescape(re.sub(r"<title>.*?</title>|<[^>]*>", " ", text_of(mail, "html")))
    )
    for opening in (CODE, TOKEN):
        assert opening.search(text) is None
    for secret in ("argon2", "canary", "public-key", SENDER, "results"):
        assert secret not in text_of(mail) + text_of(mail, "html")
    site.send()
    assert len(site.mails()) == 1


@pytest.mark.behaviour("P5")
def test_a_removal_is_told_and_by_whom(site: Site) -> None:
    site.enrol()
    enrolments.remove(site.store, site.keys.common, BOB, actor="operator:root", now=time.time())
    site.send()
    (mail,) = site.mails()
    text = " ".join(text_of(mail).split())
    assert "All ways to sign in, removed by the administrators on" in text
    assert "Later messages then need an access code again." in text
    assert "root" not in text
    assert GREETING not in text


@pytest.mark.behaviour("P13")
def test_it_is_in_the_recipients_language_with_english_below(site: Site) -> None:
    site.enrol("rita@praxis.de")
    site.send()
    (mail,) = site.mails("rita@praxis.de")
    assert mail["Content-Language"] == "de, en"
    german, _, english = text_of(mail).partition("English\n")
    assert "Passkey, eingerichtet am" in german
    assert "somebody may be reading" not in german
    assert "Passkey, set on" in english


def test_who_gets_notices_without_an_address_gets_this_without_one(site: Site) -> None:
    site.enrol(notice=NoticeForm.NUMBER)
    site.send()
    (mail,) = site.mails()
    assert "://" not in text_of(mail) + text_of(mail, "html")


@pytest.mark.behaviour("S3")
def test_it_goes_under_tls_and_in_clear_where_that_is_gone(site: Site) -> None:
    site.domains.level = Level.ENCRYPTED
    site.enrol()
    site.send()
    (mail,) = site.mails()
    assert str(mail[ROUTE_HEADER]).startswith("tls level=encrypted ")
    keys = site.office.holder.keys
    force = cast(Any, lambda: None)  # no rule is asked for a notice
    intake = Intake(site.office.settings, site.store, site.domains, keys.vault, keys.worker, SECRET, force)

    def give_back() -> str:
        envelope = Envelope()
        envelope.mail_from, envelope.rcpt_tos = "restante@site.example", [BOB]
        envelope.content = mail.as_bytes(policy=mail.policy.clone(max_line_length=None))  # as it was sent
        return asyncio.run(intake.handle_DATA(cast(Any, None), cast(Any, SimpleNamespace()), envelope))

    assert give_back().startswith("451")  # the domain still does TLS
    site.domains.level = Level.NONE
    assert give_back().startswith("250")
    site.domains.level = Level.ENCRYPTED  # whatever is seen now, it was not delivered that way
    site.send()
    again = site.mails()[1:]
    assert [(one[ROUTE_HEADER], one["Subject"]) for one in again] == [(None, mail["Subject"])]
    assert text_of(again[0]) == text_of(mail)


def test_it_is_tried_again_and_given_up_like_others(site: Site) -> None:
    site.enrol()
    site.office.run()  # nobody listens
    site.send()
    assert len(site.mails()) == 1
    site.office.mailbox.refused.add(BOB)
    enrolments.remove(site.store, site.keys.common, BOB, actor="recipient", now=time.time())
    with site.store.write() as session:
        session.execute(update(OutboxJob).values(created_at=1))
    site.send()
    with site.store.read() as session:
        states = sorted(session.scalars(select(OutboxJob.state).where(OutboxJob.kind == JobKind.SIGN_IN)))
    assert states == ["done", "failed"]


@pytest.mark.behaviour("S3")
@pytest.mark.parametrize("by", ["log", "report"])
def test_a_bounce_is_recorded_and_the_sender_is_told_once(site: Site, tmp_path: Path, by: str) -> None:
    ground = site.enrol()
    site.send()
    (mail,) = site.mails()

    def bounce(to: str = BOB, delivery_id: str = "") -> None:
        if by == "log":
            follow(site.office.holder, tmp_path / "log", queued(str(mail["Message-ID"])), told(BOUNCED, to=to))
            return
        found = read_report(KIND, io.BytesIO(report(mail)), SECRET)
        assert found is not None
        with site.store.write() as session:
            undelivered.note(session, found.lost, time.time(), proved_for=delivery_id or found.delivery_id)

    bounce("no@x.example", "e" * 32)  # about another address, or copy
    with site.store.read() as session:
        assert session.scalars(select(AuditRecord).where(AuditRecord.action.contains("bounced"))).all() == []
    for _ in range(2):
        bounce()
    with site.store.read() as session:
        record = session.scalars(select(AuditRecord).where(AuditRecord.action.contains("bounced"))).one()
    assert (record.action, record.delivery_id) == ("sign-in-notice-bounced", ground.delivery_id)
    assert record.detail == {"status": "5.1.1", "job": link_of(str(mail["Message-ID"]))}
    before = len(site.office.mailbox.mails)
    site.send()
    assert len(site.office.mailbox.mails) == before + 1
    text = " ".join(site.office.mailbox.last_to(SENDER).split())
    assert (
        f"A notice to {BOB} about signing in to read messages did not arrive: it was refused with status 5.1.1" in text
    )
    assert "Your message still waits" not in text
