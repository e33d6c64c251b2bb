"""Administrators ask why: after a reason, masked, escaped, recorded; and of a file, of which nothing stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select, update

from restante.store import admins
from restante.store.evidence import StoredEvidence
from restante.store.models import Administrator, AuditRecord, DeliveryState
from restante.tls.evidence import Evidence, Level
from restante_portal.application import create_app
from restante_portal.context import portal_of
from restante_portal.explaining import FILE_CAP
from tests.portal.conftest import URL, Browser, Post, make_post, make_settings

PASSWORD = "correct horse battery"
CARD = "4111111111111111"
TRAP = "<script>alert(1)</script>"
POLICY = """
[[rule]]
name = "many-cards"
action = "quarantine"
when = [{ detectors = ["payment-card"], count = 3 }]

[[rule]]
name = "cards"
when = [{ detectors = ["payment-card"] }]
"""
HOSTILE = (
    b'From: "<script>alert(1)</script>" <anna@clinic.example>\r\nTo: rita@patients.example\r\n'
    b"Subject: <script>alert(1)</script> 4111 1111 1111 1111\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
    b"<p onclick=alert(2)>Karte <b>4111</b>111111111111</p><script>alert(3)</script><img src=x onerror=alert(4)>\r\n"
    b"--b\r\nContent-Type: text/plain\r\n"
    b'Content-Disposition: attachment; filename="<script>alert(5)<script>.txt"\r\n\r\n'
    b"</mark></div><script>alert(6)</script> 4111-1111-1111-1111 Kunde 123456789012\r\n--b--\r\n"
)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Flask, Post]]:
    """One portal for all tests: its first explanation compiles the policy."""
    folder = tmp_path_factory.mktemp("portal")
    (folder / "policy.toml").write_text(POLICY)
    settings, worker = make_settings(folder, f"sqlite:///{folder}/restante.db")
    settings = settings.model_copy(update={"policy": folder / "policy.toml"})
    post = make_post(settings, worker)
    for name in ("rosa", "otto"):
        admins.add(post.store, name, PASSWORD, now=post.clock())
    with post.store.write() as session:
        session.execute(update(Administrator).where(Administrator.name == "otto").values(role="auditor"))
    now = post.clock()
    StoredEvidence(post.store).put(Evidence("patients.example", Level.NONE, "no STARTTLS", now, now + 1e6, now + 1e6))
    app = create_app(settings, store=post.store, clock=post.clock)
    app.testing = False
    yield app, post
    portal_of(app).close()


@pytest.fixture
def post(office: tuple[Flask, Post]) -> Post:
    return office[1]


@pytest.fixture
def reviewer(office: tuple[Flask, Post]) -> Browser:
    return _signed_in(office[0], "rosa")


def _signed_in(app: Flask, name: str) -> Browser:
    browser = Browser(app)
    assert browser.post("/admin/sign-in", {"name": name, "password": PASSWORD}).status_code == 303
    return browser


def _held(post: Post, content: bytes = HOSTILE) -> str:
    return post.hold(content, state=DeliveryState.QUARANTINED)[0]


def _explain(browser: Browser, delivery_id: str, reason: str) -> Any:
    path = f"/admin/messages/{delivery_id}/explain"
    return browser.post(path, {"reason": reason}, form_key=browser.form_key(path))


def _upload(browser: Browser, content: bytes, **more: str) -> Any:
    """Send a file as a browser does.  The body is made here: werkzeug's client would put it on a disk."""
    fields = {"form_key": browser.form_key("/admin/explain"), **more}
    body = b"".join(
        b'--Xx\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (name.encode(), value.encode())
        for name, value in fields.items()
    )
    body += b'--Xx\r\nContent-Disposition: form-data; name="message"; filename="m.eml"\r\n'
    body += b"Content-Type: message/rfc822\r\n\r\n" + content + b"\r\n--Xx--\r\n"
    return browser.client.post(
        "/admin/explain",
        base_url=URL,
        data=body,
        content_type="multipart/form-data; boundary=Xx",
        environ_overrides={"REMOTE_ADDR": browser.address},
    )


def _records(post: Post) -> list[tuple[str, str, dict[str, Any]]]:
    with post.store.read() as session:
        rows = session.scalars(select(AuditRecord).order_by(AuditRecord.id)).all()
    return [(row.actor, row.action, row.detail) for row in rows if row.action.startswith("explained")]


@pytest.mark.behaviour("C6")
def test_a_held_message_is_explained_after_a_reason(post: Post, reviewer: Browser) -> None:
    delivery_id = _held(post)
    assert "Explain the decision" in reviewer.get(f"/admin/messages/{delivery_id}").text
    before = len(_records(post))
    asked = reviewer.get(f"/admin/messages/{delivery_id}/explain").text
    assert "Karte" not in asked
    refused = _explain(reviewer, delivery_id, "  ")
    assert refused.status_code == 400
    assert "Karte" not in refused.text
    assert len(_records(post)) == before
    answer = _explain(reviewer, delivery_id, "complaint of the sender, ticket 7")
    assert answer.status_code == 200
    assert _records(post)[before:] == [("admin:rosa", "explained", {"reason": "complaint of the sender, ticket 7"})]
    page = " ".join(answer.text.split())
    for expected in (
        "<mark>payment-card: ************1111</mark>",
        "HTML as seen",
        "needs 3 distinct values of payment-card at high, found 1",
        "rita@patients.example: portal",
        "no STARTTLS",
        "STARTTLS with TLS 1.2 or better on at least one MX host of patients.example",
        "Kunde ************",
    ):
        assert expected in page, expected


@pytest.mark.behaviour("C6")
def test_hostile_content_is_text_and_no_value_is_shown(post: Post, reviewer: Browser) -> None:
    answer = _explain(reviewer, _held(post), "looking at an attack")
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "onerror=" not in re.sub(r'<div class="text".*?</div>', "", answer.text, flags=re.DOTALL)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    digits = re.sub(r"\D", "", answer.text)
    assert CARD[:8] not in digits
    assert "123456789012" not in digits


@pytest.mark.behaviour("C6")
def test_only_the_role_and_only_with_a_form(office: tuple[Flask, Post], reviewer: Browser) -> None:
    app, post = office
    delivery_id = _held(post)
    stranger, auditor = Browser(app), _signed_in(app, "otto")
    before = len(_records(post))
    for path in (f"/admin/messages/{delivery_id}/explain", "/admin/explain"):
        assert stranger.get(path).location == "/admin/sign-in"
        assert stranger.post(path, {"reason": "curious"}).location == "/admin/sign-in"
        assert auditor.get(path).status_code == 403
        key = auditor.form_key("/admin/")
        assert auditor.post(path, {"reason": "curious"}, form_key=key).status_code == 403
        assert reviewer.post(path, {"reason": "no key at all"}, form_key="").status_code == 400
    assert len(_records(post)) == before
    assert reviewer.get("/admin/messages/" + "0" * 32 + "/explain").status_code == 404


@pytest.mark.behaviour("C6")
def test_a_file_is_explained_and_nothing_of_it_stays(
    post: Post, reviewer: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.TemporaryFile", _no_file)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", _no_file)
    padding = b"Everything is well, and goes on being well.\r\n" * 20_000
    before = _counts(post)
    answer = _upload(reviewer, HOSTILE.replace(b"--b--", padding + b"--b--"))
    assert answer.status_code == 200
    assert "rita@patients.example: portal" in answer.text
    assert "<script" not in answer.text
    assert CARD[:8] not in re.sub(r"\D", "", answer.text)
    assert _counts(post) == before
    actor, action, detail = _records(post)[-1]
    assert (actor, action, set(detail)) == ("admin:rosa", "explained-file", {"size"})
    other = _upload(reviewer, HOSTILE, sender="x@clinic.example", recipients="a@there.example, b@there.example")
    assert "a@there.example: tls" in other.text
    assert "b@there.example: tls" in other.text


def _no_file(*_arguments: object, **_more: object) -> None:
    raise AssertionError("an upload touched the disk")


def _counts(post: Post) -> list[int]:
    from sqlalchemy import func

    from restante.store.models import Base

    with post.store.read() as session:
        return [
            session.scalar(select(func.count()).select_from(table)) or 0
            for table in Base.metadata.sorted_tables
            if table.name != AuditRecord.__tablename__
        ]


@pytest.mark.behaviour("C6")
def test_uploads_are_bounded_and_what_is_no_message_is_no_error(office: tuple[Flask, Post], reviewer: Browser) -> None:
    app, _ = office
    assert _upload(reviewer, b"").status_code == 400
    assert _upload(reviewer, HOSTILE, recipients="x" * 10 + "\x01@").status_code in {200, 400}
    assert _upload(reviewer, b"\xff\x00" * 5000).status_code == 200
    assert _upload(reviewer, b"x" * (FILE_CAP + 100_000)).status_code == 413
    stranger = Browser(app)
    assert _upload(stranger, b"x" * 100_000).status_code == 413  # strangers may send a form, not a message


@pytest.mark.behaviour("C6")
def test_a_policy_that_is_wrong_is_told_and_one_that_changes_counts(post: Post, reviewer: Browser) -> None:
    path = post.settings.policy
    assert isinstance(path, Path)
    delivery_id = _held(post)
    try:
        path.write_text("[[rule]]\nname = 3\n")
        answer = _explain(reviewer, delivery_id, "policy at work")
        assert answer.status_code == 503
        assert "policy.toml:1" in answer.text
    finally:
        path.write_text(POLICY)
    assert _explain(reviewer, delivery_id, "policy at work").status_code == 200
