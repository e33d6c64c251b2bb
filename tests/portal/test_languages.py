"""Pages in the visitor's language: which one is chosen, how it is kept, and that nothing of the original is left."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from babel.messages.pofile import read_po
from flask import Flask

from restante import languages
from tests.portal import letters
from tests.portal.conftest import Browser, Post

GERMAN = {"Accept-Language": "xx;q=0.9, de-AT;q=0.8, en;q=0.1"}
COOKIE = "__Host-restante-language"


def _root(page: str) -> str:
    found = re.search(r"<html [^>]*>", page)
    assert found is not None
    return found.group()


WISHES = {
    "de-AT,de;q=0.9,en;q=0.5": '<html lang="de" dir="ltr">',
    "en;q=0.5,de;q=0.9": '<html lang="de" dir="ltr">',
    "de;q=0,en": '<html lang="en" dir="ltr">',
    "tlh": '<html lang="en" dir="ltr">',
    "": '<html lang="en" dir="ltr">',
    ";;q=x,,\u00e9*;q=9": '<html lang="en" dir="ltr">',
    "de," * 500: '<html lang="de" dir="ltr">',
}


@pytest.mark.behaviour("P13")
def test_a_page_is_in_the_language_that_the_browser_asks_for(browser: Browser) -> None:
    for header, root in WISHES.items():
        assert _root(browser.get("/", headers={"Accept-Language": header}).text) == root, header


@pytest.mark.behaviour("P13")
def test_a_choice_is_kept_without_a_word_about_the_visitor(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting()
    page = browser.get(f"/p/{link.token}").text
    assert '<form method="get" class="languages">' in page
    assert '<option value="de" lang="de">Deutsch</option>' in page
    answer = browser.get(f"/p/{link.token}?lang=de", headers={"Accept-Language": "en"})
    assert 'lang="de"' in _root(answer.text)
    cookie = browser.client.get_cookie(COOKIE, domain="pickup.test.example", path="/")
    assert cookie is not None
    assert (cookie.value, cookie.secure, cookie.http_only) == ("de", True, True)
    assert 'lang="de"' in _root(browser.get("/", headers={"Accept-Language": "en"}).text)
    assert browser.open(link).status_code == 303  # choosing has used nothing up
    stranger = Browser(app)
    for odd in ("xx", "de%0d%0aSet-Cookie:a=b", "../de", "%00"):
        assert "restante-language" not in str(stranger.get(f"/?lang={odd}").headers)


def test_choosing_on_the_answer_to_a_form_leads_back_to_the_form(post: Post, browser: Browser) -> None:
    link = post.waiting()
    for path, back in {f"/p/{link.token}/open": f"/p/{link.token}", "/open": "/", "/fresh": "/"}.items():
        answer = browser.get(f"{path}?lang=de")
        assert (answer.status_code, answer.location) == (303, f"{back}?lang=de")
        assert browser.get(f"{path}?lang=//evil.example").location == back


def test_choosing_keeps_the_message_that_is_open(post: Post, browser: Browser) -> None:
    browser.open(post.waiting())
    browser.open(post.waiting(letters.RICH))
    first = browser.get("/message?view=text").text
    assert '<input type="hidden" name="view" value="text">' in first
    hostile = browser.get("/message?view=%22%3E%3Cscript%3E&other=1").text
    assert 'value="&#34;&gt;&lt;script&gt;"' in hostile
    assert 'name="other"' not in hostile


def test_every_language_that_is_offered_is_spoken(app: Flask) -> None:
    for code in languages.LANGUAGES:
        page = Browser(app).get(f"/?lang={code}").text
        spoken = languages.language(code)
        assert _root(page) == f'<html lang="{spoken.tag}" dir="{spoken.direction}">'
        assert f'<option value="{code}" lang="{spoken.tag}" selected>{spoken.name}</option>' in page
        assert f"{languages.Words(code).gettext('Open the message')}</button>" in page
        assert len(page) < 15_000


@pytest.mark.behaviour("P13")
def test_pages_run_from_right_to_left(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "LANGUAGES", ("en", "ar", "he"))
    for code in ("ar", "he"):
        page = browser.get("/", headers={"Accept-Language": code}).text
        assert _root(page) == f'<html lang="{code}" dir="rtl">'
        # Addresses and codes are written from left to right all the same.
        assert '<bdi class="address" dir="ltr">https://pickup.test.example/</bdi>' in page
        assert re.search(r'<input id="number"[^>]* dir="ltr"', page)


def test_the_style_knows_no_left_and_right() -> None:
    style = Path(languages.__file__).parents[1] / "portal/restante_portal/static/restante.css"
    assert not re.search(r"\b(left|right)\b", style.read_text(encoding="utf-8"))


DATES = {
    "Fri, 20 Nov 2026 09:30:00 +0530": "20 November 2026, 09:30 UTC+05:30",
    "Fri, 20 Nov 2026 09:30:00 -0000": "20 November 2026, 09:30 UTC",
    "20 Nov 2026 09:30 EST": "20 November 2026, 09:30 UTC-05:00",
    "yesterday": "yesterday",
    "Fri, 99 Nov 2026 09:30:00 +0000": "Fri, 99 Nov 2026 09:30:00 +0000",
    "Fri, 20 Nov 2026 09:30:00 +9999": "Fri, 20 Nov 2026 09:30:00 +9999",
    "Mon, 1 Jan 0001 00:00:00 +2359": "1 January 2001, 00:00 UTC+23:59",
    "<script>": "&lt;script&gt;",
}


def test_the_senders_date_is_written_as_the_reader_writes_dates(app: Flask) -> None:
    with app.test_request_context("/"):
        for written, shown in DATES.items():
            assert app.jinja_env.from_string("{{ it | header_date }}").render(it=written) == shown


def test_administrators_pages_are_in_english(browser: Browser) -> None:
    page = browser.get("/admin/sign-in?lang=de", headers=GERMAN)
    assert 'lang="en"' in _root(page.text)
    assert "Sign in" in page.text
    assert 'class="languages"' not in page.text
    assert browser.client.get_cookie(COOKIE, domain="pickup.test.example", path="/") is None


def _english() -> list[re.Pattern[str]]:
    """What would be left of the original: the texts whose German differs, with anything for their values."""
    with (languages.TRANSLATIONS / "de/LC_MESSAGES/messages.po").open("rb") as file:
        catalogue = read_po(file)
    found = []
    for message in catalogue:
        texts = message.id if isinstance(message.id, tuple) else (message.id,)
        said = message.string if isinstance(message.string, (list, tuple)) else (message.string,)
        for text in map(str, filter(None, texts)):
            if text not in said:
                pattern = re.sub(r"%\\\(\w+\\\)s", ".+", re.escape(re.sub(r"</?\w+>", "", text)))
                found.append(re.compile(pattern if len(text) > 12 else f"^{pattern}$", re.MULTILINE))
    return found


def _texts(page: str) -> str:
    """Everything that a page says, a line for each piece, names for screen readers included."""
    spoken = re.findall(r'(?:aria-label|title|placeholder|alt)="([^"]*)"', page)
    inline = re.sub(r"</?(?:strong|bdi|span)\b[^>]*>", "", page)
    pieces = [*re.split(r"<[^>]*>", inline), *spoken]
    return "\n".join(piece for piece in (" ".join(html.unescape(each).split()) for each in pieces) if piece)


def _german_pages(post: Post, app: Flask) -> dict[str, Any]:
    browser, other = Browser(app), Browser(app, "192.0.2.7")
    link, coded, opened = post.waiting(), post.waiting(code=True), post.waiting(letters.RICH)
    browser.get("/?lang=de")
    other.get("/?lang=de")
    key = other.form_key(f"/p/{link.token}")
    pages = {
        "home": other.get("/"),
        "home, refused": other.post("/open", {}, form_key=key),
        "home, wrong": other.post("/open", {"number": "123456789012", "code": "x"}, form_key=key),
        "landing": other.get(f"/p/{link.token}"),
        "landing, nothing typed": other.post(f"/p/{link.token}/open", form_key=key),
        "landing, wrong": other.post(f"/p/{link.token}/open", {"number": "1"}, form_key=key),
        "landing with code": other.get(f"/p/{coded.token}"),
        "landing with code, wrong": other.post(f"/p/{coded.token}/open", {"code": "x"}, form_key=key),
        "no link": other.get("/p/unknown"),
        "fresh, refused": other.post(f"/p/{link.token}/fresh", {"number": "1"}, form_key=key),
        "asked": other.get("/asked"),
        "closed": other.get("/closed"),
        "nothing there": other.get("/nothing"),
        "no window": other.get("/message"),
        "no form key": other.post("/open", form_key="x"),
        "wrong method": other.client.put("/", base_url="https://pickup.test.example"),
    }
    for _ in range(5):
        pages["throttled"] = other.post(f"/p/{coded.token}/open", {"code": "x"}, form_key=key)
    browser.open(opened)
    return pages | {
        "message": browser.get("/message"),
        "message as text": browser.get("/message?view=text"),
        "opened": browser.get(f"/p/{opened.token}"),
    }


@pytest.mark.behaviour("P13")
def test_nothing_of_the_original_is_left_on_german_pages(app: Flask, post: Post) -> None:
    left = {}
    english = _english()
    assert len(english) > 100
    pages = _german_pages(post, app)
    for name, page in pages.items():
        assert 'lang="de"' in _root(page.text), name
        text = _texts(page.text)
        if found := [each.pattern for each in english if each.search(text)]:
            left[name] = found
    assert left == {}
    assert "20. November 2026, 09:30 UTC+01:00" in pages["message"].text
    assert "Minuten noch einmal" in pages["throttled"].text
    # The same look at an English page sees the original: it is not blind.
    assert sum(each.search(_texts(Browser(app).get("/").text)) is not None for each in english) > 15
