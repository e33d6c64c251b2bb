"""Files on an origin of their own: what opens them there, for how long and for whom, and that nothing else is there."""

from __future__ import annotations

import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser as Chromium
from sqlalchemy import select, update

from restante.settings import PortalSettings
from restante.store import admins, holding
from restante.store.freezing import freeze
from restante.store.models import Administrator, AuditRecord
from restante_portal import guard, tickets
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.portal import letters
from tests.portal.conftest import URL, Browser, Post, make_post, make_settings
from tests.portal.stage import opened_office
from tests.portal.test_review import PASSWORD, key_of, sign_in

FILES = "https://files.test.example"
LETTERS = string.ascii_letters + string.digits + "-_"
FILE, WHOLE, ARCHIVE = "/message/attachments/4", "/message.eml", "/message/attachments.zip"


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    settings, worker_private = make_settings(tmp_path, f"sqlite:///{tmp_path}/restante.db", files_url=FILES)
    made = make_post(settings, worker_private)
    yield made
    made.store.close()


@pytest.fixture
def opened(post: Post, browser: Browser) -> Browser:
    assert browser.open(post.waiting(letters.RICH)).status_code == 303
    return browser


def ticket_for(browser: Browser, path: str) -> str:
    """The path on the other origin to which the portal sends who asks for ``path``."""
    answer = browser.get(path)
    assert answer.status_code == 303
    address: str = answer.location
    assert address.startswith(f"{FILES}/f/")
    return address.removeprefix(FILES)


def at_files(client: FlaskClient, path: str, **more: Any) -> Any:
    return client.open(path, base_url=FILES, **more)


def downloads(post: Post) -> list[Any]:
    with post.store.read() as session:
        return [each["part"] for each in session.scalars(
            select(AuditRecord.detail).where(AuditRecord.action == "downloaded").order_by(AuditRecord.id)
        )]  # fmt: skip


@pytest.mark.behaviour("P7")
def test_each_file_comes_from_the_other_origin_byte_by_byte(post: Post, opened: Browser) -> None:
    paths = [ticket_for(opened, path) for path in (FILE, WHOLE, ARCHIVE)]
    assert downloads(post) == []
    file, whole, archive = (at_files(opened.client, path) for path in paths)
    assert (file.data, whole.data, archive.data[:2]) == (letters.ATTACHMENT, letters.RICH, b"PK")
    assert downloads(post) == [4, 0, -1]
    for answer in (file, whole, archive):
        assert answer.headers["Content-Disposition"].startswith("attachment;")
        assert answer.headers["Content-Security-Policy"] == guard.FILE_POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        (cookie,) = answer.headers.getlist("Set-Cookie")
        assert cookie.startswith("__Secure-restante-file=")
        assert all(word in cookie for word in (f"; Path={answer.request.path}", "; Secure", "; HttpOnly"))
    for missing in ("/message/attachments/0", "/message/attachments/99"):
        assert opened.get(missing).status_code == 404


def page_of(answer: Any) -> str:
    """Where on the portal an address leads that does not open."""
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (303, [])
    assert answer.location.startswith(f"{URL}/")
    where: str = answer.location.removeprefix(URL)
    return where


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P7")
def test_an_address_opens_once_and_then_to_that_browser_alone(app: Flask, post: Post, opened: Browser) -> None:
    used, other = ticket_for(opened, FILE), ticket_for(opened, FILE)
    stranger = app.test_client()
    assert at_files(stranger, used, method="HEAD").status_code == 303, "to look is not to come first"
    first = at_files(opened.client, used, headers={"Range": "bytes=0-9"})
    assert (first.status_code, first.data) == (206, letters.ATTACHMENT[:10])
    where = page_of(at_files(stranger, used))
    resumed = {"Range": "bytes=10-", "If-Range": first.headers["ETag"]}
    for later in (0, tickets.OPEN_SECONDS + 1, 1800):
        post.clock.now += later
        rest = at_files(opened.client, used, headers=resumed)
        assert (rest.status_code, rest.data) == (206, letters.ATTACHMENT[10:])
        assert at_files(opened.client, used, method="HEAD").status_code == 200
        page_of(at_files(stranger, used))
    page_of(at_files(opened.client, other))  # nobody came within its minute
    # What it leads back to is the page for who has the message open, and nothing for anybody else.
    assert opened.get(where).status_code == 200
    assert stranger.get(where, base_url=URL).status_code == 403
    assert at_files(opened.client, ticket_for(opened, FILE)).data == letters.ATTACHMENT
    assert downloads(post) == [4]


def test_of_many_at_once_one_comes_first(app: Flask, opened: Browser) -> None:
    path = ticket_for(opened, FILE)
    clients = [app.test_client() for _ in range(8)]
    with ThreadPoolExecutor(len(clients)) as pool:
        told = sorted(pool.map(lambda client: at_files(client, path).status_code, clients))
    assert told == [200] + [303] * 7


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P10")
def test_it_opens_no_longer_than_the_window(post: Post, browser: Browser) -> None:
    def close(_delivery: str) -> None:
        browser.post("/message/close", form_key=browser.form_key("/message"))

    def recall(delivery: str) -> None:
        holding.recall(post.store, delivery, actor="sender", now=post.clock())

    def stop(delivery: str) -> None:
        freeze(post.store, delivery, actor="recipient", now=post.clock())

    def wait(_delivery: str) -> None:
        post.clock.now += post.settings.portal.pickup_window_minutes * 60 + 1

    for end in (close, recall, stop, wait):
        delivery = post.hold(letters.RICH)[0]
        browser.open(post.link(delivery))
        path, fresh = ticket_for(browser, FILE), ticket_for(browser, FILE)
        assert at_files(browser.client, path).status_code == 200
        end(delivery)
        assert at_files(browser.client, path).status_code == 303, end.__name__
        assert at_files(browser.client, fresh).status_code == 303, end.__name__


@pytest.mark.behaviour("P9")
def test_what_may_only_be_read_has_no_address(app: Flask, post: Post, browser: Browser) -> None:
    browser.open(post.waiting(letters.RICH, view_only=True))
    assert {browser.get(path).status_code for path in (FILE, WHOLE, ARCHIVE)} == {404}
    cookie = browser.client.get_cookie("__Host-restante-pickup", "pickup.test.example")
    assert cookie is not None
    with app.test_request_context():
        made = tickets.to_files(portal_of(app), cookie.value, 4)  # as if one came to be all the same
    assert at_files(browser.client, made.location.removeprefix(FILES)).status_code == 404


def test_forged_and_bent_addresses_open_nothing(app: Flask, opened: Browser) -> None:
    sealed = ticket_for(opened, FILE).removeprefix("/f/")
    foreign = Fernet(Fernet.generate_key()).encrypt(b'["00", 4, ""]').decode()
    bent = [sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:], sealed[:-8], sealed + sealed, foreign]
    bent += [f"{sealed}=", f"{sealed}=={sealed}", f"{sealed}/..", sealed.upper()]
    # Two bits of the last letter say nothing: three other letters decode to the same.
    bent += [sealed[:-1] + letter for letter in LETTERS if letter != sealed[-1]]
    for forged in (*bent, "x", "gAAAAA==", "%00", "\u202e", "a" * 3000):
        answer = at_files(app.test_client(), f"/f/{forged}")
        assert (answer.status_code, answer.mimetype) == (404, "text/html"), forged
    assert at_files(app.test_client(), f"/f/{sealed}").status_code == 200


def test_forged_cookies_and_those_of_another_address_open_nothing(app: Flask, opened: Browser) -> None:
    one, other = ticket_for(opened, FILE), ticket_for(opened, WHOLE)
    cookies = [at_files(app.test_client(), path).headers["Set-Cookie"].partition(";")[0] for path in (one, other)]
    client = app.test_client(use_cookies=False)
    good = cookies[0].partition("=")[2]

    def asked(path: str, cookie: str) -> int:
        return int(at_files(client, path, headers={"Cookie": cookie}).status_code)

    assert [asked(one, cookies[0]), asked(other, cookies[1])] == [200, 200]
    assert [asked(one, cookies[1]), asked(other, cookies[0])] == [303, 303]
    for value in ("", "x", good[:-1], good + "A", good.swapcase(), one.removeprefix("/f/"), "\xff"):
        assert asked(one, f"__Secure-restante-file={value}") == 303, value
    assert asked(one, f"restante-file={good}") == 303


def test_a_clock_that_goes_back_opens_nothing(app: Flask, post: Post, opened: Browser) -> None:
    path = ticket_for(opened, FILE)
    post.clock.now -= 3600
    page_of(at_files(app.test_client(), path))


@pytest.mark.behaviour("P7")
def test_nothing_else_is_on_that_origin_and_no_file_on_the_portals(app: Flask, post: Post, opened: Browser) -> None:
    path = ticket_for(opened, FILE)
    assert opened.get(path).status_code == 404
    asked = 0
    for rule in app.url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or rule.endpoint in {guard.FILES, "static", "health"}:
            continue
        concrete = rule.rule.replace("<int:number>", "4").replace("<token>", "x").replace("<delivery_id>", "x")
        if concrete.startswith("/brand"):
            continue
        asked += 1
        answer = at_files(opened.client, f"{concrete}?lang=de")
        assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (404, []), concrete
    assert asked > 25
    # An error page is shown as everywhere.
    with at_files(opened.client, "/static/restante.css") as style:
        assert style.status_code == 200
    assert opened.client.post("/message/close", base_url=FILES).status_code == 404
    assert opened.client.get("/", base_url="https://other.test.example").status_code == 400


@pytest.mark.behaviour("P7")
def test_without_such_an_origin_a_ticket_is_nothing(post: Post, opened: Browser, tmp_path: Path) -> None:
    path = ticket_for(opened, FILE)
    portal = post.settings.portal.model_copy(update={"files_url": None})
    app = create_app(post.settings.model_copy(update={"portal": portal}), store=post.store, clock=post.clock)
    assert app.test_client().get(path, base_url=URL).status_code == 404
    assert app.test_client().get(path, base_url=FILES).status_code == 400
    portal_of(app).explainer.close()


@pytest.mark.behaviour("A4")
def test_a_reviewers_download_needs_the_reason_and_the_session(app: Flask, post: Post, browser: Browser) -> None:
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    sign_in(browser)
    delivery = post.hold(letters.RICH)[0]
    page = f"/admin/messages/{delivery}"
    assert browser.get(f"{page}/attachments/4").status_code == 403
    browser.post(f"{page}/read", {"reason": "ticket 7"}, form_key=key_of(browser))
    path, whole = ticket_for(browser, f"{page}/attachments/4"), ticket_for(browser, f"{page}/message.eml")
    assert downloads(post) == []
    assert at_files(browser.client, path).data == letters.ATTACHMENT
    assert at_files(browser.client, whole).data == letters.RICH
    assert downloads(post) == [4, 0]
    page_of(at_files(app.test_client(), whole))
    with post.store.write() as session:
        session.execute(update(Administrator).values(role="auditor"))
    assert at_files(browser.client, whole).status_code == 403
    with post.store.write() as session:
        session.execute(update(Administrator).values(role="reviewer"))
    assert at_files(browser.client, whole).status_code == 200
    browser.post("/admin/sign-out", form_key=key_of(browser))
    assert page_of(at_files(browser.client, whole)) == page


@pytest.mark.parametrize(
    ("url", "files_url", "words"),
    [
        (URL, URL, "another host"),
        (URL, f"{URL}:8443", "another host"),
        (URL, "http://localhost:1", "begin as url does"),
        (URL, f"{FILES}/files", "without a path"),
        (URL, "", "without a path"),
        (URL, f"{FILES}//", "without a path"),
        (URL, f"{URL}.", "another host"),
        (URL, "https://u:p@files.test.example", "without a path"),
        (URL, "https://files.test.example:x", "without a path"),
        (URL, "https://files.test.example:99999", "without a path"),
        (URL, "https://files.test.example?", "without a path"),
        (URL, " https://files.test.example", "without a path"),
        (URL, "https://files.test.example\n", "without a path"),
        (URL, "https://files.te st.example", "without a path"),
        (URL, "ftp://files.test.example", "https://"),
    ],
)
def test_an_address_that_would_not_help_is_refused(url: str, files_url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PortalSettings(url=url, files_url=files_url)


@pytest.mark.behaviour("P7")
@pytest.mark.behaviour("P11")
def test_chromium_saves_a_file_from_the_other_origin_and_leaves_nothing_there(
    chromium: Chromium, tmp_path: Path
) -> None:
    with opened_office(tmp_path, files_elsewhere=True) as office:
        portal, link = office.settings.portal, office.waiting(letters.RICH)
        context = chromium.new_context(accept_downloads=True)
        page = context.new_page()
        page.goto(f"{portal.url}/p/{link.token}")
        page.locator("#number").fill(link.number)
        page.get_by_role("button", name="Open the message").click()
        for name, content in (("Röntgen.bin", letters.ATTACHMENT), ("Save the whole message", letters.RICH)):
            with page.expect_download() as download:
                page.get_by_role("link", name=name).click()
            download.value.save_as(tmp_path / "saved")
            assert (tmp_path / "saved").read_bytes() == content
            assert download.value.url.startswith(f"{portal.files_url}/f/")
        assert page.url.startswith(portal.url), "the message is still there"
        there = [each for each in context.cookies() if each.get("domain") == "127.0.0.1"]
        assert [each.get("name") for each in there] == ["restante-file"] * 2
        assert all(each.get("path", "").startswith("/f/") for each in there)
        context.close()
    assert "/f/gAAAA" not in (tmp_path / "portal.log").read_text()
