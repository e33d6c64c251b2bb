"""What a rule asks of the portal: two reviewers before a release, and messages that are only to be read."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from restante.store import admins, holding
from restante.store.approval import SameReviewer
from restante.store.models import AuditRecord, DeliveryState
from tests.portal import letters
from tests.portal.conftest import Browser, Post

PASSWORD = "correct horse battery"
Q = DeliveryState.QUARANTINED


def signed_in(app: Flask, post: Post, name: str) -> Browser:
    admins.add(post.store, name, PASSWORD, now=post.clock())
    browser = Browser(app)
    assert browser.post("/admin/sign-in", {"name": name, "password": PASSWORD}).status_code == 303
    return browser


def act(browser: Browser, action: str, delivery: str) -> str:
    form = {"action": action, "delivery": [delivery]}
    answer: Any = browser.post("/admin/act", form, form_key=browser.form_key("/admin/"), follow_redirects=True)
    return str(answer.text)


def trail(post: Post, delivery: str) -> Sequence[tuple[str, str]]:
    with post.store.read() as session:
        query = select(AuditRecord.actor, AuditRecord.action).where(AuditRecord.delivery_id == delivery)
        return [(row.actor, row.action) for row in session.execute(query.order_by(AuditRecord.id))]


@pytest.mark.behaviour("A4")
def test_a_release_with_four_eyes_needs_a_second_reviewer(app: Flask, post: Post) -> None:
    delivery = post.hold(state=Q, four_eyes=True)[0]
    rosa, otto = signed_in(app, post, "rosa"), signed_in(app, post, "otto")
    assert "needs two reviewers" in rosa.get(f"/admin/messages/{delivery}").text
    assert "another one must release" in act(rosa, "release-portal", delivery)
    assert post.state(delivery) == Q
    assert "You have already approved" in act(rosa, "release-tls", delivery)
    assert post.state(delivery) == Q
    assert "another reviewer must release it" in rosa.get(f"/admin/messages/{delivery}").text
    assert "approved by rosa; your release is the second" in otto.get(f"/admin/messages/{delivery}").text
    assert "1 released" in act(otto, "release-portal", delivery)
    assert post.state(delivery) == DeliveryState.HELD
    assert [each for each in trail(post, delivery) if each[1] != "viewed"] == [
        ("milter", "took-quarantined"),
        ("admin:rosa", "approved-release"),
        ("admin:otto", "became-held"),
    ]


@pytest.mark.behaviour("A4")
def test_rejecting_and_ordinary_mail_need_one_reviewer(app: Flask, post: Post) -> None:
    rosa = signed_in(app, post, "rosa")
    strict, ordinary = post.hold(state=Q, four_eyes=True)[0], post.hold(state=Q)[0]
    assert "1 released" in act(rosa, "release-portal", ordinary)
    holding.reject(post.store, strict, text="no", actor="admin:rosa", now=post.clock())
    assert post.state(strict) == DeliveryState.REJECTED


@pytest.mark.behaviour("A4")
def test_two_who_release_at_once_are_two_reviewers_and_one_who_does_is_not(post: Post) -> None:
    def race(delivery: str, actors: tuple[str, str]) -> list[object]:
        seen: list[object] = []
        together = threading.Barrier(2)

        def release(actor: str) -> None:
            together.wait(10)
            try:
                seen.append(holding.release_to_portal(post.store, delivery, actor=actor, now=post.clock()))
            except SameReviewer:
                seen.append("same")

        threads = [threading.Thread(target=release, args=(actor,)) for actor in actors]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(seen, key=str)

    two, one = (post.hold(state=Q, four_eyes=True)[0] for _ in range(2))
    assert race(two, ("admin:rosa", "admin:otto")) == [False, True]
    assert post.state(two) == DeliveryState.HELD
    assert race(one, ("admin:rosa", "admin:rosa")) == [False, "same"]
    assert post.state(one) == Q


@pytest.mark.behaviour("A4")
def test_an_approval_does_not_outlive_the_release_that_it_was_for(post: Post) -> None:
    delivery = post.hold(state=Q, four_eyes=True)[0]
    for actor in ("admin:rosa", "admin:otto"):
        holding.release_to_portal(post.store, delivery, actor=actor, now=post.clock())
    holding.notice_failed(post.store, "none", [delivery], "550 no such user", now=post.clock())
    assert post.state(delivery) == Q
    assert not holding.release_to_portal(post.store, delivery, actor="admin:otto", now=post.clock())
    assert post.state(delivery) == Q


@pytest.mark.behaviour("P9")
def test_what_is_only_to_be_read_cannot_be_saved(browser: Browser, post: Post) -> None:
    def open_and_look(*, view_only: bool) -> tuple[str, list[int]]:
        link = post.waiting(letters.RICH, view_only=view_only)
        assert browser.open(link).status_code == 303
        page = browser.get("/message").text
        numbers = [number for number in range(6) if f"/message/attachments/{number}" in page]
        paths = ["/message.eml", *(f"/message/attachments/{number}" for number in numbers or (2, 3))]
        return page, [browser.get(path).status_code for path in paths]

    page, statuses = open_and_look(view_only=False)
    assert set(statuses) == {200}
    assert "Save the whole message" in page
    page, statuses = open_and_look(view_only=True)
    assert set(statuses) == {404}
    assert "it cannot be saved" in page
    assert "download" not in page
