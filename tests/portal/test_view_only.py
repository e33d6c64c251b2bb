"""View-only messages: nothing of them leaves by any route, and the pages say who reads them.  And the branded look."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Browser as Chromium

from restante_portal.watermark import Watermark
from tests.portal import letters
from tests.portal.conftest import RECIPIENT, Browser, Post
from tests.portal.stage import BRAND, opened_office
from tests.portal.test_browser import Visit

ODD = '"<b>&amp;\'"@patients.example'


def _opened(browser: Browser, post: Post, content: bytes = letters.RICH, **more: Any) -> str:
    """The page of a message that was opened, view-only unless said otherwise."""
    link = post.waiting(content, **({"view_only": True} | more))
    assert browser.open(link).status_code == 303
    page: str = browser.get("/message").text
    return page


@pytest.mark.behaviour("P9")
@pytest.mark.behaviour("P10")
def test_no_route_gives_a_view_only_message_away(app: Flask, browser: Browser, post: Post) -> None:
    """Every route there is, also those of later versions, with every number, range and method that only reads."""
    secrets = (letters.ATTACHMENT[:60], base64.b64encode(letters.ATTACHMENT[:45]), b"boundary=", b"PK\x03\x04")
    rules = [
        rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/message") and "GET" in (rule.methods or ())
    ]
    paths = {rule.rule.replace("<int:number>", str(number)) for rule in rules for number in range(6)}
    assert len(paths) > 8
    assert not any("<" in path for path in paths), "teach this test the new argument"

    def given_away() -> set[str]:
        answers = [
            browser.get(f"{path}{query}", headers=headers)
            for path in sorted(paths)
            for query in ("", "?view=text")
            for headers in ({}, {"Range": "bytes=0-99999"})
        ]
        return {
            answer.request.path
            for answer in answers
            if any(secret in answer.data for secret in secrets) or "Content-Disposition" in answer.headers
        }

    _opened(browser, post)
    assert given_away() == set()
    _opened(browser, post, view_only=False)
    assert {"/message.eml", "/message/attachments/4"} <= given_away(), "the test finds what it looks for"


@pytest.mark.behaviour("P9")
def test_text_and_formatted_text_are_marked_with_who_reads_and_when(browser: Browser, post: Post) -> None:
    post.clock.now = 1_800_000_000
    for path in ("/message?view=text", "/message/body"):
        _opened(browser, post, days=400)
        page = browser.get(path).text
        assert '<svg class="mark" aria-hidden="true"' in page, path
        assert f">{RECIPIENT}</text>" in page
        assert ">2027-01-15 08:00 UTC</text>" in page
    assert 'class="wide unprinted"' in browser.get("/message").text
    _opened(browser, post, view_only=False, days=400)
    for path in ("/message", "/message?view=text", "/message/body"):
        assert "mark" not in browser.get(path).text


def test_a_hostile_address_stays_text_in_the_watermark(browser: Browser, post: Post) -> None:
    page = _opened(browser, post, letters.RICH, recipients=(ODD,))
    framed = browser.get("/message/body").text
    assert "&lt;b&gt;&amp;amp;" in framed
    assert "<b>&amp;" not in page + framed


def test_a_long_address_is_broken_and_fits() -> None:
    mark = Watermark.of("a" * 150 + "@x.example", 0)
    assert [len(line) for line in mark.lines] == [64, 64, 32, 20]
    assert "".join(mark.lines[:-1]) == "a" * 150 + "@x.example"
    assert mark.width >= 9 * 64


def test_a_text_that_is_cut_off_does_not_tell_to_save_it(browser: Browser, post: Post) -> None:
    head = b"From: a@clinic.example\r\nContent-Type: text/plain\r\n\r\n"
    page = _opened(browser, post, head + b"long " * 120_000)
    assert "Ask the sender for the rest." in page
    assert "Save the message" not in page


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A portal with colours and a logo of its own."""
    with opened_office(tmp_path_factory.mktemp("branded"), brand=BRAND) as post:
        yield post


@pytest.mark.behaviour("P9")
@pytest.mark.behaviour("P13")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_view_only_message_in_a_browser(chromium: Chromium, office: Post, scheme: Any) -> None:
    context = chromium.new_context(color_scheme=scheme)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    visit = Visit(context, office, "view-only")
    page = visit.page
    link = office.waiting(letters.RICH, view_only=True)
    visit.go(f"/p/{link.token}")
    assert page.evaluate("document.querySelector('img.logo').naturalWidth") > 0
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 244, 232)", "dark": "rgb(32, 16, 24)"}[scheme]
    page.locator("#number").fill(link.number)
    page.get_by_role("button", name="Open the message").click()
    page.frame_locator("iframe.letter").locator("svg.mark").wait_for()
    page.get_by_role("link", name="Show it as plain text").click()
    assert page.locator("svg.mark").bounding_box() == page.locator(".marked").bounding_box()
    page.emulate_media(media="print")
    assert not page.get_by_role("heading", name="Befund und Röntgenbild").is_visible()
    assert all(url.startswith((office.settings.portal.url, "data:")) for url in asked)
    context.close()
