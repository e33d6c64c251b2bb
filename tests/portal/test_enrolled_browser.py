"""Passkeys in a real browser with Chromium's virtual authenticator; and the way without JavaScript."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from restante.access import CodeWay
from tests.portal.authenticator import app_code
from tests.portal.chromium import Device
from tests.portal.conftest import Post
from tests.portal.stage import opened_office
from tests.portal.test_browser import Visit

PASSWORD = "yellow submarine 42"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    with opened_office(tmp_path_factory.mktemp("portal")) as post:
        yield post


def open_message(office: Post, page: Page, recipient: str) -> None:
    link = office.waiting(code=True, recipients=(recipient,))
    assert link.code
    page.goto(f"{office.settings.portal.url}/p/{link.token}")
    page.get_by_label("Access code").fill(link.code)
    page.get_by_role("button", name="Open the message").click()
    page.get_by_role("link", name="Set a way to sign in").click()
    page.get_by_role("heading", name="Ways to sign in").wait_for()


@pytest.mark.behaviour("P5")
@pytest.mark.behaviour("P13")
def test_a_passkey_from_the_first_message_to_the_inbox(chromium: Browser, office: Post) -> None:
    recipient = "rita@patients.example"
    context = chromium.new_context(color_scheme="light")
    visit = Visit(context, office, "enrolled")
    page = visit.page
    device = Device(context, page)
    open_message(office, page, recipient)
    device.knows_its_user(known=False)
    page.get_by_role("button", name="Set a passkey").click()
    page.get_by_role("alert").filter(has_text="The passkey was not used").wait_for()
    device.knows_its_user(known=True)
    page.get_by_role("button", name="Set a passkey").click()
    page.get_by_role("status").wait_for()
    page.get_by_label("Greeting phrase").fill("blue elephant")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("status").wait_for()
    (made,) = device.passkeys()
    assert made["rpId"] == "localhost"
    assert made["isResidentCredential"]
    page.get_by_role("button", name="Sign out").click()
    later = office.hold(recipients=(recipient,), sender="otto@clinic.example")[0]
    office.link(later, way=CodeWay.ENROLLED)
    visit.go("/inbox")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("heading", name="Your messages").wait_for()
    page.get_by_role("listitem").filter(has_text="otto@clinic.example").get_by_role("button").click()
    page.get_by_role("heading", name="Ihr Befund").wait_for()
    assert office.state(later) == "opened"
    page.get_by_role("link", name="Your messages").click()
    expect(page.get_by_role("listitem").filter(has_text="otto@clinic.example").get_by_text("Opened")).to_be_visible()
    visit.go("/enrol")
    page.get_by_text("Remove all ways to sign in").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("heading", name="Secure mail of").wait_for()
    visit.go("/sign-in")
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_role("alert").filter(has_text="That did not work").wait_for()
    context.close()


@pytest.mark.behaviour("P5")
@pytest.mark.behaviour("P13")
def test_a_password_without_javascript(chromium: Browser, office: Post) -> None:
    recipient = "paula@patients.example"
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
    page = context.new_page()
    open_message(office, page, recipient)
    expect(page.get_by_text("Passkeys need JavaScript")).to_be_visible()
    assert page.get_by_role("button", name="Set a passkey").count() == 0
    key = page.locator("p.address a").inner_text()
    assert page.locator("svg.qr").bounding_box()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("One-time code").fill("000000")
    page.get_by_role("button", name="Set the password").click()
    assert page.get_by_role("alert").inner_text().startswith("That is not the one-time code")
    assert page.locator("p.address a").inner_text() == key
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("One-time code").fill(app_code(key, time.time() - 30))
    page.get_by_role("button", name="Set the password").click()
    page.get_by_role("status").wait_for()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="Sign in").click()
    page.get_by_label("E-mail address").fill(recipient)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("One-time code").fill(app_code(key, time.time() + 30))
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Your messages").wait_for()
    context.close()
