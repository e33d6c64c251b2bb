"""A recipient's way from the link to the message, and everyone who must not get there."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select

from restante.store import holding, links
from restante.store.engine import Store
from restante.store.models import Link as LinkRow
from restante.store.models import LinkState, PickupSession
from restante.vault import Sealer, generate_keypair
from restante_portal.application import create_app
from tests.portal import letters
from tests.portal.conftest import RECIPIENT, SIMPLE, URL, Browser, Post, make_post, make_settings, without_form_keys


@pytest.mark.behaviour("P1")
@pytest.mark.behaviour("P2")
def test_a_link_opens_once_and_stays_open_in_that_browser_only(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting()
    assert "A message is waiting" in browser.get(f"/p/{link.token}").text
    opened = browser.open(link)
    assert (opened.status_code, opened.location) == (303, "/message")
    for _ in range(3):
        page = browser.get("/message")
        assert page.status_code == 200
        assert "Der Befund ist unauffällig." in page.text
    assert browser.get("/message.eml").data == SIMPLE
    other = Browser(app, "192.0.2.2")
    assert other.get("/message").status_code == 403
    assert other.open(link).status_code == 404
    assert other.get("/message.eml").status_code == 403
    assert other.get("/message/attachments/1").status_code == 403


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P6")
def test_a_pickup_on_either_database(database_url: str, tmp_path: Path) -> None:
    settings, worker_private = make_settings(tmp_path, database_url)
    post = make_post(settings, worker_private)
    app = create_app(settings, store=post.store, clock=post.clock)
    browser, other = Browser(app), Browser(app, "192.0.2.2")
    link = post.waiting(letters.RICH, code=True)
    assert browser.open(link, "AAAA-AAAA").status_code == 403
    assert browser.open(link, link.code).status_code == 303
    assert browser.get("/message/attachments/4").data == letters.ATTACHMENT
    assert browser.get("/message.eml", headers={"Range": "bytes=5-9"}).data == letters.RICH[5:10]
    assert other.open(link, link.code).status_code == 404
    assert other.ask_fresh(link).location == "/asked"
    for odd in ("%00", "x" * 3000, "%ff"):
        assert other.get(f"/p/{odd}").status_code == 404
    assert browser.post("/message/close").status_code == 303
    assert browser.get("/message").status_code == 403
    post.store.close()


SCANNERS: dict[str, dict[str, Any]] = {
    "GET": {"method": "GET"},
    "HEAD": {"method": "HEAD"},
    "OPTIONS": {"method": "OPTIONS"},
    "range": {"method": "GET", "headers": {"Range": "bytes=0-10"}},
    "prefetch": {"method": "GET", "headers": {"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch"}},
    "GET of the form's target": {"method": "GET", "path": "/open"},
    "HEAD of the form's target": {"method": "HEAD", "path": "/open"},
    "POST to the page itself": {"method": "POST"},
    "POST without form key": {"method": "POST", "path": "/open"},
    "POST with a made-up form key": {"method": "POST", "path": "/open", "data": {"form_key": "x" * 43}},
    "POST with a made-up code": {"method": "POST", "path": "/open", "data": {"code": "7KQM-3XRT"}},
    "PUT": {"method": "PUT", "path": "/open"},
    "DELETE": {"method": "DELETE"},
}


@pytest.mark.behaviour("P1")
@pytest.mark.parametrize("with_cookies", [False, True], ids=["fresh", "after a GET"])
@pytest.mark.parametrize("name", SCANNERS)
def test_no_scanner_uses_up_a_link(app: Flask, post: Post, browser: Browser, name: str, with_cookies: bool) -> None:  # noqa: FBT001
    request = dict(SCANNERS[name])
    link = post.waiting()
    scanner = app.test_client()
    if with_cookies:
        scanner.get(f"/p/{link.token}", base_url=URL)
    path = f"/p/{link.token}{request.pop('path', '')}"
    for _ in range(3):
        scanner.open(path, base_url=URL, **request)
    links.find_live_link(post.store, link.token, now=post.clock())
    assert browser.open(link).status_code == 303


@pytest.mark.behaviour("P1")
def test_a_bot_that_submits_the_form_does_not_pass_the_code(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting(code=True)
    bot = Browser(app, "198.51.100.7")
    assert bot.open(link).status_code == 400
    assert bot.open(link, "AAAA-AAAA").status_code == 403
    assert bot.get("/message").status_code == 403
    assert browser.open(link, link.code).status_code == 303


@pytest.mark.behaviour("P1")
@pytest.mark.parametrize("typed", ["", "   ", RECIPIENT, "123456", "first half", "second half", "x" * 400, "\0"])
def test_a_bot_that_submits_the_form_does_not_read_the_notice(
    app: Flask, post: Post, browser: Browser, typed: str
) -> None:
    link = post.waiting()
    first, second = link.number.split()
    typed = {"first half": first, "second half": second}.get(typed, typed)
    bot = Browser(app, "198.51.100.7")
    assert bot.open(link, number=typed).status_code in {400, 403}
    assert bot.get("/message").status_code == 403
    page = bot.get(f"/p/{link.token}").text
    assert first + second not in page.replace(" ", "")
    assert RECIPIENT not in page
    assert browser.open(link).status_code == 303


@pytest.mark.parametrize("form", ["{0}{1}", " {0}-{1} ", "{0}.{1}", "\u2066{0} {1}\u2069", "arabic"])
def test_a_number_counts_however_it_is_typed(post: Post, browser: Browser, form: str) -> None:
    link = post.waiting()
    halves = link.number.split()
    if form == "arabic":
        form = "{0}{1}".translate({ord("0"): "0"})
        halves = ["".join(chr(0x0660 + int(digit)) for digit in half) for half in halves]
    assert browser.open(link, number=form.format(*halves)).status_code == 303


def test_a_second_click_finds_the_window_that_the_first_opened(post: Post, browser: Browser) -> None:
    link = post.waiting(code=True)
    form_key = browser.form_key(f"/p/{link.token}")
    form = {"code": link.code}
    assert browser.post(f"/p/{link.token}/open", form, form_key=form_key).status_code == 303
    # The first answer never arrived: its cookie is lost, the browser's own stays.
    browser.client.delete_cookie("__Host-restante-pickup", domain="pickup.test.example", path="/")
    again = browser.post(f"/p/{link.token}/open", form, form_key=form_key)
    assert (again.status_code, again.location) == (303, "/message")
    assert browser.get("/message").status_code == 200
    with post.store.read() as session:
        assert session.scalar(select(func.count()).select_from(PickupSession)) == 1


def test_a_browser_with_the_window_is_offered_the_way_back(post: Post, browser: Browser) -> None:
    link = post.waiting()
    browser.open(link)
    # From a webmail page only the Lax cookie comes along.
    browser.client.delete_cookie("__Host-restante-pickup", domain="pickup.test.example", path="/")
    page = browser.get(f"/p/{link.token}")
    assert (page.status_code, "You have opened this message" in page.text) == (200, True)


def test_two_messages_in_one_browser_do_not_mix(post: Post, browser: Browser) -> None:
    first = post.waiting(SIMPLE.replace(b"unauff\xc3\xa4llig", b"eins"))
    second = post.waiting(SIMPLE.replace(b"unauff\xc3\xa4llig", b"zwei"))
    browser.open(first)
    page_of_first = browser.get("/message").text
    browser.open(second)
    save_first = page_of_first.partition('href="/message.eml')[2].partition('"')[0]
    assert b"eins" in browser.get(f"/message.eml{save_first}").data
    assert b"zwei" in browser.get("/message.eml").data


@pytest.mark.behaviour("P2")
def test_the_window_ends(post: Post, browser: Browser) -> None:
    browser.open(post.waiting())
    post.clock.now += 60 * 60 - 1
    assert browser.get("/message").status_code == 200
    post.clock.now += 2
    assert browser.get("/message").status_code == 403
    assert browser.get("/message.eml").status_code == 403


@pytest.mark.behaviour("P10")
def test_recall_takes_effect_in_an_open_window(post: Post, browser: Browser) -> None:
    delivery_id = post.hold()[0]
    browser.open(post.link(delivery_id))
    assert browser.get("/message").status_code == 200
    holding.recall(post.store, delivery_id, actor="sender", now=post.clock())
    for path in ("/message", "/message.eml", "/message/attachments/1", "/message/body"):
        assert browser.get(path).status_code == 403


def test_closing_ends_the_window_for_a_copied_cookie_too(app: Flask, post: Post, browser: Browser) -> None:
    browser.open(post.waiting())
    cookie = browser.client.get_cookie("__Host-restante-pickup", domain="pickup.test.example", path="/")
    assert cookie is not None
    thief = Browser(app)
    thief.client.set_cookie("__Host-restante-pickup", cookie.value, domain="pickup.test.example", secure=True)
    assert thief.get("/message").status_code == 200
    assert browser.post("/message/close").status_code == 303
    assert thief.get("/message").status_code == 403
    assert browser.get("/message").status_code == 403


def _dead_links(post: Post, browser: Browser) -> dict[str, str]:
    used = post.waiting()
    browser.open(used)
    superseded = post.waiting()
    with post.store.read() as session:
        row = session.scalars(select(LinkRow).where(LinkRow.state == LinkState.LIVE)).one()
    post.link(row.delivery_id)
    recalled_id = post.hold()[0]
    recalled = post.link(recalled_id)
    holding.recall(post.store, recalled_id, actor="sender", now=post.clock())
    expired = post.waiting(days=0.001)
    post.clock.now += 200
    return {
        "used": used.token, "superseded": superseded.token, "recalled": recalled.token, "expired": expired.token,
        "unknown": "A" * 43, "short": "x", "long": "y" * 2000, "odd": "%00%ff%2e%2e", "not ascii": "é",
    }  # fmt: skip


def test_dead_links_look_alike_to_a_stranger(app: Flask, post: Post, browser: Browser) -> None:
    seen = set()
    stranger = Browser(app, "198.51.100.1")
    stranger.post("/p/first/open")  # from here on it has its cookie
    for token in _dead_links(post, browser).values():
        page = stranger.get(f"/p/{token}")
        form_key = stranger.form_key("/admin/sign-in")
        opened = stranger.post(f"/p/{token}/open", form_key=form_key)
        asked = stranger.post(f"/p/{token}/fresh", {"number": "482 913"}, form_key=form_key)
        for answer in (page, opened):
            page_for_all = re.sub(r'(href|action)="/p/[^"/]*/', "", without_form_keys(answer.text))
            seen.add((answer.status_code, page_for_all, "", tuple(sorted(answer.headers.keys()))))
        seen.add((asked.status_code, asked.location, "", ()))
    assert len({entry for entry in seen if entry[0] == 404}) == 1
    assert {entry[:2] for entry in seen if entry[0] != 404} == {(303, "/asked")}


@pytest.mark.behaviour("P6")
def test_a_fresh_link_goes_to_the_same_mailbox_and_is_throttled(app: Flask, post: Post, browser: Browser) -> None:
    delivery_id = post.hold()[0]
    link = post.link(delivery_id)
    browser.open(link)
    stranger = Browser(app, "198.51.100.1")
    answers = set()
    for number in (link.number, "000 000" if link.number != "000 000" else "000 001", *[link.number] * 9):
        answer = stranger.ask_fresh(link, number)
        answers.add((answer.status_code, answer.location))
        post.send_notices()
    assert answers == {(303, "/asked")}
    assert post.fresh_asked() == [delivery_id] * 3
    post.clock.now += 3601
    for _ in range(99):
        stranger.ask_fresh(link)
        post.clock.now += 900
        post.send_notices()
    assert len(post.fresh_asked()) == 3 + 10 + 3  # ten in any 24 hours, of almost 25


@pytest.mark.behaviour("P4")
def test_the_link_without_the_code_opens_nothing(app: Flask, post: Post) -> None:
    link = post.waiting(code=True)
    thief = Browser(app, "198.51.100.9")
    assert thief.open(link).status_code == 400
    for guess in ("", " ", "0" * 64, "null", "7KQM-3XRT", "' OR 1=1 --"):
        assert thief.open(link, guess).status_code in {400, 403}
    assert thief.get("/message").status_code == 403


@pytest.mark.behaviour("P5")
def test_a_stranger_who_guesses_is_blocked_and_the_recipient_is_not(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting(code=True)
    stranger = Browser(app, "198.51.100.9")
    statuses = [stranger.open(link, "AAAA-AAAA").status_code for _ in range(9)]
    assert statuses == [403] * 5 + [429] * 4
    refused = stranger.open(link, link.code)
    assert refused.status_code == 429  # not even with the right code: it would tell a guesser
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert browser.open(link, link.code).status_code == 303


@pytest.mark.behaviour("P5")
def test_many_clients_together_do_not_lock_the_recipient_out(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting(code=True)
    statuses = [
        Browser(app, f"198.51.100.{client}").open(link, "AAAA-AAAA").status_code
        for client in range(1, 8)
        for _ in range(5)
    ]
    # 30, then two for each network: these are all in one.
    assert statuses == [403] * 32 + [429] * 3
    assert Browser(app, "198.51.100.200").open(link, link.code).status_code == 429
    assert browser.open(link, link.code).status_code == 303  # the recipient, elsewhere, is not locked out


def test_one_ipv6_network_is_one_client(app: Flask, post: Post) -> None:
    link = post.waiting(code=True)
    statuses = [Browser(app, f"2001:db8::{n}").open(link, "AAAA-AAAA").status_code for n in range(1, 7)]
    assert statuses == [403] * 5 + [429]


def test_a_message_for_another_key_is_not_used_up(app: Flask, post: Post) -> None:
    link = post.waiting(vault=Sealer("old", generate_keypair()[1]))
    answer = Browser(app).open(link)
    assert answer.status_code == 503
    assert "has not been used up" in answer.text
    links.find_live_link(post.store, link.token, now=post.clock())


def test_a_locked_database_is_told_and_uses_up_nothing(post: Post) -> None:
    link = post.waiting()
    impatient = Store(post.settings.database, busy_seconds=0.1)
    browser = Browser(create_app(post.settings, store=impatient, clock=post.clock))
    form_key = browser.form_key(f"/p/{link.token}")
    lock = sqlite3.connect(post.settings.database.removeprefix("sqlite:///"), isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    form = {"number": link.number}
    answer = browser.post(f"/p/{link.token}/open", form, form_key=form_key)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    lock.execute("ROLLBACK")
    lock.close()
    assert browser.post(f"/p/{link.token}/open", form, form_key=form_key).status_code == 303
    impatient.close()
