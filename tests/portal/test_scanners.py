"""Nothing but a person uses up a link: robots in a real browser, and clients without one, by the dozen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page
from playwright.sync_api import Error as PlaywrightError

from restante.access import CodeWay
from restante.marks import NoticeMark
from restante.notices import NoticeWriter, Way
from restante.store import links
from restante.store.links import MintedLink
from tests.portal.conftest import RECIPIENT, Post
from tests.portal.scanners import CLIENTS, MAILBOX, ROBOTS, SEND, Robot, Scene
from tests.portal.server import Visitor
from tests.portal.stage import opened_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A portal behind one proxy, so that each robot can come from an address of its own."""
    with opened_office(tmp_path_factory.mktemp("portal"), trusted_proxies=1) as post:
        yield post


def _scene(office: Post, link: MintedLink, page: str = "", *, code: bool) -> Scene:
    way = Way(link.token, link.number, CodeWay.SENDER if code else None)
    notice = NoticeWriter(office.settings, b"s" * 32).for_recipient(
        mark=NoticeMark("m" * 32, "d" * 32), recipient=RECIPIENT, sender="anna@clinic.example", way=way, expires_at=2e9
    )
    return Scene(link, notice, page)


def _let_loose(page: Page, office: Post, link: MintedLink, robot: Robot) -> None:
    page.goto(f"{office.settings.portal.url}/p/{link.token}")
    scene = _scene(office, link, page.content(), code=robot.code)
    given = {"values": robot.values(scene)[:3], "all": False, "method": "POST", **robot.extra}
    try:
        page.evaluate(robot.script, given)
        page.wait_for_load_state("load")
    except PlaywrightError as error:
        if "navigat" not in str(error) and "destroyed" not in str(error):  # it pressed, and the page went away
            raise


def _untouched(office: Post, link: MintedLink) -> bool:
    """Whether the link still opens, and nobody was sent another in its place."""
    office.send_notices()
    links.find_live_link(office.store, link.token, now=office.clock())
    return office.fresh_asked() == []


@pytest.mark.behaviour("P1")
def test_no_robot_in_a_browser_uses_up_a_link(chromium: Browser, office: Post) -> None:
    assert len(ROBOTS) >= 30
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    for count, (name, robot) in enumerate(ROBOTS.items()):
        link = office.waiting(code=robot.code)
        # Each comes without cookies and from an address of its own, so that none is stopped by another's limit.
        context.clear_cookies()
        page.set_extra_http_headers({"X-Forwarded-For": f"198.18.{count}.1"})
        _let_loose(page, office, link, robot)
        assert context.request.get(f"{office.settings.portal.url}/message").status == 403, name
        assert _untouched(office, link), name
    context.close()


@pytest.mark.behaviour("P1")
def test_the_robot_itself_works_given_what_a_person_types(chromium: Browser, office: Post) -> None:
    for code in (False, True):
        link = office.waiting(code=code)
        robot = Robot(lambda scene: [scene.link.code or scene.link.number], SEND, code=code)
        context = chromium.new_context(bypass_csp=True, extra_http_headers={"X-Forwarded-For": f"198.19.{code:d}.1"})
        page = context.new_page()
        _let_loose(page, office, link, robot)
        assert context.request.get(f"{office.settings.portal.url}/message").status == 200
        context.close()
        with pytest.raises(links.NoSuchLink):
            links.find_live_link(office.store, link.token, now=office.clock())


@pytest.mark.behaviour("P1")
def test_a_robot_without_scripts_that_presses_enter_opens_nothing(chromium: Browser, office: Post) -> None:
    link = office.waiting()
    context = chromium.new_context(java_script_enabled=False, extra_http_headers={"X-Forwarded-For": "198.20.0.1"})
    page = context.new_page()
    for value in ("", *MAILBOX(_scene(office, link, code=False))):
        page.goto(f"{office.settings.portal.url}/p/{link.token}")
        page.locator("#number").fill(value)
        page.locator("#number").press("Enter")
    assert context.request.get(f"{office.settings.portal.url}/message").status == 403
    context.close()
    assert _untouched(office, link)


@pytest.mark.behaviour("P1")
def test_no_client_without_a_browser_uses_up_a_link(office: Post) -> None:
    for name, (method, path, headers, body) in CLIENTS.items():
        link = office.waiting()
        client = Visitor(office.settings)
        client.get(f"/p/{link.token}")
        for _ in range(2):
            sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
            connection, answer = client.begin(method, f"/p/{link.token}{path}", body, **sent)
            answer.read()
            connection.close()
        assert client.get("/message").status == 403, name
        assert _untouched(office, link), name


@pytest.mark.behaviour("P1")
def test_no_word_of_a_notice_is_its_number(office: Post) -> None:
    for _ in range(3):
        delivery_id = office.hold()[0]
        minted = office.link(delivery_id)
        scene = _scene(office, minted, code=False)
        live = links.find_live_link(office.store, minted.token, now=office.clock())
        assert live.is_number(minted.token, minted.number)
        raw = scene.notice.as_string()
        assert not [word for word in {*raw.split(), *scene.text.split()} if live.is_number(minted.token, word)]
        assert minted.number.replace(" ", "") not in raw
