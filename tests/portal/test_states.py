"""Every page in every state, by axe-core, in light and dark, both directions, on a phone and at a zoom of 400 %."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.portal.conftest import Post
from tests.portal.looking import Look
from tests.portal.stage import BRAND, Stage, opened_office
from tests.portal.states import JOURNEYS, REPLY_BYTES, Journey, branded


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    with opened_office(tmp_path_factory.mktemp("office"), reply_max_bytes=REPLY_BYTES) as post:
        yield post


def look_along(journey: Journey, chromium: Browser, office: Post) -> None:
    context = chromium.new_context()
    fetched: list[str] = []
    context.on("request", lambda request: fetched.append(request.url))
    stage = Stage(context, office)
    stage.unblock()
    look = Look(stage)
    for state in journey(stage):
        look.at(state)
    context.close()
    strangers = [url for url in fetched if not url.startswith((f"{stage.url}/", "data:"))]
    assert strangers == []
    assert look.problems == [], "\n".join(look.problems)[:20000]


@pytest.mark.slow
@pytest.mark.behaviour("P13")
@pytest.mark.behaviour("P7")
@pytest.mark.parametrize("journey", JOURNEYS, ids=[each.__name__ for each in JOURNEYS])
def test_nothing_is_wrong_with_any_page_in_any_state(journey: Journey, chromium: Browser, office: Post) -> None:
    look_along(journey, chromium, office)


@pytest.mark.behaviour("P13")
def test_nothing_is_wrong_with_pages_in_an_organisations_own_look(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with opened_office(tmp_path_factory.mktemp("branded"), brand=BRAND) as office:
        look_along(branded, chromium, office)
