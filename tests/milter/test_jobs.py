"""The worker's jobs against an MTA that is there, is not there, or refuses."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as email_policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import update

from restante.enrolment_keys import EnrolmentKeys
from restante.settings import (
    HostPort,
    NoticeSettings,
    PortalSettings,
    Settings,
    SmsSettings,
    VaultSettings,
    WorkerSettings,
)
from restante.store import fresh, holding, links
from restante.store.models import DeliveryState, OutboxJob
from restante.tls.agreed import Engine
from restante.tls.evidence import Evidence
from restante.tokens import code_matches
from restante.vault import generate_keypair
from restante_milter.jobs import JobRunner
from tests.core.stores import Holder

CODE = re.compile(r"\b[2-9A-HJKMNP-TV-Z]{4}-[2-9A-HJKMNP-TV-Z]{4}\b")
TOKEN = re.compile(r"/p/([\w-]{43})")
NUMBER = re.compile(r"(?m)^  (\d{3}(?: \d{3})+)\r?$")


class Nobody:
    """An engine that knows nothing: every notice goes in clear, with a code."""

    async def evidence(self, domain: str, *, recheck: bool = False) -> Evidence:
        del recheck
        return Evidence.unknown(domain, "nothing known", time.time())

    async def close(self) -> None:
        """Nothing is under way."""


class Mailbox:
    """What the MTA was given, as aiosmtpd's handler; refuses ``refused`` recipients, and with ``full`` all."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], EmailMessage]] = []
        self.refused: set[str] = set()
        self.full = ""

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address in self.refused:
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if self.full:
            return self.full
        message = message_from_bytes(envelope.content, policy=email_policy)
        assert isinstance(message, EmailMessage)
        self.mails.append((envelope.rcpt_tos, message))
        return "250 OK"

    def last_to(self, address: str) -> str:
        """The text of the latest mail to ``address``."""
        body = [m for to, m in self.mails if to == [address]][-1].get_body(("plain",))
        assert body is not None
        return str(body.get_content())


class Office:
    """A store, an MTA that can be up or down, and the worker's jobs."""

    def __init__(
        self,
        folder: Path,
        sms: SmsSettings | None = None,
        keys: EnrolmentKeys | None = None,
        engine: Engine | None = None,
        **worker: Any,
    ) -> None:
        self.holder = Holder(f"sqlite:///{folder}/restante.db")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        key = base64.b64encode(generate_keypair()[1]).decode()
        endpoint = HostPort("127.0.0.1", self.port)
        settings = Settings(
            hostname="mta.site.example",
            organisation="Site",
            database=self.holder.url,
            internal_domains=("site.example",),
            vault=VaultSettings(key_id="k", public_key=key, worker_public_key=key),
            portal=PortalSettings(url="https://pickup.site.example"),
            notice=NoticeSettings(sender="restante@site.example"),
            worker=WorkerSettings(submit=endpoint, reinject_tls=endpoint, retry_first_seconds=0.01, **worker),
            credentials=folder,
            sms=sms,
        )
        opener = self.holder.keys.worker_opener
        internal = frozenset(settings.internal_domains)
        self.settings = settings
        self.runner = JobRunner(
            settings,
            self.holder.store,
            engine or Nobody(),
            opener,
            b"s" * 32,
            lambda _: "",
            internal.__contains__,
            keys=keys,
        )
        self.mailbox = Mailbox()

    def run(self) -> None:
        """Run what is due, whatever time its back-off would ask for."""
        with self.holder.store.write() as session:
            session.execute(update(OutboxJob).values(due_at=0))
        asyncio.run(self.runner.run_due())

    def up(self) -> Controller:
        """Start the MTA."""
        controller = Controller(self.mailbox, hostname="127.0.0.1", port=self.port)
        controller.start()
        return controller

    def hold(self, *recipients: str, **changes: Any) -> list[str]:
        """Hold a message sent just now; the ids of its deliveries."""
        request = self.holder.request(*((one, DeliveryState.HELD) for one in recipients), expires_at=time.time() + 9999)
        request = replace(request, **changes)
        return [one.id for one in self.holder.deliveries(self.holder.hold(request, now=time.time()))]

    def opens(self, token: str, code: str) -> bool:
        """Whether this link and code open the message."""
        try:
            link = links.find_live_link(self.holder.store, token, now=time.time())
        except links.NoSuchLink:
            return False
        return link.code_hash is not None and code_matches(link.code_hash, code)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.holder.store.close()


def told(office: Office, recipient: str) -> tuple[str, str]:
    """The link that the recipient got last, and the code that the sender got last."""
    token = TOKEN.search(office.mailbox.last_to(recipient))
    code = CODE.search(office.mailbox.last_to("ann@site.example"))
    assert token is not None
    assert code is not None
    return token[1], code[0]


def number_in(office: Office, recipient: str) -> str:
    """The number of the latest notice to ``recipient``."""
    found = NUMBER.search(office.mailbox.last_to(recipient))
    assert found is not None
    return found[1]


@pytest.mark.behaviour("S1")
def test_after_an_outage_the_sender_is_told_a_code_that_opens(office: Office) -> None:
    office.hold("bob@x.example")
    office.run()  # nobody listens: a link and a code were minted and lost
    office.run()
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    assert office.opens(*told(office, "bob@x.example"))


def test_a_recipient_who_is_refused_does_not_keep_the_others_waiting(office: Office) -> None:
    office.hold("bob@x.example", "eve@x.example")
    office.mailbox.refused.add("bob@x.example")
    mta = office.up()
    try:
        office.run()
        first = office.mailbox.last_to("ann@site.example")
        assert "eve@x.example needs this access code" in first
        assert "bob@x.example: will be told shortly" in first
        office.mailbox.refused.clear()
        office.run()
    finally:
        mta.stop()
    assert "eve@x.example" not in office.mailbox.last_to("ann@site.example")
    assert office.opens(*told(office, "bob@x.example"))
    assert len([to for to, _ in office.mailbox.mails if to == ["eve@x.example"]]) == 1


@pytest.mark.behaviour("P6")
def test_a_fresh_link_needs_no_second_telephone_call(office: Office) -> None:
    office.hold("bob@x.example")
    mta = office.up()
    try:
        office.run()
        token, code = told(office, "bob@x.example")
        fresh.ask(office.holder.store, token, number_in(office, "bob@x.example"), now=time.time())
        before = len(office.mailbox.mails)
        office.run()
    finally:
        mta.stop()
    assert [to for to, _ in office.mailbox.mails[before:]] == [["bob@x.example"]]
    second = TOKEN.search(office.mailbox.last_to("bob@x.example"))
    assert second is not None
    assert not office.opens(token, code)
    assert office.opens(second[1], code)


@pytest.mark.behaviour("P13")
def test_recipients_are_written_to_in_the_language_agreed_with_their_domain_or_of_its_country(office: Office) -> None:
    office.runner._agreed_language = {"x.example": "fr", "swiss.de": "it"}.get
    expected = {
        "bob@x.example": "Un message confidentiel de ann@site.example vous attend",
        "eva@patients.de": "Eine vertrauliche Nachricht von ann@site.example wartet auf Sie",
        "ugo@swiss.de": "Un messaggio riservato di ann@site.example La attende",
        "kim@other.example": "A confidential message from ann@site.example is waiting for you",
    }
    office.hold(*expected)
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    told_in = {to[0]: message["Subject"] for to, message in office.mailbox.mails if to != ["ann@site.example"]}
    assert told_in == expected


def test_when_nobody_can_be_told_a_reviewer_sees_it(tmp_path: Path) -> None:
    office = Office(tmp_path, give_up_hours=1e-9)
    delivery = office.hold("bob@x.example")[0]
    office.run()
    assert office.holder.state(delivery) == DeliveryState.QUARANTINED
    office.holder.store.close()


def test_a_release_within_the_site_goes_the_ordinary_way(office: Office) -> None:
    holder = office.holder
    delivery = holder.held("ben@site.example", DeliveryState.QUARANTINED)
    holding.release_to_tls(
        holder.store, holder.keys.vault_opener, holder.keys.worker, delivery, deadline=0, actor="admin:a", now=1.0
    )
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    assert holder.state(delivery) == DeliveryState.HANDED_OVER
    (message,) = [m for to, m in office.mailbox.mails if to == ["ben@site.example"]]
    assert message["X-Restante-Route"] is None
