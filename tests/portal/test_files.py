"""Files on an origin of their own: what opens them there, for how long and for whom, and that nothing else is there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.fernet import Fernet
from flask import Flask
from flask.testing import FlaskClient
from playwright.sync_api import Browser as Chromium
from sqlalchemy import select

from restante.settings import PortalSettings
from restante.store import admins, holding
from restante.store.models import AuditRecord
from restante_portal import guard, tickets
from restante_portal.application import create_app
from restante_portal.context import portal_of
from tests.portal import letters
from tests.portal.conftest import URL, Browser, Post, make_post, make_settings
from tests.portal.stage import opened_office
from tests.portal.test_review import PASSWORD, key_of, sign_in

FILES = "https://files.test.example"
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
    return client.get(path, base_url=FILES, **more)


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


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P7")
def test_after_a_minute_an_address_opens_only_to_the_browser_that_used_it(
    app: Flask, post: Post, opened: Browser
) -> None:
    used, unused = ticket_for(opened, FILE), ticket_for(opened, FILE)
    stranger = app.test_client()
    first = at_files(opened.client, used, headers={"Range": "bytes=0-9"})
    assert (first.status_code, first.data) == (206, letters.ATTACHMENT[:10])
    post.clock.now += tickets.OPEN_SECONDS + 1
    resumed = at_files(opened.client, used, headers={"Range": "bytes=10-", "If-Range": first.headers["ETag"]})
    assert (resumed.status_code, resumed.data) == (206, letters.ATTACHMENT[10:])
    for client, path in ((stranger, used), (opened.client, unused)):
        refused = at_files(client, path)
        assert refused.status_code == 303
        assert refused.location.startswith(f"{URL}/message?window=")
        assert "Set-Cookie" not in refused.headers
    # What it leads back to is the page for who has the message open, and nothing for anybody else.
    assert opened.get(urlsplit(refused.location).path).status_code == 200
    assert stranger.get(refused.location.removeprefix(URL), base_url=URL).status_code == 403
    assert at_files(opened.client, ticket_for(opened, FILE)).data == letters.ATTACHMENT


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P10")
def test_it_opens_no_longer_than_the_window(post: Post, browser: Browser) -> None:
    def close(_delivery: str) -> None:
        browser.post("/message/close", form_key=browser.form_key("/message"))

    def recall(delivery: str) -> None:
        holding.recall(post.store, delivery, actor="sender", now=post.clock())

    def wait(_delivery: str) -> None:
        post.clock.now += post.settings.portal.pickup_window_minutes * 60 + 1

    for end in (close, recall, wait):
        delivery = post.hold(letters.RICH)[0]
        browser.open(post.link(delivery))
        path = ticket_for(browser, FILE)
        assert at_files(browser.client, path).status_code == 200
        end(delivery)
        assert at_files(browser.client, path).status_code == 303, end.__name__


@pytest.mark.behaviour("P9")
def test_what_may_only_be_read_has_no_address(post: Post, browser: Browser) -> None:
    browser.open(post.waiting(letters.RICH, view_only=True))
    assert {browser.get(path).status_code for path in (FILE, WHOLE, ARCHIVE)} == {404}


def test_forged_and_bent_addresses_open_nothing(app: Flask, post: Post, opened: Browser) -> None:
    path = ticket_for(opened, FILE)
    at_files(opened.client, path)
    sealed = path.removeprefix("/f/")
    foreign = Fernet(Fernet.generate_key()).encrypt(b'["00", 4, ""]').decode()
    bent = [sealed[:40] + ("A" if sealed[40] != "A" else "B") + sealed[41:], sealed[:-8], sealed + sealed, foreign]
    bent += [f"{sealed}=", f"{sealed}=={sealed}", f"{sealed}/..", sealed.upper()]
    for forged in (*bent, "x", "gAAAAA==", "%00", "\u202e", "a" * 3000):
        answer = at_files(app.test_client(), f"/f/{forged}")
        assert (answer.status_code, answer.mimetype) == (404, "text/html"), forged
    client = app.test_client()
    post.clock.now += tickets.OPEN_SECONDS + 1
    for value in ("", "x", sealed, "\xff"):
        headers = {"Cookie": f"__Secure-restante-file={value}"}
        assert at_files(client, path, headers=headers).status_code == 303, value


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
        answer = at_files(opened.client, concrete)
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
    assert at_files(app.test_client(), path).data == letters.ATTACHMENT
    assert at_files(browser.client, whole).data == letters.RICH
    assert downloads(post) == [4, 0]
    browser.post("/admin/sign-out", form_key=key_of(browser))
    answer = at_files(browser.client, whole)
    assert (answer.status_code, answer.location) == (303, f"{URL}{page}")


@pytest.mark.parametrize(
    ("url", "files_url", "words"),
    [
        (URL, URL, "another host"),
        (URL, f"{URL}:8443", "another host"),
        (URL, "http://localhost:1", "begin as url does"),
        (URL, f"{FILES}/files", "without a path"),
        (URL, "", "without a path"),
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
