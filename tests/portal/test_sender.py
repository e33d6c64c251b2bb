"""The sender's page: who gets in, what a scanner and a guesser do not reach, what each action does, what is mailed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from restante.receipts import Receipt, sender_digest
from restante.store import delivered, freezing, holding, links, receipts, sender_links
from restante.store.models import AuditRecord, Delivery, DeliveryState, JobKind, Link, Message, OutboxJob
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.portal.conftest import RECIPIENT, Browser, Post, make_post, make_settings

S = DeliveryState
DIGEST = sender_digest(b"r" * 32, "anna@clinic.example")
CODE = re.compile(r"\b[2-9A-HJKMNP-TV-Z]{4}-[2-9A-HJKMNP-TV-Z]{4}\b")
BOTH = (RECIPIENT, "otto@patients.example")
MARKER = "unauff"


@dataclass
class Sent:
    """A message that waits, with the link that its sender got."""

    post: Post
    deliveries: list[str]
    link: sender_links.MintedSenderLink

    @property
    def message_id(self) -> str:
        with self.post.store.read() as session:
            return session.get_one(Delivery, self.deliveries[0]).message_id


def sent(post: Post, **more: Any) -> Sent:
    deliveries = post.hold(**more)
    with post.store.read() as session:
        message_id = session.get_one(Delivery, deliveries[0]).message_id
    return Sent(post, deliveries, sender_links.mint(post.store, message_id, DIGEST, now=post.clock()))


def enter(browser: Browser, link: sender_links.MintedSenderLink, number: str | None = None) -> Any:
    path = f"/s/{link.token}"
    return browser.post(f"{path}/open", {"number": number or link.number}, form_key=browser.form_key(path))


def entered(app: Flask, one: Sent, address: str = "192.0.2.9") -> Browser:
    browser = Browser(app, address)
    assert enter(browser, one.link).status_code == 303
    return browser


def act(browser: Browser, action: str, delivery: str = "", **more: Any) -> Any:
    data = {"action": action, "delivery": delivery, **more}
    return browser.post("/sent", data, form_key=browser.form_key("/admin/sign-in"))


def records(post: Post, action: str = "") -> list[tuple[str, str]]:
    with post.store.read() as session:
        rows = session.scalars(select(AuditRecord).order_by(AuditRecord.id)).all()
    return [(row.actor, row.action) for row in rows if action in {"", row.action}]


def jobs(post: Post, kind: JobKind) -> list[dict[str, Any]]:
    with post.store.read() as session:
        rows = session.scalars(select(OutboxJob).where(OutboxJob.kind == kind).order_by(OutboxJob.created_at)).all()
    return [row.payload for row in rows]


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[tuple[Flask, Post]]:
    """A portal on either database."""
    settings, worker = make_settings(tmp_path, database_url)
    made = make_post(settings, worker)
    app = create_app(settings, store=made.store, clock=made.clock)
    app.testing = False
    yield app, made
    portal_of(app).close()


@pytest.mark.behaviour("S2")
def test_the_sender_sees_what_happened_to_each_copy_and_never_the_content(app: Flask, post: Post) -> None:
    one = sent(post, recipients=BOTH)
    reader = Browser(app)
    reader.open(post.link(one.deliveries[0]))
    assert reader.get("/message.eml").status_code == 200
    page = entered(app, one).get("/sent").text
    for expected in (*BOTH, "Opened in the portal", "Waits in the portal", "opened by the recipient", "save the whole"):
        assert expected in page, expected
    for secret in ("Befund", MARKER, one.link.token, one.link.number):
        assert secret not in page, secret


@pytest.mark.behaviour("S4")
def test_the_page_shows_the_evidence_of_this_message_alone(app: Flask, post: Post) -> None:
    one = sent(post, recipients=BOTH)
    row = delivered.Delivered(
        "Q1", BOTH[1], "restante-tls", "mx.patients.example[192.0.2.3]:25", "TLSv1.3", "TLS_AES_256_GCM_SHA384",
        "verified", "250 ok", "<m@clinic.example>",
    )  # fmt: skip
    earlier = delivered.Delivered(
        "Q2",
        BOTH[1],
        "restante-tls",
        "old.example[192.0.2.4]:25",
        "TLSv1.2",
        "OLD",
        "trusted",
        "250",
        row.header_message_id,
    )
    delivered.keep(post.store, "log", [row], {}, now=post.clock())
    delivered.keep(post.store, "log", [earlier], {}, now=post.clock() - 9999)
    page = entered(app, one).get("/sent").text
    assert "mx.patients.example[192.0.2.3]:25, TLSv1.3, TLS_AES_256_GCM_SHA384, certificate verified" in page
    assert "old.example" not in page


@pytest.mark.behaviour("S3")
def test_a_scanner_that_follows_the_link_and_submits_every_form_changes_nothing(app: Flask, post: Post) -> None:
    one = sent(post)
    before = records(post)
    scanner = Browser(app, "198.51.100.1")
    paths = [f"/s/{one.link.token}", f"/s/{one.link.token}/open", "/sent"]
    for path in paths:
        for method in ("get", "head", "options"):
            getattr(scanner.client, method)(path, base_url="https://pickup.test.example")
    key = scanner.form_key(paths[0])
    for action in ("recall", "extend", "code", "resend", "lift", "receipts", "close"):
        for path in paths[1:]:
            answer = scanner.post(
                path, {"action": action, "delivery": one.deliveries[0], "number": RECIPIENT}, form_key=key
            )
            assert answer.status_code in {403, 429}
    assert records(post) == before
    assert post.state(one.deliveries[0]) == S.HELD
    assert entered(app, one).get("/sent").status_code == 200  # and the sender still gets in


@pytest.mark.behaviour("S3")
def test_a_guesser_learns_nothing_and_is_stopped(app: Flask, post: Post) -> None:
    one = sent(post)
    guesser = Browser(app, "198.51.100.2")
    unknown = "x" * 43
    assert guesser.get(f"/s/{unknown}").status_code == 404
    refused = [enter(guesser, one.link, "000 000").status_code for _ in range(7)]
    assert refused == [403] * 5 + [429] * 2
    assert guesser.get("/sent").status_code == 403
    assert entered(app, one).get("/sent").status_code == 200


@pytest.mark.behaviour("S3")
def test_the_recipients_link_and_session_open_no_senders_page(app: Flask, post: Post) -> None:
    one = sent(post)
    minted = post.link(one.deliveries[0])
    reader = Browser(app)
    reader.open(minted)
    assert reader.get(f"/s/{minted.token}").status_code == 404
    assert reader.get("/sent").status_code == 403
    assert act(reader, "recall", one.deliveries[0]).status_code == 403
    assert post.state(one.deliveries[0]) == S.OPENED
    assert Browser(app).get(f"/p/{one.link.token}").status_code == 404


@pytest.mark.behaviour("S3")
@pytest.mark.parametrize("action", ["recall", "code", "resend", "lift", "extend", "receipts", "close", "other"])
def test_every_action_of_the_wrong_party_is_refused_alike(app: Flask, post: Post, action: str) -> None:
    one, other = sent(post), sent(post)
    before = records(post)
    stranger = act(Browser(app), action, one.deliveries[0])
    assert stranger.status_code == 403
    their_own = entered(app, other)
    with_their_session = [act(their_own, action, delivery) for delivery in (one.deliveries[0], "0" * 32, "")]
    if action in {"recall", "code", "resend", "lift"}:
        assert [answer.status_code for answer in with_their_session] == [404] * 3
    assert [each for each in records(post) if each not in {*before, ("sender", "opened-sender-page")}] in (
        [], [("sender", "extended")],
    )  # fmt: skip
    with post.store.read() as session:
        mine = session.get_one(Message, one.message_id)
    assert mine.expires_at == pytest.approx(post.clock() + 14 * 86_400)
    assert post.state(one.deliveries[0]) == S.HELD


def test_a_form_of_another_site_does_nothing(app: Flask, post: Post) -> None:
    one = sent(post)
    browser = entered(app, one)
    for key in ("", "wrong"):
        answer = browser.post("/sent", {"action": "recall", "delivery": one.deliveries[0]}, form_key=key)
        assert answer.status_code == 400
    assert post.state(one.deliveries[0]) == S.HELD


@pytest.mark.behaviour("S3")
@pytest.mark.behaviour("P10")
def test_recalling_ends_the_recipients_window_at_once(database: tuple[Flask, Post]) -> None:
    app, post = database
    one = sent(post, recipients=BOTH)
    reader = Browser(app)
    reader.open(post.link(one.deliveries[0]))
    browser = entered(app, one)
    answer = act(browser, "recall", one.deliveries[0])
    assert "recalled for this recipient" in browser.get(answer.location).text
    assert reader.get("/message").status_code == 403
    assert [post.state(each) for each in one.deliveries] == [S.RECALLED, S.HELD]
    again = act(browser, "recall", one.deliveries[0])
    assert "That was not possible" in browser.get(again.location).text
    assert records(post, "became-recalled") == [("sender", "became-recalled")]


@pytest.mark.behaviour("S3")
def test_the_sender_keeps_it_longer_within_the_limit_and_links_live_on(database: tuple[Flask, Post]) -> None:
    app, post = database
    one = sent(post)
    link = post.link(one.deliveries[0])
    with post.store.write() as session:
        message = session.get_one(Message, one.message_id)
        message.extend_until = message.expires_at + 10 * 86_400
        ends = message.expires_at
    browser = entered(app, one)

    def end_after(**form: str) -> float:
        act(browser, "extend", **form)
        with post.store.read() as session:
            live = session.scalars(select(Link).where(Link.id == link.link_id)).one()
            message = session.get_one(Message, one.message_id)
        assert live.expires_at == message.expires_at
        return message.expires_at - ends

    assert end_after(days="3") == pytest.approx(3 * 86_400)
    assert end_after(days="9999") == pytest.approx(10 * 86_400)
    assert end_after(days="7") == pytest.approx(10 * 86_400)
    assert end_after(days="-4") == pytest.approx(10 * 86_400)
    assert "Keep it longer" not in browser.get("/sent").text
    assert records(post, "extended") == [("sender", "extended")] * 2
    post.clock.now = ends + 5 * 86_400
    assert Browser(app).open(link).status_code == 303


@pytest.mark.behaviour("S3")
def test_a_rule_without_it_lets_nobody_keep_it_longer(app: Flask, post: Post) -> None:
    one = sent(post)
    browser = entered(app, one)
    assert "Keep it longer" not in browser.get("/sent").text
    act(browser, "extend", days="3")
    assert records(post, "extended") == []


@pytest.mark.behaviour("S3")
@pytest.mark.behaviour("P5")
def test_a_new_code_is_shown_once_and_replaces_the_old(app: Flask, post: Post) -> None:
    one = sent(post)
    link = post.link(one.deliveries[0], code=True)
    assert link.code
    browser = entered(app, one)
    found = CODE.search(act(browser, "code", one.deliveries[0]).text)
    assert found is not None
    assert found[0] != link.code
    assert found[0] not in browser.get("/sent").text
    reader = Browser(app)
    assert reader.open(link, link.code).status_code == 403
    assert reader.open(link, found[0]).status_code == 303
    assert records(post, "renewed-code") == [("sender", "renewed-code")]
    post.send_notices()
    fresh = post.link(one.deliveries[0], code=True)
    assert fresh.code is None  # the new code stays good for the next link
    assert Browser(app, "192.0.2.50").open(fresh, found[0]).status_code == 303


@pytest.mark.behaviour("S3")
def test_there_is_no_new_code_where_none_is_asked_for(app: Flask, post: Post) -> None:
    one = sent(post)
    post.link(one.deliveries[0])
    browser = entered(app, one)
    assert "New access code" not in browser.get("/sent").text
    act(browser, "code", one.deliveries[0])
    assert records(post, "renewed-code") == []


@pytest.mark.behaviour("S3")
def test_another_notice_is_queued_and_not_too_many(app: Flask, post: Post) -> None:
    one = sent(post)
    post.send_notices()
    browser = entered(app, one)
    for _ in range(5):
        act(browser, "resend", one.deliveries[0])
    assert post.fresh_asked() == one.deliveries
    assert records(post, "asked-fresh-link") == [("sender", "asked-fresh-link")]


@pytest.mark.behaviour("S3")
def test_a_session_is_one_browsers_and_ends_with_its_time_or_when_closed(app: Flask, post: Post) -> None:
    one = sent(post)
    browser = entered(app, one)
    assert Browser(app).get("/sent").status_code == 403
    assert "Go to the page" in browser.get(f"/s/{one.link.token}").text
    copied = browser.client.get_cookie("__Host-restante-sender", domain="pickup.test.example")
    assert copied is not None
    act(browser, "close")
    thief = Browser(app)
    thief.client.set_cookie("__Host-restante-sender", copied.value, domain="pickup.test.example", secure=True)
    assert thief.get("/sent").status_code == 403
    entered(app, one, "192.0.2.10")
    assert enter(browser, one.link).status_code == 303
    post.clock.now += 3601
    assert browser.get("/sent").status_code == 403


@pytest.mark.behaviour("S2")
def test_the_page_outlives_the_message_for_a_while(app: Flask, post: Post) -> None:
    one = sent(post)
    post.clock.now += 20 * 86_400
    holding.expire_due(post.store, now=post.clock())
    browser = entered(app, one)
    page = browser.get("/sent").text
    assert "Expired" in page
    assert "Recall it for good" not in page
    post.clock.now += 9 * 86_400
    assert Browser(app).get(f"/s/{one.link.token}").status_code == 404
    late = Browser(app)
    form = {"number": one.link.number}
    answer = late.post(f"/s/{one.link.token}/open", form, form_key=late.form_key())
    assert answer.status_code == 404


@pytest.mark.behaviour("S2")
def test_what_is_mailed_is_the_senders_choice_for_all_messages(database: tuple[Flask, Post]) -> None:
    app, post = database
    one, other = sent(post), sent(post)
    default = post.settings.notice.receipts
    assert receipts.mailed(post.store, DIGEST, default) == default
    browser = entered(app, one)
    act(browser, "receipts", mailed=["downloaded", "not-me", "nonsense"])
    assert receipts.mailed(post.store, DIGEST, default) == {Receipt.DOWNLOADED}
    page = entered(app, other, "192.0.2.11").get("/sent").text
    assert re.findall(r'value="([a-z]+)" checked', page) == ["downloaded"]
    act(browser, "receipts")
    assert receipts.mailed(post.store, DIGEST, default) == set()


def test_addresses_and_states_are_text(app: Flask, post: Post) -> None:
    trap = '"<script>alert(1)</script>"@x.example'
    page = entered(app, sent(post, recipients=(trap,), sender=trap)).get("/sent")
    assert page.status_code == 200
    assert "<script" not in page.text


def test_a_message_to_many_is_shown_in_pages_of_a_bounded_size(app: Flask, post: Post) -> None:
    many = tuple(f"r{number:03d}@patients.example" for number in range(60))
    browser = entered(app, sent(post, recipients=many))
    first, last = browser.get("/sent"), browser.get("/sent?from=50")
    assert len(first.data) < 51_200
    assert "r014@" in first.text
    assert "r015@" not in first.text
    assert "r059@" in last.text
    for odd in ("-1", "x", "99999999999999999999", "²"):
        assert browser.get(f"/sent?from={odd}").status_code == 200


def frozen(post: Post, app: Flask) -> Sent:
    one = sent(post)
    Browser(app, "203.0.113.5").open(post.link(one.deliveries[0]))
    freezing.freeze(post.store, one.deliveries[0], actor="recipient", now=post.clock())
    return one


@pytest.mark.behaviour("S3")
def test_the_sender_lifts_a_freeze_and_a_fresh_notice_with_a_new_code_goes_out(database: tuple[Flask, Post]) -> None:
    app, post = database
    one = frozen(post, app)
    browser = entered(app, one)
    page = browser.get("/sent").text
    assert "somebody else opened the message" in page
    assert "Send another notice" not in page
    post.send_notices()
    assert "can open the message again" in browser.get(act(browser, "lift", one.deliveries[0]).location).text
    assert {"deliveries": one.deliveries, "cause": "lifted", "code": "new"} in jobs(post, JobKind.NOTIFY)
    assert "That was not possible" in browser.get(act(browser, "lift", one.deliveries[0]).location).text
    assert records(post, "lifted") == [("sender", "lifted")]
    assert Browser(app, "203.0.113.6").open(post.link(one.deliveries[0])).status_code == 303


def test_while_a_copy_is_frozen_no_link_is_made_and_none_opens(app: Flask, post: Post) -> None:
    one = sent(post)
    thief = Browser(app, "203.0.113.5")
    thief.open(post.link(one.deliveries[0]))
    waiting = post.link(one.deliveries[0])
    freezing.freeze(post.store, one.deliveries[0], actor="recipient", now=post.clock())
    assert thief.get("/message").status_code == 403
    assert Browser(app, "203.0.113.6").open(waiting).status_code == 404
    with pytest.raises(AssertionError):
        post.link(one.deliveries[0])
    with pytest.raises(links.NoSuchLink):
        links.claim(post.store, portal_of(app).vault, waiting.link_id, window_seconds=60, now=post.clock())
    with pytest.raises(freezing.NotFrozen):
        freezing.freeze(post.store, one.deliveries[0], actor="recipient", now=post.clock())
