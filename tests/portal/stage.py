"""Where pages are looked at: a running portal, and one tab of one browser in front of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page
from sqlalchemy import delete

from restante.settings import HostPort
from restante.store import admins, links, throttle
from restante.store.models import Throttle
from tests.portal.conftest import Post, make_post, make_settings
from tests.portal.server import PortalServer, free_port

REVIEWER, REVIEWERS_PASSWORD = "rosa", "correct horse battery"
LOGO = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 20"><rect width="40" height="20" fill="#a3134f"/></svg>'
BRAND = """
[brand]
logo = "logo.svg"
imprint = "Clinic Example Ltd\\nHigh Street 1"
imprint_url = "https://clinic.example/imprint"
help = "Call us: +44 20 0000"
light = { background = "#fff4e8", accent = "#a3134f" }
dark = { background = "#201018", accent = "#f3a6c8" }
"""


@contextmanager
def opened_office(folder: Path, *, brand: str = "", files_elsewhere: bool = False, **portal: Any) -> Iterator[Post]:
    """A running portal on localhost, with one reviewer; ``brand`` is what its settings file ends with.

    ``files_elsewhere``: files come from 127.0.0.1, which to a browser is another host.
    """
    port = free_port()
    if files_elsewhere:
        portal["files_url"] = f"http://127.0.0.1:{port}"
    database, listen = f"sqlite:///{folder}/restante.db", HostPort("127.0.0.1", port)
    # A passkey is for a host's name: browsers make none for an address in numbers.
    url = f"http://localhost:{port}"
    settings, worker_private = make_settings(folder, database, url=url, listen=listen, workers=1, **portal)
    (folder / "logo.svg").write_text(LOGO, encoding="utf-8")
    post = make_post(settings, worker_private)
    admins.add(post.store, REVIEWER, REVIEWERS_PASSWORD, now=post.clock())
    server = PortalServer(settings, folder)
    with (folder / "restante.toml").open("a", encoding="utf-8") as file:
        file.write(brand)
    try:
        with server:
            yield post
    finally:
        post.store.close()


@dataclass(frozen=True)
class State:
    """Where a journey has come to.

    ``again`` brings back what a reload takes away, where that is not the server's doing.  ``english``: the page is in
    English for everybody.  ``letter``: what is shown is mostly what a sender wrote.
    """

    name: str
    again: Callable[[], None] | None = None
    english: bool = False
    letter: bool = False


class Stage:
    """One tab of one browser, and the office that it visits."""

    def __init__(self, context: BrowserContext, office: Post) -> None:
        self.context, self.office = context, office
        self.page: Page = context.new_page()
        self.url = office.settings.portal.url

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def open_details(self) -> None:
        """Unfold what is folded, in the page alone."""
        self.page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")

    def fill(self, **fields: str) -> None:
        """Type into fields, each named by its id."""
        self.open_details()
        for name, text in fields.items():
            self.page.locator(f"#{name.replace('_', '-')}").fill(text)

    def press(self, selector: str) -> None:
        """Press the first of these, which changes the page and stays on it."""
        self.open_details()
        self.page.locator(selector).first.click()

    def follow(self, selector: str) -> None:
        """Press the first of these, which leads to a page, and be there."""
        with self.page.expect_navigation():
            self.press(selector)

    def send(self, action: str) -> None:
        """Send the first form that goes to an address with that ending, and be at its answer."""
        self.follow(f"form[action$='{action}'] button[type=submit]")

    def speak(self, language: str) -> None:
        """Be a browser whose visitor chose a language; none is English."""
        self.context.clear_cookies(name="restante-language")
        if language:
            self.context.add_cookies([{"name": "restante-language", "value": language, "url": self.url}])

    def open(self, link: links.MintedLink) -> None:
        """Go to a link and open it."""
        self.go(f"/p/{link.token}")
        if link.code:
            self.fill(code=link.code)
        else:
            self.fill(number=link.number)
        self.send("/open")
        self.page.wait_for_url("**/message*")

    def be_a_stranger(self) -> None:
        """Be another browser from here on."""
        self.context.clear_cookies()

    def block(self, counter: throttle.Counter) -> None:
        """Use up a limit."""
        with self.office.store.write() as session:
            ends_at = self.office.clock() + counter.limit.seconds
            session.merge(Throttle(bucket=counter.bucket, count=counter.limit.tries, window_ends_at=ends_at))

    def unblock(self) -> None:
        """Forget all tries."""
        with self.office.store.write() as session:
            session.execute(delete(Throttle))
