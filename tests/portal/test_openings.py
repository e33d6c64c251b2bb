"""Recipients who find a link used: told when it was opened after a proof; one button shuts everybody out."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from restante.receipts import Receipt
from restante.store import freezing
from restante.store.links import MintedLink
from restante.store.models import AuditRecord, JobKind, OutboxJob
from tests.portal.conftest import Browser, Post, without_form_keys

OPENED = "This message was opened:"


def stolen(app: Flask, post: Post, *, code: bool) -> tuple[str, MintedLink, Browser]:
    """A message that a thief has opened: its id, the link that was used up, the thief's browser."""
    delivery_id = post.hold()[0]
    link = post.link(delivery_id, code=code)
    thief = Browser(app, "203.0.113.5")
    assert thief.open(link, link.code).status_code == 303
    assert thief.get("/message").status_code == 200
    return delivery_id, link, thief


def ask_history(browser: Browser, token: str, code: str) -> Any:
    return browser.post(f"/p/{token}/history", {"code": code}, form_key=browser.form_key(f"/p/{token}"))


def proof_in(page: str) -> str:
    return page.partition('name="proof" value="')[2].partition('"')[0]


def say_not_me(browser: Browser, token: str, proof: str) -> Any:
    return browser.post(f"/p/{token}/not-me", {"proof": proof}, form_key=browser.form_key(f"/p/{token}"))


def alarms(post: Post) -> list[dict[str, Any]]:
    with post.store.read() as session:
        rows = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.RECEIPT)).all()
    return [row.payload for row in rows if row.payload["event"] == Receipt.NOT_ME]


def frozen(post: Post) -> list[str]:
    with post.store.read() as session:
        return [row.actor for row in session.scalars(select(AuditRecord).where(AuditRecord.action == "froze"))]


@pytest.mark.behaviour("P1")
def test_who_knows_the_code_is_told_when_and_shuts_everybody_out(app: Flask, post: Post) -> None:
    delivery_id, link, thief = stolen(app, post, code=True)
    assert link.code
    recipient = Browser(app)
    assert OPENED not in recipient.get(f"/p/{link.token}").text
    told = ask_history(recipient, link.token, link.code)
    assert told.status_code == 200
    assert OPENED in told.text
    answer = say_not_me(recipient, link.token, proof_in(told.text))
    assert (answer.status_code, answer.location) == (303, "/frozen")
    assert "Nobody can open it now" in recipient.get("/frozen").text
    assert thief.get("/message").status_code == 403
    assert sorted(bool(each.get("operator")) for each in alarms(post)) == [False, True]
    assert frozen(post) == ["recipient"]
    assert say_not_me(recipient, link.token, proof_in(told.text)).status_code == 303  # once more changes nothing
    assert len(frozen(post)) == 1
    post.send_notices()
    assert recipient.ask_fresh(link).status_code == 303
    post.send_notices()
    assert post.fresh_asked() == []
    assert delivery_id in str(alarms(post))


@pytest.mark.behaviour("P1")
@pytest.mark.behaviour("P6")
def test_a_fresh_link_tells_that_somebody_was_there_before(app: Flask, post: Post) -> None:
    delivery_id, _, thief = stolen(app, post, code=False)
    post.clock.now += 120
    recipient = Browser(app)
    recipient.open(post.link(delivery_id))
    page = recipient.get("/message").text
    assert "It was opened before" in page
    window = page.partition('name="window" value="')[2].partition('"')[0]
    answer = recipient.post("/message/not-me", {"window": window}, form_key=recipient.form_key("/message"))
    assert answer.location == "/frozen"
    for browser in (recipient, thief):
        assert browser.get("/message").status_code == 403
    assert len(frozen(post)) == 1


@pytest.mark.behaviour("P1")
def test_a_link_from_before_the_freeze_opens_nothing_once_it_is_lifted(app: Flask, post: Post) -> None:
    delivery_id, _, thief = stolen(app, post, code=False)
    asked_before = post.link(delivery_id)  # in the mailbox that the thief reads, and opened by its number alone
    freezing.freeze(post.store, delivery_id, actor="recipient", now=post.clock())
    freezing.lift(post.store, delivery_id, actor="sender", now=post.clock())
    assert thief.open(asked_before).status_code == 404  # the fresh notice is still on its way
    assert thief.get("/message").status_code == 403


def test_the_first_to_open_is_asked_nothing(post: Post, browser: Browser) -> None:
    browser.open(post.waiting())
    assert "opened before" not in browser.get("/message").text


@pytest.mark.behaviour("P1")
def test_strangers_and_scanners_learn_and_freeze_nothing(app: Flask, post: Post) -> None:
    _, link, thief = stolen(app, post, code=True)
    _, plain, _ = stolen(app, post, code=False)
    stranger = Browser(app, "198.51.100.1")
    pages = []
    for token in (link.token, plain.token, "x" * 43):
        refused = ask_history(stranger, token, "AAAA-AAAA")
        assert refused.status_code == 403
        pages.append(without_form_keys(refused.text).replace(token, "TOKEN"))
        for proof in ("", "x" * 43, "é"):
            assert say_not_me(stranger, token, proof).status_code == 404
        for path in ("history", "not-me"):
            assert stranger.get(f"/p/{token}/{path}").status_code == 303
    assert len(set(pages)) == 1
    assert OPENED not in pages[0]
    assert stranger.post("/message/not-me", form_key=stranger.form_key()).status_code == 403
    assert frozen(post) == []
    assert thief.get("/message").status_code == 200


def test_a_proof_is_one_browsers_and_one_links(app: Flask, post: Post) -> None:
    _, link, _ = stolen(app, post, code=True)
    _, other, _ = stolen(app, post, code=True)
    assert link.code
    recipient = Browser(app)
    proof = proof_in(ask_history(recipient, link.token, link.code).text)
    assert say_not_me(Browser(app, "198.51.100.1"), link.token, proof).status_code == 404
    assert say_not_me(recipient, other.token, proof).status_code == 404
    assert frozen(post) == []


@pytest.mark.behaviour("P5")
def test_codes_are_not_guessed_here_either(app: Flask, post: Post) -> None:
    _, link, _ = stolen(app, post, code=True)
    assert link.code
    guesser = Browser(app, "198.51.100.1")
    tries = [ask_history(guesser, link.token, "AAAA-AAAA").status_code for _ in range(6)]
    assert tries == [403] * 5 + [429]
    assert ask_history(Browser(app), link.token, link.code).status_code == 200


def test_what_nobody_opened_is_said_to_be_unopened(app: Flask, post: Post) -> None:
    delivery_id = post.hold()[0]
    old = post.link(delivery_id, code=True)
    assert old.code
    post.link(delivery_id, code=True)
    told = ask_history(Browser(app), old.token, old.code)
    assert "Nobody has opened this message yet" in told.text
    assert "It was not me" not in told.text
