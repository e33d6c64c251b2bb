"""A recipient's way from the link to the message, and everyone who must not get there."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.portal.conftest import SIMPLE, Browser, Post


@pytest.mark.behaviour("P1")
@pytest.mark.behaviour("P2")
def test_a_link_opens_once_and_stays_open_in_that_browser_only(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting()
    assert "A message is waiting" in browser.get(f"/p/{link.token}").text
    opened = browser.open(link)
    assert (opened.status_code, opened.location) == (303, "/message")
    for _ in range(3):
        page = browser.get("/message")
        assert page.status_code == 200
        assert "Der Befund ist unauffällig." in page.text
    assert browser.get("/message.eml").data == SIMPLE
    other = Browser(app)
    assert other.get("/message").status_code == 403
    assert other.open(link).status_code == 404
    assert other.get("/message").status_code == 403
