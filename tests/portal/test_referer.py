"""What a site outside learns from a browser that comes from our pages: nothing of the address, which is a secret.

Every page says ``Referrer-Policy: no-referrer`` (tests/portal/test_guard.py asks every route).  Here Chromium follows
links to a server of the test and that server reads what it got: the imprint on every page, the addresses that a letter
points to, which do not open from the page, and links that stand in the page because something went wrong.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import trustme
from playwright.sync_api import Browser, Page

from tests.canaries import Search
from tests.portal.conftest import Post
from tests.portal.stage import opened_office

FOLLOW = """async ({how, to}) => {
  if (how === 'link') { const a = document.createElement('a'); a.href = to; document.body.append(a); a.click(); }
  if (how === 'window') window.open(to);
  if (how === 'location') location.href = to;
  if (how === 'unsafe') { const a = document.createElement('a'); a.href = to; a.rel = 'opener'; a.target = '_blank';
    document.body.append(a); a.click(); }
}"""


class Outside:
    """A server elsewhere, under TLS; ``requests`` are the requests that it got, head and all, as one text each."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.came = threading.Semaphore(0)
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path != "/favicon.ico":  # which a browser asks for whenever it likes
                    outside.requests.append(f"{self.requestline}\n{self.headers}")
                    outside.came.release()
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    made = Outside()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory, outside: Outside) -> Iterator[Post]:
    brand = f'[brand]\nimprint = "Clinic"\nimprint_url = "{outside.url}/imprint"\n'
    with opened_office(tmp_path_factory.mktemp("portal"), brand=brand) as post:
        yield post


def _wait(outside: Outside) -> None:
    assert outside.came.acquire(timeout=30), "nothing came"


@pytest.mark.behaviour("P3")
@pytest.mark.behaviour("P11")
def test_a_site_outside_does_not_learn_where_the_reader_comes_from(
    chromium: Browser, office: Post, outside: Outside
) -> None:
    letter = (
        b"Subject: x\r\nContent-Type: text/html\r\n\r\n"
        + f'<p>Look <a href="{outside.url}/in-the-letter" target=_top>here</a></p>'.encode()
    )
    link = office.waiting(letter)
    portal = office.settings.portal.url
    context = chromium.new_context(bypass_csp=True, ignore_https_errors=True)
    context.set_default_timeout(120_000)
    page = context.new_page()

    def leave(path: str, how: str) -> None:
        if path:
            page.goto(f"{portal}{path}")
        if how == "imprint":
            page.get_by_role("link", name="Imprint").click()
        else:
            page.evaluate(FOLLOW, {"how": how, "to": f"{outside.url}/{how}"})
        if how not in {"window", "unsafe"}:
            page.wait_for_url(f"{outside.url}/**")
        _wait(outside)

    for how in ("imprint", "link", "window", "location", "unsafe"):
        leave(f"/p/{link.token}", how)
    page.goto(f"{portal}/p/{link.token}")
    page.locator("#number").fill(link.number)
    page.get_by_role("button", name="Open the message").click()
    page.get_by_role("heading", name="x").wait_for()
    before = len(outside.requests)
    _press_everything_in_the_letter(page, f"{outside.url}/in-the-letter")
    assert len(outside.requests) == before
    for how in ("link", "window", "location", "unsafe", "imprint"):
        leave("/message", how)
    cookies = {f"cookie {each['name']}": each["value"] for each in context.cookies() if len(each["value"]) > 12}
    context.close()
    assert len(outside.requests) >= 10
    search = Search({"token": link.token, "number": link.number, "ours": portal} | cookies)
    for request in outside.requests:
        assert "referer:" not in request.lower(), request
        assert search.hits(request.encode()) == set(), request


def _press_everything_in_the_letter(page: Page, address: str) -> None:
    """The letter's links lead nowhere: in its frame nothing is a link, and the page lists the address as text."""
    frame = page.frame_locator("iframe.letter")
    frame.get_by_text("here").click()
    page.locator("details.links summary").click()
    page.get_by_text(address).click()
    assert page.locator(f"a[href^='{address}']").count() == frame.locator("a[href]").count() == 0


@pytest.mark.behaviour("P11")
def test_the_server_outside_would_see_a_referer(chromium: Browser, outside: Outside) -> None:
    """From a page without our policy: so that it is known that this test sees one."""
    page = chromium.new_page(ignore_https_errors=True)
    page.goto(f"{outside.url}/from")
    _wait(outside)
    page.evaluate(FOLLOW, {"how": "link", "to": f"{outside.url}/to"})
    _wait(outside)
    page.close()
    assert f"Referer: {outside.url}/from" in outside.requests.pop()
