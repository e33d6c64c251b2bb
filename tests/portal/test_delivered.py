"""A reviewer sees how the copies of a message that were not held really left."""

from __future__ import annotations

import pytest
from flask import Flask

from restante.store import admins, delivered
from restante.store.delivered import Delivered
from restante.store.models import DeliveryState
from tests.portal import letters
from tests.portal.conftest import Browser, Post

PASSWORD = "correct horse battery"


def _left(recipient: str, message_id: str, *, tls: bool = True) -> Delivered:
    session = ("TLSv1.3", "TLS_AES_256_GCM_SHA384", "verified") if tls else ("", "", "")
    return Delivered("Q1", recipient, "restante-tls", "mx.there.example[192.0.2.1]:25", *session, "250 ok", message_id)


@pytest.mark.behaviour("S4")
def test_the_page_of_a_message_shows_how_its_copies_were_delivered(app: Flask, post: Post) -> None:
    rita, otto = "rita@patients.example", "otto@patients.example"
    held = post.hold(letters.RICH, recipients=(rita, otto), state=DeliveryState.QUARANTINED)[0]
    known = [
        _left(rita, "<m@clinic.example>"),
        _left(otto, "<other@clinic.example>"),
        _left("stranger@patients.example", "<m@clinic.example>"),
    ]
    delivered.keep(post.store, "log", known, {}, now=post.clock())
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    browser = Browser(app)
    assert browser.post("/admin/sign-in", {"name": "rosa", "password": PASSWORD}).status_code == 303
    page = browser.get(f"/admin/messages/{held}").text
    assert f"{rita} at mx.there.example[192.0.2.1]:25" in page
    assert "TLSv1.3, TLS_AES_256_GCM_SHA384, certificate verified" in page
    assert f"{otto} at " not in page
    assert "stranger@" not in page
