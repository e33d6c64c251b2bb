"""Over 300 letters of hostile HTML in Chromium: no script runs and nothing is fetched, neither where they are shown
nor behind the sanitiser alone.

Without walls most of them do harm, so that it is known that the test sees it.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, Route

from restante_portal import display
from tests.portal.conftest import Post
from tests.portal.hostile_html import FIRST, Sample, samples
from tests.portal.stage import opened_office

SAMPLES = samples()
AT_ONCE = 36  # parts of a letter, which is read anew for each of them
SHARE = 4  # one of so many is shown without walls, where each takes the browser long
OUTSIDE = "http://frames.example"
# What a hand or an eye might do to everything in a document; then a while for what was set off.
TOUCH = """async () => {
  for (const each of document.querySelectorAll('*')) {
    for (const kind of ['mouseover', 'pointerover', 'focus', 'focusin', 'input', 'change', 'toggle', 'animationstart',
                        'animationend', 'transitionend', 'transitionrun', 'scroll', 'scrollend', 'submit', 'close'])
      each.dispatchEvent(new Event(kind));
    if (each.click) each.click(); else each.dispatchEvent(new MouseEvent('click', {bubbles: true}));
  }
}"""


class Harm:
    """What the browser tells of the samples: the numbers of those that ran a script, or asked for something."""

    def __init__(self, context: BrowserContext, page: Page, ours: str) -> None:
        self.ran: set[int] = set()
        self.fetched: set[str] = set()
        self.fetching: set[int] = set()
        self._ours = ours
        page.on("console", lambda message: self._said(message.text))
        page.on("dialog", self._asked_something)
        page.on("popup", lambda popup: self._asked(popup.url))
        context.on("request", lambda request: self._asked(request.url))

    def _asked_something(self, dialog: Dialog) -> None:
        self.ran.add(0)
        dialog.dismiss()

    def _said(self, text: str) -> None:
        if re.fullmatch(r"77\d{5}", text):
            self.ran.add(int(text))

    def _asked(self, url: str) -> None:
        if not url.startswith((self._ours, "data:", "about:", "blob:")):
            self.fetched.add(url)
            self.fetching |= {int(number) for number in re.findall(r"\bs(77\d{5})\.", urlsplit(url).netloc)}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    with opened_office(tmp_path_factory.mktemp("portal")) as post:
        yield post


def _letter(some: list[Sample]) -> bytes:
    """One letter, each sample a part of its own, so that none can swallow the next."""
    parts = b"".join(
        b"--b\r\nContent-Type: text/html; charset=%s\r\nContent-Transfer-Encoding: base64\r\n\r\n%s"
        % (one.charset.encode(), base64.encodebytes(one.content).replace(b"\n", b"\r\n"))
        for one in some
    )
    return (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + parts + b"--b--\r\n"
    )


@pytest.mark.slow
@pytest.mark.behaviour("P7")
def test_where_it_is_read_nothing_runs_and_nothing_is_fetched(chromium: Browser, office: Post) -> None:
    assert len({one.text for one in SAMPLES}) >= 300
    ours = office.settings.portal.url
    context = chromium.new_context()
    context.set_default_timeout(120_000)
    page = context.new_page()
    harm = Harm(context, page, ours)
    shown: list[str] = []
    page.on("response", lambda answer: shown.append(answer.url) if "/body/" in answer.url and answer.ok else None)
    for some in (SAMPLES[at : at + AT_ONCE] for at in range(0, len(SAMPLES), AT_ONCE)):
        link = office.waiting(_letter(some))
        page.goto(f"{ours}/p/{link.token}")
        page.locator("#number").fill(link.number)
        page.get_by_role("button", name="Open the message").click()
        page.wait_for_load_state("load")
        frames = [frame for frame in page.frames if frame.parent_frame is page.main_frame]
        assert len(frames) == len(some)
        assert all(frame.url.startswith(f"{ours}/message/body/") for frame in page.frames[1:])
        assert page.url.partition("?")[0] == f"{ours}/message"
    assert len(set(shown)) == len(SAMPLES)
    context.close()
    assert (harm.ran, harm.fetched) == (set(), set())


def _outside(chromium: Browser) -> tuple[BrowserContext, Page, Harm]:
    """A browser to which the internet is one empty page without a policy."""
    context = chromium.new_context()
    page = context.new_page()

    def answer(route: Route) -> None:
        if route.request.url.startswith(OUTSIDE):
            route.fulfill(body="", content_type="text/html; charset=utf-8")
        else:
            route.abort()

    context.route("**/*", answer)
    return context, page, Harm(context, page, OUTSIDE)


@pytest.mark.behaviour("P7")
def test_the_sanitiser_alone_holds(chromium: Browser) -> None:
    """In one document without a policy, since what the sanitiser gives is balanced."""
    context, page, harm = _outside(chromium)
    page.goto(OUTSIDE)
    page.set_content("<hr>".join(display.sanitise(one.text).html for one in SAMPLES), wait_until="load")
    assert page.locator("hr").count() >= len(SAMPLES) - 1
    page.evaluate(TOUCH)
    page.wait_for_timeout(200)  # for what was set off
    context.close()
    assert (harm.ran, harm.fetched) == (set(), set())


@pytest.mark.behaviour("P7")
def test_without_walls_the_samples_do_harm(chromium: Browser) -> None:
    """As they stand in the letter, each in a frame of its own, and nothing touched."""
    context, page, harm = _outside(chromium)
    page.goto(OUTSIDE)
    some = SAMPLES[::SHARE]
    page.evaluate(
        """contents => contents.forEach(content => {
            const frame = document.createElement('iframe'); frame.srcdoc = content; document.body.append(frame); })""",
        [one.text for one in some],
    )
    for _ in range(600):
        enough = len(harm.ran | harm.fetching) > len(some) // 2 and min(len(harm.ran), len(harm.fetching)) > 10
        if enough:
            break
        page.wait_for_timeout(100)
    context.close()
    assert enough, (len(harm.ran), len(harm.fetching), len(some))
    assert min(harm.ran) >= FIRST
