"""Replying in a real browser: with our script, without JavaScript, by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect
from sqlalchemy import select

from restante.reply import ReplyTo
from restante.store.models import AuditRecord, Reply, ReplyState
from tests.portal.conftest import RECIPIENT, Post
from tests.portal.stage import opened_office
from tests.portal.test_reply import ORIGINAL

LIMIT = 300_000


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    with opened_office(tmp_path_factory.mktemp("portal"), reply_max_bytes=LIMIT) as post:
        yield post


def begin(post: Post, page: Page, reply: ReplyTo = ReplyTo.SENDER) -> str:
    """Open a message and go to the page to reply; the id of the copy."""
    delivery_id = post.hold(ORIGINAL, recipients=(RECIPIENT, "bob@clinic.example"), reply=reply)[0]
    link = post.link(delivery_id)
    page.goto(f"{post.settings.portal.url}/p/{link.token}")
    page.get_by_label("Number of your notice").first.fill(link.number)
    page.get_by_role("button", name="Open the message").click()
    page.get_by_role("link", name="Reply").click()
    return delivery_id


def states(post: Post, delivery_id: str) -> list[str]:
    with post.store.read() as session:
        return list(session.scalars(select(Reply.state).where(Reply.delivery_id == delivery_id)))


def _files(folder: Path, *sizes: int) -> list[Path]:
    paths = [folder / f"file{number}.bin" for number, _ in enumerate(sizes)]
    for path, size in zip(paths, sizes, strict=True):
        path.write_bytes(b"x" * size)
    return paths


@pytest.mark.behaviour("P8")
@pytest.mark.behaviour("P13")
@pytest.mark.parametrize("way", ["with our script", "without JavaScript"])
def test_a_whole_reply(chromium: Browser, office: Post, tmp_path: Path, way: str) -> None:
    script = way == "with our script"
    small, large = _files(tmp_path, 1000, LIMIT + 1)
    context = chromium.new_context(java_script_enabled=script)
    page = context.new_page()
    delivery_id = begin(office, page)
    page.get_by_role("button", name="Send the reply").click()
    assert "Please write something" in page.get_by_role("alert").first.inner_text()
    page.get_by_label("Your reply").fill("Danke.\nRita")
    page.get_by_label("Attach files").set_input_files([small, large])
    page.get_by_role("button", name="Save draft").click()
    page.get_by_text("These files were not kept").wait_for()
    assert page.get_by_label("Your reply").input_value() == "Danke.\nRita"
    page.get_by_role("button", name="Save draft").click()
    page.get_by_role("status").filter(has_text="Your draft is saved").wait_for()
    expect(page.get_by_label("Remove file0.bin")).to_have_count(1)
    page.get_by_label("Attach files").set_input_files([tmp_path / "file0.bin"])
    page.get_by_label("Your reply").focus()
    for _ in range(3):  # the file that may be removed, the field for files, the first button
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Your reply is on its way").wait_for()
    assert states(office, delivery_id) == [ReplyState.QUEUED]
    with office.store.read() as session:
        query = select(AuditRecord.detail).where(
            AuditRecord.delivery_id == delivery_id, AuditRecord.action == "replied"
        )
        assert session.scalars(query).one() == {"recipients": 1, "files": 1}
    context.close()


@pytest.mark.behaviour("P8")
def test_the_bar_moves_and_a_lost_connection_is_told(chromium: Browser, office: Post, tmp_path: Path) -> None:
    (small,) = _files(tmp_path, 200_000)
    context = chromium.new_context()
    page = context.new_page()
    delivery_id = begin(office, page, reply=ReplyTo.ALL)
    lost: list[str] = []

    def lose(route: Route) -> None:
        if route.request.method == "POST" and not lost:
            lost.append(page.get_by_label("The files are on their way").get_attribute("value") or "")
            route.abort()
        else:
            route.continue_()

    page.route("**/message/reply*", lose)
    page.get_by_label("Your reply").fill("x")
    page.get_by_label("Attach files").set_input_files(small)
    page.get_by_role("button", name="Send the reply").click()
    page.get_by_text("The connection broke off").wait_for()
    assert lost
    assert page.get_by_label("Your reply").input_value() == "x"
    assert states(office, delivery_id) == []
    page.evaluate(
        "window.seen = []; new MutationObserver(() => window.seen.push(document.querySelector('progress').value))"
        ".observe(document.querySelector('progress'), {attributes: true})"
    )
    page.evaluate("addEventListener('pagehide', () => sessionStorage.setItem('seen', JSON.stringify(window.seen)))")
    page.get_by_role("button", name="Send the reply").click()
    page.get_by_role("heading", name="Your reply is on its way").wait_for()
    assert "1" in page.evaluate("sessionStorage.getItem('seen')")
    assert states(office, delivery_id) == [ReplyState.QUEUED]
    context.close()
