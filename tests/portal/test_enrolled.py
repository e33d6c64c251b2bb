"""Enrolled recipients: setting a way to sign in, signing in, the inbox; and everyone who must not get there."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import delete, select, update

from restante.access import CodeWay, Proof
from restante.enrolment_keys import PortalKeys
from restante.store import enrolments, freezing, holding, links
from restante.store.inbox import open_waiting
from restante.store.models import (
    AuditRecord,
    Delivery,
    Enrolment,
    JobKind,
    Message,
    OutboxJob,
    Passkey,
    PickupSession,
    RecipientSession,
)
from restante.vault import Sealer, generate_keypair
from restante_portal import guard, inbox
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.portal.authenticator import PRESENT, VERIFIED, Authenticator, app_code
from tests.portal.conftest import RECIPIENT, SIMPLE, URL, Browser, Post, make_post, make_settings, without_form_keys
from tests.portal.test_proof import counted_work

PASSWORD = "yellow submarine 42"
OTHER = "otto@patients.example"


def field_of(page: str, name: str) -> str:
    return html.unescape(page.partition(f'name="{name}" value="')[2].partition('"')[0])


def options_of(page: str, kind: str) -> dict[str, Any]:
    found = re.search(rf'data-passkey="{kind}" data-options="([^"]*)"', page)
    assert found is not None
    options: dict[str, Any] = json.loads(html.unescape(found[1]))
    return options


def opened(post: Post, browser: Browser, *, code: bool = True, recipient: str = RECIPIENT) -> str:
    """Open a message in ``browser``; the address of the page to enrol on."""
    link = post.waiting(code=code, recipients=(recipient,))
    answer = browser.open(link, link.code)
    assert answer.status_code == 303
    page = browser.get(answer.location).text
    found = re.search(r'href="(/enrol\?window=[0-9a-f]+)"', page)
    assert found is not None
    return found[1]


def passkey() -> Authenticator:
    return Authenticator(URL, "pickup.test.example")


def answer_with(browser: Browser, path: str, key: Authenticator) -> Any:
    page = browser.get(path).text
    answer = key.create(options_of(page, "create"))
    return browser.post(path, {"act": "passkey", "answer": answer}, form_key=field_of(page, "form_key"))


def enrol(post: Post, browser: Browser, *, code: bool = True, recipient: str = RECIPIENT) -> Authenticator:
    key = passkey()
    done = answer_with(browser, opened(post, browser, code=code, recipient=recipient), key)
    assert done.location == "/enrol?done=1"
    return key


def set_password(browser: Browser, path: str, now: float, password: str = PASSWORD) -> tuple[Any, str]:
    """Set a password on the page at ``path``; the answer, and the key that the app has."""
    page = browser.get(path).text
    key = page.partition('<p class="address" dir="ltr"><a href="')[2].partition(">")[2].partition("<")[0]
    form = {"act": "password", "setup": field_of(page, "setup"), "password": password, "code": app_code(key, now)}
    return browser.post(path, form, form_key=field_of(page, "form_key")), key


def sign_in(browser: Browser, key: Authenticator) -> Any:
    page = browser.get("/sign-in").text
    answer = key.get(options_of(page, "get"))
    return browser.post("/sign-in", {"answer": answer}, form_key=field_of(page, "form_key"))


def by_password(browser: Browser, code: str, password: str = PASSWORD, address: str = RECIPIENT) -> Any:
    form = {"address": address, "password": password, "code": code}
    return browser.post("/sign-in", form, form_key=browser.form_key("/sign-in"))


def open_from_inbox(browser: Browser, delivery_id: str) -> Any:
    return browser.post(f"/inbox/{delivery_id}/open", form_key=browser.form_key("/inbox"))


def keys_of(app: Flask) -> PortalKeys:
    return portal_of(app).people


@pytest.mark.behaviour("P5")
@pytest.mark.behaviour("P4")
def test_a_passkey_opens_later_messages_from_the_inbox(database_url: str, tmp_path: Path) -> None:
    settings, worker_private = make_settings(tmp_path, database_url)
    post = make_post(settings, worker_private)
    app = create_app(settings, store=post.store, clock=post.clock)
    key = enrol(post, Browser(app))
    later = post.hold(summary={"subject": "Nobody reads this before"})[0]
    post.link(later, code=True, way=CodeWay.ENROLLED)
    for_other = post.hold(recipients=(OTHER,))[0]
    browser, stranger = Browser(app, "192.0.2.2"), Browser(app, "192.0.2.3")
    assert browser.get("/inbox").location == "/sign-in"
    assert sign_in(browser, key).location == "/inbox"
    page = browser.get("/inbox").text
    assert f"/inbox/{later}/open" in page
    assert "anna@clinic.example" in page
    assert "Nobody reads this before" not in page
    assert for_other not in page
    for each in (for_other, "0" * 32, "x"):
        assert open_from_inbox(browser, each).location == "/inbox"
    found = open_from_inbox(browser, later)
    assert found.location.startswith("/message?window=")
    assert open_from_inbox(browser, later).location == found.location  # a second click
    assert browser.get("/message.eml").data == SIMPLE
    assert stranger.get(found.location).status_code == 403
    assert "Opened" in browser.get("/inbox").text
    assert (post.state(later), post.state(for_other)) == ("opened", "held")
    browser.post("/sign-out", form_key=browser.form_key("/inbox"))
    assert browser.get("/inbox").location == "/sign-in"
    assert browser.get(found.location).status_code == 403  # what was open closed with it
    with post.store.read() as session:
        records = session.scalars(select(AuditRecord)).all()
    actions = [one.action for one in records if one.actor == "recipient"]
    assert {"enrolled", "signed-in", "signed-out"} <= set(actions)
    assert [one.detail for one in records if one.delivery_id == later and one.action == "became-opened"] == [
        {"proof": "enrolled"}
    ]
    assert RECIPIENT not in str([one.detail for one in records])
    post.store.close()


@pytest.mark.behaviour("P5")
def test_the_session_is_worth_nothing_in_another_browser(app: Flask, post: Post, browser: Browser) -> None:
    enrol(post, browser)
    assert browser.get("/inbox").status_code == 200
    cookie = browser.client.get_cookie("__Host-restante-inbox", domain="pickup.test.example")
    assert cookie is not None
    assert (cookie.http_only, cookie.secure, cookie.same_site) == (True, True, "Strict")
    thief = Browser(app, "192.0.2.9")
    thief.get("/sign-in")
    thief.client.set_cookie("__Host-restante-inbox", cookie.value, domain="pickup.test.example")
    assert thief.get("/inbox").location == "/sign-in"
    post.clock.now += post.settings.portal.pickup_window_minutes * 60
    assert browser.get("/inbox").location == "/sign-in"


def _origin(key: Authenticator) -> None:
    key.origin = "https://pickup.test.example.evil.example"


def _other_place(key: Authenticator) -> None:
    key.rp_id = "evil.example"


def _nobody_verified(key: Authenticator) -> None:
    key.flags = PRESENT


def _nobody_present(key: Authenticator) -> None:
    key.flags = VERIFIED


def _tpm(key: Authenticator) -> None:
    key.attestation = "tpm"


LIES = [_origin, _other_place, _nobody_verified, _nobody_present]


@pytest.mark.behaviour("P5")
@pytest.mark.parametrize("lie", [*LIES, _tpm])
def test_a_false_registration_sets_nothing(
    app: Flask, post: Post, browser: Browser, lie: Callable[[Authenticator], None]
) -> None:
    key = passkey()
    lie(key)
    refused = answer_with(browser, opened(post, browser), key)
    assert refused.status_code == 400
    assert "That did not work." in refused.text
    assert enrolments.find(post.store, keys_of(app).common, RECIPIENT) is None


@pytest.mark.behaviour("P5")
def test_challenges_are_for_one_browser_one_purpose_one_answer_and_a_while(app: Flask, post: Post) -> None:
    browser, other = Browser(app), Browser(app, "192.0.2.7")
    path, theirs = opened(post, browser), opened(post, other, recipient=OTHER)
    key = passkey()

    def tried(who: Browser, where: str, answer: str) -> int:
        page = who.get(where).text
        status: int = who.post(
            where, {"act": "passkey", "answer": answer}, form_key=field_of(page, "form_key")
        ).status_code
        return status

    options = options_of(browser.get(path).text, "create")
    answer = key.create(options)
    assert tried(other, theirs, answer) == 400  # another browser's, and another address's
    made_up = key.create(options | {"challenge": "A" * 76})
    assert tried(browser, path, made_up) == 400
    for_signing_in = options | {"challenge": options_of(browser.get("/sign-in").text, "get")["challenge"]}
    assert tried(browser, path, key.create(for_signing_in)) == 400
    for odd in ("", "{}", "[]", "null", '{"response": 1}', "x" * 20_000, '{"response":{"clientDataJSON":"e30"}}'):
        assert tried(browser, path, odd) == 400
    post.clock.now += 601
    assert tried(browser, path, answer) == 400
    fresh = key.create(options_of(browser.get(path).text, "create"))
    assert tried(browser, path, fresh) == 303
    assert tried(browser, path, fresh) == 400  # used


@pytest.mark.behaviour("P5")
@pytest.mark.parametrize("lie", LIES)
def test_a_false_assertion_signs_nobody_in(
    app: Flask, post: Post, browser: Browser, lie: Callable[[Authenticator], None]
) -> None:
    key = enrol(post, browser)
    thief = Browser(app, "192.0.2.9")
    lie(key)
    assert sign_in(thief, key).status_code == 403
    assert thief.get("/inbox").location == "/sign-in"


@pytest.mark.behaviour("P5")
def test_replays_counts_that_go_back_and_other_keys_sign_nobody_in(app: Flask, post: Post, browser: Browser) -> None:
    key = enrol(post, browser)
    visitor = Browser(app, "192.0.2.9")
    page = visitor.get("/sign-in").text
    answer = key.get(options_of(page, "get"))
    form_key = field_of(page, "form_key")
    for tampered in (
        answer.replace('"signature": "', '"signature": "AAAA'),
        json.dumps(json.loads(answer) | {"id": "AAAA", "rawId": "AAAA"}),
        "{}",
        "[1]",
        '{"response": {"clientDataJSON": 7}}',
    ):
        assert visitor.post("/sign-in", {"answer": tampered}, form_key=form_key).status_code == 403
    assert visitor.post("/sign-in", {"answer": answer}, form_key=form_key).status_code == 403  # its challenge is used
    assert sign_in(visitor, key).location == "/inbox"
    key.count -= 2  # a copy of the passkey, which has not counted along
    assert sign_in(Browser(app, "192.0.2.10"), key).status_code == 403
    stolen_name = replace(passkey(), credential_id=key.credential_id, handle=key.handle, count=99)
    assert sign_in(Browser(app, "192.0.2.11"), stolen_name).status_code == 403
    unknown = passkey()
    unknown.handle = key.handle
    assert sign_in(Browser(app, "192.0.2.12"), unknown).status_code == 403
    wrong_handle = replace(key, handle=b"x" * 32, count=50)
    assert sign_in(Browser(app, "192.0.2.13"), wrong_handle).status_code == 403
    key.count = 60
    assert sign_in(Browser(app, "192.0.2.14"), key).location == "/inbox"


def test_a_passkey_that_does_not_count_signs_in_again_and_again(app: Flask, post: Post, browser: Browser) -> None:
    key = enrol(post, browser)
    key.step = 0
    for number in range(2):
        assert sign_in(Browser(app, f"192.0.2.{number + 20}"), key).location == "/inbox"
    key.count, key.step = 5, 0
    assert sign_in(Browser(app, "192.0.2.30"), key).location == "/inbox"
    key.count = 0
    assert sign_in(Browser(app, "192.0.2.31"), key).status_code == 403


@pytest.mark.behaviour("P5")
def test_a_password_with_one_time_codes(app: Flask, post: Post, browser: Browser) -> None:
    path = opened(post, browser)
    now = post.clock.now
    for weak in ("short", "a" * 40):
        refused, _ = set_password(browser, path, now, weak)
        assert "too easy to guess" in refused.text
    page = browser.get(path).text
    form = {"act": "password", "setup": field_of(page, "setup"), "password": PASSWORD, "code": "000000"}
    wrong = browser.post(path, form, form_key=field_of(page, "form_key"))
    assert field_of(wrong.text, "setup") == field_of(page, "setup")  # the app's picture stays good
    done, key = set_password(browser, path, now)
    assert done.location == "/enrol?done=1"
    visitor = Browser(app, "192.0.2.9")
    assert by_password(visitor, app_code(key, now)).status_code == 403  # used for enrolling
    post.clock.now = now = now + 60
    assert by_password(visitor, app_code(key, now), "wrong " + PASSWORD).status_code == 403
    assert by_password(visitor, app_code(key, now - 120)).status_code == 403
    assert by_password(visitor, app_code(key, now), address=RECIPIENT.upper()).location == "/inbox"
    assert by_password(Browser(app, "192.0.2.10"), app_code(key, now)).status_code == 403  # replayed
    assert by_password(Browser(app, "192.0.2.10"), app_code(key, now - 30)).status_code == 403  # one before it
    assert by_password(Browser(app, "192.0.2.10"), app_code(key, now + 30)).location == "/inbox"
    assert by_password(Browser(app, "192.0.2.11"), "").status_code == 400


@pytest.mark.behaviour("P5")
def test_a_setup_of_another_browser_or_address_sets_nothing(app: Flask, post: Post, browser: Browser) -> None:
    other = Browser(app, "192.0.2.9")
    theirs = opened(post, other, recipient=OTHER)
    page = other.get(theirs).text
    key = page.partition('<p class="address" dir="ltr"><a href="')[2].partition(">")[2].partition("<")[0]
    path = opened(post, browser)
    form = {"act": "password", "password": PASSWORD, "code": app_code(key, post.clock.now)}
    for setup in (field_of(page, "setup"), "00", "zz", ""):
        answer = browser.post(path, form | {"setup": setup}, form_key=browser.form_key(path))
        assert answer.status_code == 400
    assert enrolments.find(post.store, keys_of(app).common, RECIPIENT) is None


@pytest.mark.behaviour("P5")
@pytest.mark.behaviour("P6")
def test_known_and_unknown_addresses_are_the_same_work_and_the_same_answer(
    app: Flask, post: Post, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_password(browser, opened(post, browser), post.clock.now)
    with_key = Browser(app, "192.0.2.50")
    enrol(post, with_key, recipient=OTHER)
    tries = [
        (RECIPIENT, PASSWORD),
        (RECIPIENT, "x"),
        (OTHER, "x"),
        ("nobody@patients.example", "x"),
        ("no address", "x"),
    ]
    answers, work = [], []
    for number, (address, password) in enumerate(tries):
        stranger = Browser(app, f"198.51.100.{number}")
        form_key = stranger.form_key("/sign-in")
        form = {"address": address, "password": password, "code": "000000"}
        with counted_work(post, monkeypatch) as done:
            answer = stranger.post("/sign-in", form, form_key=form_key)
        page = re.sub(r'data-options="[^"]*"', "", without_form_keys(answer.text))
        answers.append((answer.status_code, page))
        work.append(done)
    assert len(set(answers)) == 1
    assert answers[0][0] == 403
    # Whose password was right had the enrolment's row read as well as all others; more is not done.
    assert all(each == work[-1] for each in work), work
    assert work[0].count("argon2") == 1


@pytest.mark.behaviour("P5")
def test_strangers_do_not_lock_the_recipient_out(app: Flask, post: Post, browser: Browser) -> None:
    _, key = set_password(browser, opened(post, browser), post.clock.now)
    one = Browser(app, "198.51.100.9")
    assert [by_password(one, "000000", "wrong").status_code for _ in range(7)] == [403] * 5 + [429] * 2
    crowd = [Browser(app, f"10.{number}.0.1") for number in range(11)]
    statuses = [by_password(each, "000000", "wrong").status_code for each in crowd for _ in range(4)]
    assert statuses[-2:] == [429, 429]
    post.clock.now += 60
    assert by_password(Browser(app, "192.0.2.77"), app_code(key, post.clock.now)).location == "/inbox"


@pytest.mark.behaviour("P5")
def test_who_knows_the_password_guesses_few_codes_and_hears_nothing(app: Flask, post: Post, browser: Browser) -> None:
    path = opened(post, browser)
    _, key = set_password(browser, path, post.clock.now)
    page = browser.get("/enrol").text
    spare = passkey()
    answer = spare.create(options_of(page, "create"))
    browser.post("/enrol", {"act": "passkey", "answer": answer}, form_key=field_of(page, "form_key"))
    pages = set()
    for number in range(inbox.CODE_PER_ADDRESS.tries + 1):
        refused = by_password(Browser(app, f"10.{number}.0.1"), "000000")
        pages.add((refused.status_code, re.sub(r'data-options="[^"]*"', "", without_form_keys(refused.text))))
    assert len(pages) == 1
    post.clock.now += 60
    assert by_password(Browser(app, "192.0.2.77"), app_code(key, post.clock.now)).status_code == 403
    assert sign_in(Browser(app, "192.0.2.77"), spare).location == "/inbox"  # the passkey is not concerned
    post.clock.now += inbox.CODE_PER_ADDRESS.seconds
    assert by_password(Browser(app, "192.0.2.78"), app_code(key, post.clock.now)).location == "/inbox"


@pytest.mark.behaviour("P4")
def test_enrolling_needs_an_open_window_with_a_proof_of_its_own(app: Flask, post: Post, browser: Browser) -> None:
    stranger = Browser(app, "192.0.2.9")
    assert stranger.get("/enrol").location == "/sign-in"
    assert stranger.post("/enrol", {"act": "passkey"}, form_key=stranger.form_key("/sign-in")).location == "/sign-in"
    key = enrol(post, browser)
    later = post.hold()[0]
    visitor = Browser(app, "192.0.2.10")
    sign_in(visitor, key)
    window = open_from_inbox(visitor, later).location.partition("=")[2]
    visitor.post("/sign-out", form_key=visitor.form_key("/inbox"))
    assert visitor.get(f"/enrol?window={window}").location == "/sign-in"
    closing = Browser(app, "192.0.2.11")
    path = opened(post, closing, recipient=OTHER)
    post.clock.now += post.settings.portal.pickup_window_minutes * 60
    assert closing.get(path).location == "/sign-in"


@pytest.mark.behaviour("P4")
def test_who_only_reads_the_mailbox_opens_nothing_that_always_needs_a_code(app: Flask, post: Post) -> None:
    thief, recipient = Browser(app), Browser(app, "192.0.2.2")
    enrol(post, thief, code=False)
    strict, plain, never = post.hold()[0], post.hold()[0], post.hold()[0]
    with post.store.write() as session:
        ids = {row.id: row.message_id for row in session.scalars(select(Delivery))}
        session.execute(update(Message).where(Message.id == ids[strict]).values(always_code=True))
        session.execute(update(Message).where(Message.id == ids[never]).values(enrolled=False))
    page = thief.get("/inbox").text
    assert [f"/inbox/{each}/open" in page for each in (strict, plain, never)] == [False, True, False]
    assert open_from_inbox(thief, strict).location == "/inbox"
    assert open_from_inbox(thief, never).location == "/inbox"
    assert open_from_inbox(thief, plain).location.startswith("/message")
    again = Browser(app, "192.0.2.3")
    weaker = opened(post, again, code=False)
    early = again.get(weaker).text
    path = opened(post, recipient)
    assert "takes the place of these" in recipient.get(path).text
    assert answer_with(recipient, path, passkey()).location == "/enrol?done=1"
    assert thief.get("/inbox").location == "/sign-in"  # replaced, with its sessions
    assert f"/inbox/{strict}/open" in recipient.get("/inbox").text
    assert "To change these, sign in" in again.get(weaker).text
    form = {"act": "passkey", "answer": passkey().create(options_of(early, "create"))}
    assert again.post(weaker, form, form_key=field_of(early, "form_key")).status_code == 400
    assert again.post(weaker, {"act": "remove"}, form_key=field_of(early, "form_key")).status_code == 400
    assert recipient.get("/inbox").status_code == 200


@pytest.mark.behaviour("P5")
@pytest.mark.behaviour("P6")
def test_removing_and_the_way_without_the_device(app: Flask, post: Post, browser: Browser) -> None:
    key = enrol(post, browser)
    later = post.hold()[0]
    link = post.link(later, way=CodeWay.ENROLLED)
    assert (link.token, link.code) == ("", None)
    post.send_notices()
    for where, form in (("/open", {"code": "AAAA-AAAA"}), ("/fresh", {"by_code": "1"})):
        stranger = Browser(app, "192.0.2.9")
        answer = stranger.post(where, {"number": link.number, **form}, form_key=stranger.form_key("/sign-in"))
        assert (answer.status_code, answer.location) == ((403, None) if where == "/open" else (303, "/asked"))
    post.send_notices()
    with post.store.read() as session:
        payloads = [job.payload for job in session.scalars(select(OutboxJob)) if job.payload.get("cause") == "fresh"]
    assert payloads == [{"deliveries": [later], "cause": "fresh", "by_code": True}]
    removed = browser.post("/enrol", {"act": "remove"}, form_key=browser.form_key("/enrol"))
    assert removed.location == "/"
    assert browser.get("/inbox").location == "/sign-in"
    assert sign_in(Browser(app, "192.0.2.20"), key).status_code == 403
    minted = post.link(later, code=True)
    assert browser.open(minted, minted.code).status_code == 303


@pytest.mark.behaviour("P5")
def test_more_ways_for_who_is_signed_in_and_a_greeting(app: Flask, post: Post, browser: Browser) -> None:
    first = enrol(post, browser)
    second = passkey()
    assert answer_with(browser, "/enrol", second).location == "/enrol?done=1"
    assert set_password(browser, "/enrol", post.clock.now)[0].location == "/enrol?done=1"
    for number, key in enumerate((first, second)):
        assert sign_in(Browser(app, f"192.0.2.{number + 20}"), key).location == "/inbox"
    form = {"act": "greeting", "greeting": "blue <b>elephant</b>\r\nX: y " + "z" * 200}
    browser.post("/enrol", form, form_key=browser.form_key("/enrol"))
    found = enrolments.find(post.store, keys_of(app).common, RECIPIENT.upper())
    assert found is not None
    assert found.greeting.startswith("blue <b>elephant</b>X: y")
    assert (len(found.greeting), len(found.passkeys), found.has_password) == (80, 2, True)
    assert "blue &lt;b&gt;elephant" in browser.get("/enrol").text
    for _ in range(enrolments.MOST_PASSKEYS - 2):
        assert answer_with(browser, "/enrol", passkey()).location == "/enrol?done=1"
    assert answer_with(browser, "/enrol", passkey()).status_code == 400


@pytest.mark.behaviour("P5")
def test_the_address_is_told_of_every_change_on_the_page(app: Flask, post: Post, browser: Browser) -> None:
    path = opened(post, browser)
    set_password(browser, path, post.clock.now, "short")  # refused
    assert answer_with(browser, path, passkey()).location == "/enrol?done=1"
    for _ in range(2):
        set_password(browser, "/enrol", post.clock.now)
    browser.post("/enrol", {"act": "greeting", "greeting": "blue"}, form_key=browser.form_key("/enrol"))
    browser.post("/enrol", {"act": "remove"}, form_key=browser.form_key("/enrol"))
    sign_in(Browser(app, "192.0.2.9"), passkey())
    with post.store.read() as session:
        (job,) = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.SIGN_IN)).all()
        copy = session.get_one(Delivery, job.payload["delivery"])
    assert copy.recipient == RECIPIENT
    assert [one["what"] for one in job.payload["changes"]] == ["passkey", "password", "new-password", "removed"]
    assert job.sealed is None
    for secret in (RECIPIENT, PASSWORD, "argon2", "blue"):
        assert secret not in json.dumps(job.payload)


@pytest.mark.behaviour("P10")
def test_what_is_gone_frozen_or_for_another_key_does_not_open(app: Flask, post: Post, browser: Browser) -> None:
    enrol(post, browser)
    recalled, expired, frozen = post.hold()[0], post.hold(days=1)[0], post.hold()[0]
    lost = post.hold(vault=Sealer("old", generate_keypair()[1]))[0]
    link = post.link(lost, code=True)
    holding.recall(post.store, recalled, actor="sender", now=post.clock())
    assert open_from_inbox(browser, recalled).location == "/inbox"
    assert open_from_inbox(browser, frozen).location.startswith("/message")
    freezing.freeze(post.store, frozen, actor="recipient", now=post.clock())
    assert open_from_inbox(browser, frozen).location == "/inbox"
    freezing.lift(post.store, frozen, actor="admin:rosa", now=post.clock())
    assert open_from_inbox(browser, frozen).location == "/inbox"  # from now on with a code
    assert "use its notice" in browser.get("/inbox").text
    assert open_from_inbox(browser, lost).status_code == 503
    links.find_live_link(post.store, link.token, now=post.clock())  # not used up
    with post.store.write() as session:
        session.execute(update(RecipientSession).values(ends_at=post.clock() + 99_999_999))
    post.clock.now += 86_400
    assert open_from_inbox(browser, expired).location == "/inbox"


@pytest.mark.behaviour("P10")
def test_a_sign_in_that_was_set_on_a_copy_ends_when_that_is_frozen(app: Flask, post: Post, browser: Browser) -> None:
    path = opened(post, browser, code=False)
    other = Browser(app, "203.0.113.5")
    elsewhere = opened(post, other, code=False, recipient=OTHER)
    assert answer_with(browser, path, passkey()).location == "/enrol?done=1"
    assert answer_with(other, elsewhere, passkey()).location == "/enrol?done=1"
    later = post.hold()[0]
    with post.store.read() as session:
        copy = session.scalars(select(AuditRecord.delivery_id).where(AuditRecord.action == "enrolled")).first()
    assert copy is not None
    freezing.freeze(post.store, copy, actor="recipient", now=post.clock())
    assert browser.get("/inbox").location == "/sign-in"
    assert open_from_inbox(browser, later).location == "/sign-in"
    assert other.get("/inbox").status_code == 200
    with post.store.read() as session:
        assert len(session.scalars(select(Enrolment)).all()) == 1
        ended = session.scalars(select(AuditRecord).where(AuditRecord.action == "removed-enrolment")).one()
    assert (ended.actor, ended.delivery_id) == ("recipient", copy)


@pytest.mark.behaviour("P10")
def test_nobody_enrols_on_a_copy_that_was_frozen_meanwhile(app: Flask, post: Post, browser: Browser) -> None:
    opened(post, browser, code=False)
    with post.store.read() as session:
        copy = session.scalars(select(Delivery)).one()
    ground = enrolments.Ground(copy.id, copy.message_id, copy.recipient, Proof.NUMBER)
    freezing.freeze(post.store, copy.id, actor="recipient", now=post.clock())
    way = enrolments.NewPasskey(b"id", b"key", 0)
    with pytest.raises(enrolments.NotAllowed):
        enrolments.enrol(post.store, portal_of(app).people, ground, way, handle=b"h" * 32, now=post.clock())


@pytest.mark.behaviour("P11")
def test_at_rest_nothing_names_or_proves_anybody(app: Flask, post: Post, browser: Browser) -> None:
    _, key = set_password(browser, opened(post, browser), post.clock.now)
    answer_with(browser, "/enrol", passkey())
    form = {"act": "greeting", "greeting": "blue elephant"}
    browser.post("/enrol", form, form_key=browser.form_key("/enrol"))
    tables = (Enrolment.__table__, Passkey.__table__, RecipientSession.__table__)
    with post.store.read() as session:
        raw = b"\0".join(
            value if isinstance(value, bytes) else str(value).encode()
            for table in tables
            for row in session.execute(select(table)).all()
            for value in row
        )
    secret = base64.b32decode(key.replace(" ", ""))
    assert len(raw) > 300
    for canary in (b"rita", b"blue", b"argon2", secret, base64.b64encode(secret), secret.hex().encode()):
        assert canary not in raw


@pytest.mark.behaviour("P11")
def test_who_writes_to_the_database_enrols_nobody(app: Flask, post: Post, browser: Browser) -> None:
    """Rows of one's own, moved to the address of another, prove nothing there."""
    thief = Browser(app, "192.0.2.66")
    key = enrol(post, thief, code=False, recipient=OTHER)
    enrol(post, browser)
    keys = keys_of(app)
    with post.store.write() as session:
        rows = {row.address_hash: row for row in session.scalars(select(Enrolment))}
        mine, theirs = rows[keys.common.address_hash(OTHER)], rows[keys.common.address_hash(RECIPIENT)]
        hashed, address = theirs.address_hash, theirs.address
        session.execute(delete(Passkey).where(Passkey.enrolment_id == theirs.id))
        session.execute(delete(RecipientSession).where(RecipientSession.enrolment_id == theirs.id))
        session.execute(delete(Enrolment).where(Enrolment.id == theirs.id))
        session.execute(update(Enrolment).where(Enrolment.id == mine.id).values(address_hash=hashed, address=address))
    assert sign_in(thief, key).status_code == 403
    assert thief.get("/inbox").location == "/sign-in"


def test_pages_with_a_script_run_no_other(app: Flask, post: Post, browser: Browser) -> None:
    enrol(post, browser)
    for path, visitor in (("/enrol", browser), ("/sign-in", Browser(app, "192.0.2.9"))):
        answer = visitor.get(path)
        assert answer.headers["Content-Security-Policy"] == f"{guard.PAGE_POLICY}; script-src 'self'"
        assert re.findall(r"<script[^>]*>", answer.text) == ['<script src="/static/passkey.js" defer>']
        assert "style=" not in answer.text
        assert len(answer.data) < 50_000
    assert "script-src" not in browser.get("/inbox").headers["Content-Security-Policy"]


def test_every_post_needs_a_form_key(browser: Browser) -> None:
    for path in ("/sign-in", "/enrol", "/sign-out", "/inbox/x/open"):
        assert browser.post(path, form_key="wrong").status_code == 400


@pytest.mark.behaviour("P1")
def test_many_clicks_at_once_and_the_link_meanwhile_open_once_each(database_url: str, tmp_path: Path) -> None:
    settings, worker_private = make_settings(tmp_path, database_url)
    post = make_post(settings, worker_private)
    app = create_app(settings, store=post.store, clock=post.clock)
    enrol(post, Browser(app))
    who = enrolments.find(post.store, keys_of(app).common, RECIPIENT)
    assert who is not None
    later = post.hold()[0]
    link = post.link(later)
    vault, now = portal_of(app).vault, post.clock()
    found = links.find_live_link(post.store, link.token, now=now)

    def click(_number: int) -> str:
        return open_waiting(
            post.store, vault, who, later, window_seconds=60, now=now, secret_for=lambda link_id: f"window of {link_id}"
        )

    def follow(_number: int) -> str:
        try:
            return links.claim(post.store, vault, found.link_id, window_seconds=60, now=now)
        except links.NoSuchLink:
            return ""

    with ThreadPoolExecutor(8) as pool:
        tries = [pool.submit(each, number) for number in range(6) for each in (click, follow)]
        answers = [each.result() for each in tries]
    clicked, followed = set(answers[::2]), {each for each in answers[1::2] if each}
    assert len(clicked) == 1
    assert len(followed) <= 1
    with post.store.read() as session:
        records = session.scalars(select(AuditRecord).where(AuditRecord.action == "became-opened")).all()
        windows = session.scalars(select(PickupSession).where(PickupSession.delivery_id == later)).all()
    assert len(windows) == len([one for one in records if one.delivery_id == later]) == len(clicked | followed)
    post.store.close()
