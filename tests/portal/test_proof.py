"""Limits and work at the door: who is blocked, who never is, and what a stranger can tell from how much was done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, event, select, update

from restante import tokens
from restante.access import CodeWay, NoticeForm
from restante.store import holding, links, throttle
from restante.store.models import BlobSegment, Link, Message, PickupSession
from restante_portal import proof
from restante_portal.application import create_app
from tests.portal import letters
from tests.portal.conftest import Browser, Post, make_post, make_settings, without_form_keys


def link_less(post: Post, **more: Any) -> links.MintedLink:
    """A message whose notice has no link."""
    minted = links.mint_link(
        post.store, post.hold(**more)[0], needs_code=True, new_code=False, now=post.clock(), form=NoticeForm.NUMBER
    )
    assert minted is not None
    assert not minted.token
    return minted


def by_number(browser: Browser, number: str, code: str) -> Any:
    form_key = browser.form_key("/")
    return browser.post("/open", {"number": number, "code": code}, form_key=form_key)


@pytest.mark.behaviour("P4")
@pytest.mark.behaviour("P2")
def test_number_and_code_open_a_message_whose_notice_has_no_link(database_url: str, tmp_path: Path) -> None:
    settings, worker_private = make_settings(tmp_path, database_url)
    post = make_post(settings, worker_private)
    app = create_app(settings, store=post.store, clock=post.clock)
    browser, other = Browser(app), Browser(app, "192.0.2.9")
    minted = link_less(post)
    assert minted.code
    plain = minted.number.replace(" ", "")
    for path in (f"/p/{plain}", f"/p/{minted.number}"):  # the number is no link
        assert other.get(path).status_code == 404
        assert other.post(f"{path}/open", {"code": minted.code}, form_key=other.form_key("/")).status_code == 404
    assert by_number(other, minted.number, "AAAA-AAAA").status_code == 403
    assert by_number(browser, f" {plain} ", minted.code.lower()).location == "/message"
    assert by_number(browser, plain, "whatever").location == "/message"  # its window is open in this browser
    assert browser.get("/message").status_code == 200
    assert by_number(other, minted.number, minted.code).status_code == 403  # once
    post.send_notices()
    other.post("/fresh", {"number": plain}, form_key=other.form_key("/"))
    post.send_notices()
    assert len(post.fresh_asked()) == 1
    post.store.close()


@pytest.mark.behaviour("P6")
def test_numbers_that_no_notice_has_look_like_wrong_codes(app: Flask, post: Post) -> None:
    minted = link_less(post)
    used = link_less(post)
    assert used.code
    assert by_number(Browser(app), used.number, used.code).status_code == 303
    with_link = post.waiting(code=True)
    answers = set()
    for count, number in enumerate((minted.number, used.number, "000 000 000 000", with_link.number * 2)):
        stranger = Browser(app, f"198.51.100.{count}")
        refused = by_number(stranger, number, "AAAA-AAAA")
        asked = stranger.post("/fresh", {"number": number}, form_key=stranger.form_key("/"))
        answers.add((refused.status_code, without_form_keys(refused.text), asked.status_code, asked.location))
    assert len(answers) == 1
    assert by_number(Browser(app), "12", "AAAA-AAAA").status_code == 400


@contextmanager
def counted_work(post: Post, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Every statement that the store is asked, and every slow hash."""
    done: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        done.append(statement.partition(" ")[0])

    hashing = tokens.SlowHasher.matches

    def matches(self: tokens.SlowHasher, stored: str, secret: str) -> bool:
        done.append("argon2")
        return hashing(self, stored, secret)

    event.listen(post.store.engine, "before_cursor_execute", note)
    monkeypatch.setattr(tokens.SlowHasher, "matches", matches)
    yield done
    event.remove(post.store.engine, "before_cursor_execute", note)
    monkeypatch.undo()


@pytest.mark.behaviour("P5")
@pytest.mark.behaviour("P6")
def test_known_and_unknown_links_and_numbers_are_the_same_work(
    app: Flask, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    live, used, recalled = post.waiting(code=True), post.waiting(code=True), post.hold()[0]
    Browser(app).open(used, used.code)
    gone = post.link(recalled, code=True)
    holding.recall(post.store, recalled, actor="sender", now=post.clock())
    numbered = link_less(post)
    paths = [f"/p/{token}" for token in (live.token, used.token, gone.token, "A" * 43)]
    asks: dict[str, list[tuple[str, dict[str, str]]]] = {
        "open": [(f"{path}/open", {"code": "AAAA-AAAA"}) for path in paths],
        "number": [("/open", {"number": each, "code": "AAAA-AAAA"}) for each in (numbered.number, "1" * 12)],
        "fresh": [(f"{path}/fresh", {"number": live.number}) for path in paths],
        "fresh by number": [("/fresh", {"number": each}) for each in (numbered.number, "1" * 12)],
    }
    for name, requests in asks.items():
        work: list[list[str]] = []
        for count, (path, form) in enumerate(requests):
            stranger = Browser(app, f"198.51.100.{count}")
            form_key = stranger.form_key("/")
            with counted_work(post, monkeypatch) as done:
                stranger.post(path, form, form_key=form_key)
            work.append(done)
        assert all(each == work[0] for each in work), (name, work)
        assert work[0].count("argon2") == (0 if "fresh" in name else 1)
        assert work[0], name


@pytest.mark.behaviour("P5")
def test_strangers_everywhere_do_not_lock_the_recipient_out(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting()  # by number, so that no slow hash slows the test
    wrong = "000 000" if link.number != "000 000" else "000 001"
    crowd = [Browser(app, f"10.{count}.0.1") for count in range(40)]
    statuses = [stranger.open(link, number=wrong).status_code for stranger in crowd for _ in range(4)]
    # 30 for all, and then two for each network that comes.
    assert statuses.count(403) == 30 + 2 * (40 - 8) + 2
    assert statuses[-2:] == [429, 429]
    assert browser.open(link).status_code == 303


@pytest.mark.behaviour("P5")
def test_who_is_locked_out_all_the_same_asks_for_a_fresh_link(app: Flask, post: Post, browser: Browser) -> None:
    delivery_id = post.hold()[0]
    link = post.link(delivery_id)
    for _ in range(6):  # somebody behind the recipient's own address
        refused = browser.open(link, number="12")
    assert refused.status_code == 429
    assert "ask for a fresh link" in refused.text
    post.send_notices()
    assert browser.ask_fresh(link).status_code == 303
    post.send_notices()
    assert post.fresh_asked() == [delivery_id]
    assert browser.open(post.link(delivery_id)).status_code == 303


@pytest.mark.behaviour("P5")
def test_one_client_does_not_guess_at_many_numbers_and_stops_nobody_with_a_link(
    app: Flask, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, link = link_less(post), post.waiting(code=True)
    busy = "198.51.100.9"
    for _ in range(proof.PER_CLIENT_OVERALL.tries):
        throttle.take(post.store, [proof.PER_CLIENT_OVERALL.of(busy)], now=post.clock())
    stranger = Browser(app, busy)
    for number in (known.number, "000 000 000 000"):
        assert by_number(stranger, number, "AAAA-AAAA").status_code == 429
    assert known.code
    assert by_number(Browser(app, "198.51.100.10"), known.number, known.code).status_code == 303
    form_key = stranger.form_key("/")
    with counted_work(post, monkeypatch) as done:
        assert stranger.post(f"/p/{'A' * 43}/open", {"code": "AAAA-AAAA"}, form_key=form_key).status_code == 404
    assert "argon2" not in done
    assert Browser(app, busy).open(link, link.code).status_code == 303  # the recipient, behind the same address


def _cut(post: Post) -> None:
    with post.store.write() as session:
        session.execute(delete(BlobSegment).where(BlobSegment.number == 0))


def _swap(post: Post) -> None:
    with post.store.write() as session:
        data = session.scalars(select(BlobSegment.data)).first()
        assert data is not None
        session.execute(update(BlobSegment).values(data=data[:-1] + bytes([data[-1] ^ 1])))


@pytest.mark.behaviour("P1")
@pytest.mark.parametrize("spoil", [_cut, _swap])
def test_what_cannot_be_decrypted_is_not_used_up(
    app: Flask, post: Post, browser: Browser, spoil: Callable[[Post], None]
) -> None:
    link = post.waiting(letters.RICH)
    with post.store.read() as session:
        kept = session.scalars(select(BlobSegment.data)).one()
    spoil(post)
    answer = browser.open(link)
    assert (answer.status_code, "has not been used up" in answer.text) == (503, True)
    with post.store.write() as session:
        assert session.scalars(select(PickupSession.id)).all() == []
        session.execute(delete(BlobSegment))
        row = session.scalars(select(Link)).one()
        assert row.state == "live"
        blob_id = session.scalars(select(Message.blob_id)).one()
        session.add(BlobSegment(blob_id=blob_id, number=0, data=kept))
    assert browser.open(link).status_code == 303


@pytest.mark.behaviour("P4")
def test_an_agreed_phrase_opens_and_the_page_asks_for_it(app: Flask, post: Post, browser: Browser) -> None:
    minted = links.mint_link(
        post.store,
        post.hold()[0],
        needs_code=True,
        new_code=False,
        now=post.clock(),
        way=CodeWay.PHRASE,
        phrase=tokens.phrase_hash("the yellow submarine"),
    )
    assert minted is not None
    assert minted.code is None
    assert "Agreed phrase" in browser.get(f"/p/{minted.token}").text
    assert browser.open(minted, "the yellow submarines").status_code == 403
    assert browser.open(minted, "The  Yellow Submarine").status_code == 303
