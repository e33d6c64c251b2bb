"""A reviewer at work on mail that really came through Postfix, and what becomes of it at the peers."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage

import pytest
from sqlalchemy import insert, select

from restante.classify.finding import Classification
from restante.store import admins
from restante.store.engine import new_id
from restante.store.models import Blob, Delivery, DeliveryState, Message
from restante.summary import encode_summary
from restante.vault import DataKey
from restante_milter.services import vault_sealer
from tests.e2e.visitor import Answer, Visitor, code_for, text_of, token_in
from tests.e2e.world import SENDER, Held, World
from tests.lab import mail
from tests.lab.waiting import wait_until

ROWS = 10_000
PAGE = 50
PASSWORD = "correct horse battery"
REASON = "The figures are not public before Friday.\nPlease ask the board."


@pytest.fixture(scope="module")
def reviewer_names() -> Iterator[str]:
    """Names that no other test has."""

    def names() -> Iterator[str]:
        number = time.monotonic_ns()
        while True:
            number += 1
            yield f"reviewer{number}"

    return names()


@pytest.fixture
def reviewer(world: World, reviewer_names: Iterator[str]) -> Visitor:
    """A signed-in reviewer's browser."""
    return signed_in(world, next(reviewer_names))


def signed_in(world: World, name: str) -> Visitor:
    admins.add(world.store, name, PASSWORD, now=time.time())
    browser = Visitor(world.services.portal_url)
    browser.sign_in(name, PASSWORD)
    return browser


def for_review(world: World, recipient: str) -> EmailMessage:
    message = mail.message(
        "about project nightfall", f"The project nightfall figures: {world.marker}\n.\n..dots\n", to=[recipient]
    )
    message["Date"] = "Fri, 20 Nov 2026 09:30:00 +0100"
    return message


def quarantined(world: World, recipient: str) -> Held:
    assert world.send(for_review(world, recipient), recipient).accepted
    return world.wait_until_held(recipient, DeliveryState.QUARANTINED)


@pytest.mark.behaviour("A2")
def test_a_message_released_to_tls_reaches_the_peer_once_over_tls_byte_by_byte(world: World, reviewer: Visitor) -> None:
    peer = world.peer("tls")
    held = quarantined(world, f"bob@{peer.domain}")
    content = world.content_of(held)
    world.settle()
    assert world.mails(peer) == []
    assert reviewer.act("release-tls", held.delivery_id).status == 303
    (received,) = world.wait_for_mail(peer)
    world.settle()
    assert len(world.mails(peer)) == 1
    assert (received.tls, received.sender, received.recipients) == (True, SENDER, (held.recipient,))
    assert received.content.endswith(content)
    assert world.states() == {held.recipient: DeliveryState.HANDED_OVER}
    world.assert_never_clear()


@pytest.mark.behaviour("A2")
def test_a_message_released_to_tls_ends_in_the_portal_where_the_peer_has_none(world: World, reviewer: Visitor) -> None:
    peer = world.peer("clear")
    held = quarantined(world, f"bob@{peer.domain}")
    assert reviewer.act("release-tls", held.delivery_id).status == 303
    world.wait_for_notice(held.recipient, 40)
    world.settle()
    assert sorted(str(one.state) for one in world.held()) == ["handed-over", "held"]
    assert world.mails(peer) == []
    world.assert_never_clear()


@pytest.mark.behaviour("A2")
def test_a_message_released_to_the_portal_is_collected_there(world: World, reviewer: Visitor) -> None:
    peer = world.peer("clear")
    held = quarantined(world, f"carol@{peer.domain}")
    world.settle()
    assert world.notices(held.recipient) == []
    assert reviewer.act("release-portal", held.delivery_id).status == 303
    token = token_in(world.wait_for_notice(held.recipient))
    world.settle()
    code = code_for(world.notices(SENDER)[-1], held.recipient)
    reader = Visitor(world.services.portal_url)
    assert reader.open(token, code).status == 303
    assert world.marker in reader.get("/message").text
    world.assert_never_clear()


@pytest.mark.behaviour("A2")
def test_the_sender_of_a_rejected_message_reads_what_the_reviewer_wrote(world: World, reviewer: Visitor) -> None:
    peer = world.peer("clear")
    held = quarantined(world, f"dave@{peer.domain}")
    world.settle()
    before = len(world.notices(SENDER))
    assert reviewer.act("reject", held.delivery_id).status == 200  # asks for the text first
    assert reviewer.act("reject", held.delivery_id, confirmed="yes").status == 400
    assert world.states() == {held.recipient: DeliveryState.QUARANTINED}
    assert reviewer.act("reject", held.delivery_id, confirmed="yes", text=REASON).status == 303
    wait_until(lambda: len(world.notices(SENDER)) > before, 15, "the notice to the sender")
    text = text_of(world.notices(SENDER)[-1])
    assert held.recipient in text
    assert REASON in text
    world.settle()
    assert peer.mails() == []
    assert world.states() == {held.recipient: DeliveryState.REJECTED}
    assert_destroyed(world)


@pytest.mark.behaviour("A2")
def test_a_deleted_message_is_gone_and_nobody_is_told(world: World, reviewer: Visitor) -> None:
    peer = world.peer("clear")
    held = quarantined(world, f"erin@{peer.domain}")
    world.settle()
    before = len(world.notices(SENDER))
    assert reviewer.act("delete", held.delivery_id).status == 200  # asks once more
    assert reviewer.act("delete", held.delivery_id, confirmed="yes").status == 303
    world.settle()
    assert world.states() == {held.recipient: DeliveryState.DELETED}
    assert len(world.notices(SENDER)) == before
    assert peer.mails() == []
    assert_destroyed(world)


def assert_destroyed(world: World) -> None:
    with world.store.read() as session:
        assert set(session.scalars(select(Blob.wrapped_key))) == {None}


@pytest.mark.behaviour("A2")
def test_of_two_reviewers_at_once_one_decides(world: World, reviewer_names: Iterator[str]) -> None:
    peer = world.peer("tls")
    browsers = [signed_in(world, next(reviewer_names)) for _ in range(2)]
    copies = [quarantined(world, f"u{number}@{peer.domain}") for number in range(5)]
    for held in copies:
        assert_one_decides(browsers, held)
    world.settle()
    decided = [action for action in world.audit() if action in {"became-handover", "became-held"}]
    assert len(decided) == len(copies)
    for held in copies:
        state = world.states()[held.recipient]
        over_tls = [one for one in world.mails(peer) if held.recipient in one.recipients]
        assert len(over_tls) == (state == DeliveryState.HANDED_OVER)
        assert len(world.notices(held.recipient)) == (state == DeliveryState.HELD)


def assert_one_decides(browsers: list[Visitor], held: Held) -> None:
    together = threading.Barrier(len(browsers))

    def decide(browser: Visitor, action: str) -> Answer:
        together.wait()
        return browser.act(action, held.delivery_id)

    with ThreadPoolExecutor(len(browsers)) as crowd:
        answers = list(crowd.map(decide, browsers, ["release-tls", "release-portal"]))
    assert [answer.status for answer in answers] == [303, 303]
    pages = [browser.get("/admin/").text for browser in browsers]
    assert sum(held.recipient in page for page in pages) == 1  # the one who came late is told about it


@pytest.mark.behaviour("A1")
def test_ten_thousand_quarantined_messages_page_by_page(world: World, reviewer: Visitor) -> None:
    fill_queue(world)
    seen: list[str] = []
    path = "/admin/"
    while path:
        page = reviewer.get(path)
        assert page.status == 200
        assert "10,000 copies" in page.text
        seen += re.findall(r'name="delivery" value="([0-9a-f]{32})"', page.text)
        following = re.search(r'href="([^"]+)" rel="next"', page.text)
        path = following.group(1) if following else ""
    assert (len(seen), len(set(seen))) == (ROWS, ROWS)


@pytest.mark.behaviour("A1")
def test_the_queue_filters_sorts_and_opens_one_of_ten_thousand(world: World, reviewer: Visitor) -> None:
    fill_queue(world)
    for query, count in (
        ("domain=d7.example", ROWS // 100),
        ("sender=s1234@site.example", 1),
        ("text=r77%40", 1),
        ("rule=nosuch", 0),
        ("state=held", 0),
    ):
        page = reviewer.get(f"/admin/?{query}").text
        assert f"{count:,} {'copy' if count == 1 else 'copies'}" in page
    oldest = reviewer.get("/admin/?order=oldest").text
    assert oldest.index("r0@d0.example") < oldest.index("r1@d1.example")
    newest = reviewer.get("/admin/").text
    assert newest.index(f"r{ROWS - 1}@") < newest.index(f"r{ROWS - 2}@")
    peer = world.peer("clear")
    held = quarantined(world, f"frank@{peer.domain}")
    page = reviewer.get(f"/admin/?text={held.recipient}").text
    assert "about project nightfall" in page
    page = f"/admin/messages/{held.delivery_id}"
    assert world.marker not in reviewer.get(page).text
    assert reviewer.submit(page, f"{page}/read", reason="ticket 7").status == 303
    shown = reviewer.get(page)
    assert world.marker in shown.text
    assert "default-src 'none'" in shown.headers["Content-Security-Policy"]
    assert "viewed" in world.audit()
    assert Visitor(world.services.portal_url).get(f"/admin/messages/{held.delivery_id}").status == 303


def fill_queue(world: World) -> None:
    """Ten thousand quarantined messages, sealed as the milter does, without their bodies."""
    sealer = vault_sealer(world.services.settings)
    blobs, messages, deliveries = [], [], []
    for number in range(ROWS):
        key = DataKey.fresh(new_id())
        created = 1_790_000_000.0 + number
        message_id = new_id()
        blobs.append({"id": key.blob_id, "key_id": sealer.key_id, "wrapped_key": sealer.wrap(key), "size": 0})
        summary = encode_summary(Classification((), f"subject {number}"), (), b"", b"")
        messages.append(_message(message_id, number, key, created, key.seal_note(summary, "summary")))
        deliveries.append(_delivery(message_id, number, created))
    with world.store.write() as session:
        session.execute(insert(Blob), blobs)
        session.execute(insert(Message), messages)
        session.execute(insert(Delivery), deliveries)


def _message(message_id: str, number: int, key: DataKey, created: float, summary: bytes) -> dict[str, object]:
    return {
        "id": message_id,
        "created_at": created,
        "expires_at": created + 10 * 365 * 86_400,
        "sender": f"s{number}@site.example",
        "header_message_id": f"<{number}@site.example>",
        "fingerprint": number.to_bytes(32, "big"),
        "blob_id": key.blob_id,
        "size": 0,
        "rule": "review",
        "requirement": "encrypted",
        "always_code": False,
        "summary": summary,
    }


def _delivery(message_id: str, number: int, created: float) -> dict[str, object]:
    domain = f"d{number % 100}.example"
    return {
        "id": new_id(),
        "message_id": message_id,
        "recipient": f"r{number}@{domain}",
        "domain": domain,
        "route": "quarantine",
        "state": DeliveryState.QUARANTINED,
        "reason": "rule review",
        "created_at": created,
        "changed_at": created,
    }
