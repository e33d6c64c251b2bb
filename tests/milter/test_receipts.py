"""What senders are mailed about their messages: once each, as they chose, with a link that lets them in."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from restante.access import CodeWay
from restante.receipts import Receipt, sender_digest
from restante.store import freezing, holding, links, receipts, sender_links
from restante.store.models import Delivery, DeliveryState, JobKind, Message
from tests.milter.test_jobs import CODE, TOKEN, Office

ANN = "ann@site.example"
PAGE = re.compile(r"https://pickup\.site\.example/s/([\w-]{43})")
NUMBER = re.compile(r"(?m)^  (\d{3} \d{3})\r?$")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    made = Office(tmp_path)
    yield made
    made.holder.store.close()


def deliver(office: Office) -> list[str]:
    """Do all jobs; the texts of the mails to the sender."""
    before = len(office.mailbox.mails)
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    texts = []
    for to, mail in office.mailbox.mails[before:]:
        body = mail.get_body(("plain",))
        assert body is not None
        if to == [ANN]:
            texts.append(f"{mail['Subject']}\n{body.get_content()}")
    return texts


def note(office: Office, event: Receipt, delivery_id: str, occasion: str = "") -> bool:
    with office.holder.store.write() as session:
        message_id = session.get_one(Delivery, delivery_id).message_id
        return receipts.note(session, event, message_id, delivery_id, time.time(), occasion=occasion)


def message_of(office: Office, delivery_id: str) -> str:
    with office.holder.store.read() as session:
        return session.get_one(Delivery, delivery_id).message_id


def open_it(office: Office, delivery_id: str) -> None:
    minted = links.mint_link(office.holder.store, delivery_id, needs_code=False, new_code=False, now=time.time())
    assert minted is not None
    links.claim(
        office.holder.store, office.holder.keys.vault_opener, minted.link_id, window_seconds=60, now=time.time()
    )


@pytest.mark.behaviour("S1")
@pytest.mark.behaviour("S3")
def test_the_confirmation_has_a_link_that_lets_the_sender_in_and_nobody_else_gets_it(office: Office) -> None:
    delivery = office.hold("bob@x.example")[0]
    (text,) = deliver(office)
    token, number = PAGE.search(text), NUMBER.search(text)
    assert token is not None
    assert number is not None
    found = sender_links.find(office.holder.store, token[1], now=time.time())
    assert found.message_id == message_of(office, delivery)
    assert found.is_number(token[1], number[1])
    assert not found.is_number(token[1], "000 000")
    assert PAGE.search(office.mailbox.last_to("bob@x.example")) is None


@pytest.mark.behaviour("S1")
def test_a_sender_elsewhere_gets_link_and_code_under_mandatory_tls_alone(office: Office) -> None:
    office.hold("bob@x.example", sender="guest@elsewhere.example")
    deliver(office)
    (mail,) = [mail for to, mail in office.mailbox.mails if to == ["guest@elsewhere.example"]]
    assert mail["X-Restante-Route"].startswith("tls level=encrypted ")


@pytest.mark.behaviour("S2")
def test_the_first_opening_is_mailed_once(office: Office) -> None:
    delivery = office.hold("bob@x.example")[0]
    deliver(office)
    open_it(office, delivery)
    open_it(office, delivery)
    (text,) = deliver(office)
    assert text.startswith("Your message was opened\n")
    assert "opened by bob@x.example" in text
    assert PAGE.search(text)
    assert deliver(office) == []


@pytest.mark.behaviour("S2")
@pytest.mark.parametrize(
    ("event", "words"),
    [
        (Receipt.DOWNLOADED, "began to download"),
        (Receipt.REPLIED, "replied to your message"),
        (Receipt.EXPIRING, "has not opened your message"),
        (Receipt.EXPIRED, "did not open your message in time"),
    ],
)
def test_what_the_sender_chose_is_mailed_and_nothing_else(office: Office, event: Receipt, words: str) -> None:
    delivery = office.hold("bob@x.example")[0]
    deliver(office)
    digest = sender_digest(b"s" * 32, ANN.upper())
    receipts.prefer(office.holder.store, digest, [event], now=time.time())
    for each in (Receipt.OPENED, Receipt.DOWNLOADED, Receipt.REPLIED, Receipt.EXPIRING, Receipt.EXPIRED):
        assert note(office, each, delivery)
        assert not note(office, each, delivery)
    (text,) = deliver(office)
    assert words in text
    receipts.prefer(office.holder.store, digest, [], now=time.time())
    assert note(office, event, delivery, occasion="again")
    assert deliver(office) == []


@pytest.mark.behaviour("S2")
def test_unread_messages_are_brought_to_mind_before_they_expire_and_told_when_they_have(office: Office) -> None:
    store, now = office.holder.store, time.time()
    delivery, read = office.hold("bob@x.example", "eve@x.example")
    with store.write() as session:
        session.get_one(Message, message_of(office, delivery)).expires_at = now + 10 * 86_400
    deliver(office)
    open_it(office, read)
    deliver(office)
    ahead = 2 * 86_400.0
    assert receipts.remind(store, ahead_seconds=ahead, now=now) == 0
    assert receipts.remind(store, ahead_seconds=ahead, now=now + 8.5 * 86_400) == 1
    assert receipts.remind(store, ahead_seconds=ahead, now=now + 8.6 * 86_400) == 0
    (reminder,) = deliver(office)
    assert "bob@x.example has not opened" in reminder
    holding.expire_due(store, now=now + 11 * 86_400)
    (expired,) = deliver(office)
    assert "bob@x.example did not open" in expired
    assert "eve@x.example" not in expired


@pytest.mark.behaviour("S2")
def test_what_is_kept_for_a_short_time_is_brought_to_mind_in_its_second_half(office: Office) -> None:
    office.hold("bob@x.example")  # for 9999 seconds
    now = time.time()
    assert receipts.remind(office.holder.store, ahead_seconds=1e6, now=now + 4000) == 0
    assert receipts.remind(office.holder.store, ahead_seconds=1e6, now=now + 5100) == 1


@pytest.mark.behaviour("S1")
def test_a_message_that_nobody_reviewed_in_time_is_told_to_be_unsent(office: Office) -> None:
    request = office.holder.request(("bob@x.example", DeliveryState.QUARANTINED), expires_at=time.time() + 60)
    office.holder.hold(replace(request), now=time.time())
    deliver(office)
    holding.expire_due(office.holder.store, now=time.time() + 61)
    (text,) = deliver(office)
    assert "waited for review until its time was over. It was not sent" in text


def test_it_was_not_me_alarms_sender_and_operator_whatever_is_chosen(tmp_path: Path) -> None:
    office = Office(tmp_path)
    settings = office.runner._settings
    notice = settings.notice.model_copy(update={"postmaster": "root@site.example"})
    office.runner._receipts._settings = settings.model_copy(update={"notice": notice})
    delivery = office.hold("bob@x.example")[0]
    deliver(office)
    open_it(office, delivery)
    deliver(office)
    receipts.prefer(office.holder.store, sender_digest(b"s" * 32, ANN), [], now=time.time())
    freezing.freeze(office.holder.store, delivery, actor="recipient", now=time.time())
    (text,) = deliver(office)
    assert "bob@x.example says that somebody else opened your message" in text
    alarm = office.mailbox.last_to("root@site.example")
    assert f"/admin/messages/{delivery}" in alarm
    for name in ("bob", "ann", "/s/"):
        assert name not in alarm
    office.holder.store.close()


@pytest.mark.behaviour("S3")
def test_after_a_freeze_is_lifted_the_recipient_needs_a_new_code_always(office: Office) -> None:
    """Over TLS, too: whoever reads the mailbox must not get in again."""
    delivery = office.hold("ben@site.example")[0]
    deliver(office)
    assert TOKEN.search(office.mailbox.last_to("ben@site.example"))
    open_it(office, delivery)
    freezing.freeze(office.holder.store, delivery, actor="recipient", now=time.time())
    deliver(office)
    freezing.lift(office.holder.store, delivery, actor="sender", now=time.time())
    (text,) = deliver(office)
    code = CODE.search(text)
    assert code is not None
    token = TOKEN.search(office.mailbox.last_to("ben@site.example"))
    assert token is not None
    assert office.opens(token[1], code[0])
    with office.holder.store.write() as session:
        payload = {"deliveries": [delivery], "cause": "fresh"}
        holding.queue_job(session, JobKind.NOTIFY, message_of(office, delivery), payload, time.time())
    deliver(office)
    fresh = TOKEN.search(office.mailbox.last_to("ben@site.example"))
    assert fresh is not None
    assert office.opens(fresh[1], code[0])
    assert links.find_live_link(office.holder.store, fresh[1], now=time.time()).code_way is CodeWay.SENDER
