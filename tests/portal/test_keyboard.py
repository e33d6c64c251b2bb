"""A whole pickup and a whole review with Tab, Enter, Space and letters alone; without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from restante.store.models import DeliveryState
from tests.portal import letters
from tests.portal.conftest import Post
from tests.portal.stage import REVIEWER, REVIEWERS_PASSWORD, opened_office

LONG = letters.RICH.replace(b"<p style", b"<p>Zeile</p>" * 150 + b"<p style", 1)

_FOCUSED = """(wanted) => {
  const on = document.activeElement;
  const style = getComputedStyle(on);
  const box = on.getBoundingClientRect();
  const [top, bottom] = [box.top + scrollY, box.bottom + scrollY];
  const last = window.lastFocus;
  window.lastFocus = {on, top};
  return {
    name: on.outerHTML.slice(0, 120),
    there: on.matches(wanted),
    shown: on === document.body || (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2),
    in_sight: on === document.body || (box.bottom > 0 && box.top < innerHeight),
    forward: !last || on === document.body || last.on === document.body
      || (Boolean(last.on.compareDocumentPosition(on) & Node.DOCUMENT_POSITION_FOLLOWING) && bottom > last.top),
  };
}"""


class Keys:
    """Somebody who has a keyboard and no mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.press = page.keyboard.press
        self.type = page.keyboard.type

    def tab_to(self, selector: str) -> None:
        """Go on to what ``selector`` names; every stop on the way shows itself, further down than the one before."""
        for _ in range(40):
            self.press("Tab")
            stop: dict[str, Any] = self.page.evaluate(_FOCUSED, selector)
            assert stop["shown"] or self._frame_shows_it(), stop["name"]
            assert stop["in_sight"], stop["name"]
            assert stop["forward"], stop["name"]
            if stop["there"]:
                return
        raise AssertionError(f"the keyboard does not get to {selector}")

    def _frame_shows_it(self) -> bool:
        """Within a letter's frame, the frame's own page shows the focus."""
        edge = "document.activeElement === document.body && getComputedStyle(document.body, '::before').borderTopWidth"
        return bool(self.page.frames[1:] and self.page.frames[-1].evaluate(edge) == "3px")

    def fill(self, selector: str, text: str) -> None:
        self.tab_to(selector)
        self.type(text)

    def send(self, key: str = "Enter") -> None:
        """Press a key that leads to another page."""
        with self.page.expect_navigation():
            self.press(key)

    def told(self, role: str) -> str:
        """What the focus is put on after an answer that says what went wrong, or what was done."""
        self.page.locator(f"[role={role}]:focus").wait_for()
        return self.page.locator(":focus").inner_text()


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    with opened_office(tmp_path_factory.mktemp("office")) as post:
        yield post


@pytest.fixture
def keys(chromium: Browser) -> Iterator[Keys]:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
    yield Keys(context.new_page())
    context.close()


@pytest.mark.behaviour("P13")
def test_a_whole_pickup_by_keyboard(keys: Keys, office: Post) -> None:
    link = office.waiting(LONG, code=True)
    assert link.code
    page = keys.page
    page.goto(f"{office.settings.portal.url}/p/{link.token}")
    keys.tab_to("a.skip")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_visible()
    keys.press("Enter")
    keys.fill("#code", "WRONG")
    keys.send()
    assert keys.told("alert").startswith("That is not the right code")
    keys.fill("#code", link.code)
    keys.send()
    page.get_by_role("heading", name="Befund und Röntgenbild").wait_for()
    keys.tab_to("a[href*='/attachments/']")
    with page.expect_download():
        keys.press("Enter")
    keys.tab_to("iframe.letter")
    assert _scrolls(page), "a letter that is longer than its frame cannot be read to its end"
    keys.tab_to("details.links summary")
    keys.press("Space")
    expect(page.locator("details.links[open]")).to_have_count(1)
    keys.tab_to("a[href*='/reply']")
    keys.send()
    keys.tab_to("[value=send]")
    keys.send("Space")
    assert keys.told("alert").startswith("Please write something")
    keys.fill("#text", "Danke.")
    keys.tab_to("[value=send]")
    keys.press("Space")
    assert "anna@clinic.example" in keys.told("status")
    keys.tab_to("main a")
    keys.send()
    page.get_by_role("heading", name="Befund und Röntgenbild").wait_for()
    keys.tab_to("form[action$='/close'] button")
    keys.send()
    page.get_by_role("heading", name="The message is closed").wait_for()
    keys.tab_to("#language")
    keys.type("Deutsch")
    keys.tab_to(".languages button")
    keys.send()
    page.locator("html[lang=de]").wait_for()


def _scrolls(page: Page) -> bool:
    """Whether the keyboard moves the text in the frame, which may still be on its way."""
    for _ in range(50):
        page.keyboard.press("PageDown")
        if page.frames[-1].evaluate("scrollY") > 0:
            return True
    return False


@pytest.mark.behaviour("A1")
@pytest.mark.behaviour("A2")
@pytest.mark.behaviour("P13")
def test_a_whole_review_by_keyboard(keys: Keys, office: Post) -> None:
    first, second, third = office.hold(
        letters.RICH,
        recipients=("one@x.example", "two@x.example", "three@x.example"),
        state=DeliveryState.QUARANTINED,
        summary=letters.SUMMARY,
    )
    page = keys.page
    page.goto(f"{office.settings.portal.url}/admin/")
    for password in ("wrong password", REVIEWERS_PASSWORD):
        keys.fill("#name", REVIEWER)
        keys.fill("#password", password)
        keys.send()
        if password != REVIEWERS_PASSWORD:
            assert keys.told("alert").startswith("Name or password is wrong")
    page.get_by_role("heading", name="Queue").wait_for()
    keys.tab_to("[value=release-portal]")
    keys.send()
    assert keys.told("status").startswith("Choose at least one")
    keys.tab_to(f"[type=checkbox][value='{first}']")
    keys.press("Space")
    keys.tab_to("[value=release-portal]")
    keys.send()
    assert keys.told("status").startswith("1 released")
    keys.tab_to(f"a[href$='{second}']")
    keys.send()
    for reason in ("no", "complaint of the sender, ticket 7"):
        keys.fill("#reason", reason)
        keys.send()
        if reason == "no":
            assert keys.told("alert").startswith("Please write why")
    page.locator("iframe.letter").wait_for()
    keys.tab_to("[value=reject]")
    keys.send()
    keys.fill("#reason", " ")
    keys.tab_to("button.primary")
    keys.send()
    assert keys.told("alert").startswith("Please write a reason")
    keys.fill("#reason", "Please use the patient's own address.")
    keys.tab_to("button.primary")
    keys.send()
    assert keys.told("status").startswith("1 rejected")
    keys.tab_to(f"[type=checkbox][value='{third}']")
    keys.press("Space")
    keys.tab_to("[value=delete]")
    keys.send()
    keys.tab_to("button.danger")
    keys.send()
    assert keys.told("status").startswith("1 deleted")
    states = [office.state(each) for each in (first, second, third)]
    assert states == [DeliveryState.HELD, DeliveryState.REJECTED, DeliveryState.DELETED]
    keys.tab_to("nav a[href$='/audit']")
    keys.send()
    page.get_by_role("heading", name="Audit trail").wait_for()
    keys.tab_to("form[action$='/sign-out'] button")
    keys.send()
    page.get_by_role("heading", name="Sign in").wait_for()
