"""What holds for every answer: headers, host, form keys, sizes, ranges."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from flask import Flask

from restante.store import admins, sender_links
from restante.store.models import Delivery
from restante_portal import guard
from restante_portal.application import create_app
from tests.portal import letters
from tests.portal.authenticator import Authenticator
from tests.portal.conftest import RECIPIENT, URL, Browser, Post, make_post, make_settings
from tests.portal.test_enrolled import options_of

PASSWORD = "correct horse battery"
SCRIPTED = ("/sign-in", "/enrol")
OWN_SCRIPT = '<script src="/static/passkey.js" defer>'
REPLY_SCRIPT = '<script src="/static/reply.js" defer>'


def _everywhere(browser: Browser, post: Post) -> list[Any]:
    """An answer of every route, and of every kind of error."""
    link = post.waiting(letters.RICH)
    delivery_id = post.hold(letters.RICH)[0]
    key = browser.form_key(f"/p/{link.token}")
    post_to = (
        f"/p/{link.token}/open", f"/p/{link.token}/fresh", "/admin/sign-in", "/admin/act", "/admin/sign-out",
    )  # fmt: skip
    answers = [browser.get(path) for path in ("/", f"/p/{link.token}", "/p/unknown", "/asked", "/closed", "/message")]
    answers += [browser.post(path, {"number": link.number}, form_key=key) for path in (*post_to, "/open", "/fresh")]
    answers += [browser.post(path, form_key="wrong") for path in (*post_to, "/message/close")]
    pages = (
        "/message",
        "/message/body",
        "/message/body/2",
        "/message/attachments/4",
        "/message/attachments.zip",
        "/message.eml",
        "/message/attachments/99",
    )
    answers += [browser.get(path) for path in pages]
    answers.append(browser.get("/message.eml", headers={"Range": "bytes=9999999-"}))
    answers += _of_replying(browser, key)
    answers += _of_enrolled(browser, post, key)
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    answers.append(browser.post("/admin/sign-in", {"name": "rosa", "password": PASSWORD}))
    answers.append(browser.post(f"/admin/messages/{delivery_id}/read", {"reason": ""}))
    answers.append(browser.post(f"/admin/messages/{delivery_id}/read", {"reason": "ticket 7"}))
    review = ("", "/body/2", "/attachments/4", "/message.eml")
    answers += [browser.get(f"/admin/messages/{delivery_id}{path}") for path in review]
    answers += [browser.get(f"/admin/{path}") for path in ("", "audit", "messages/none", "sign-in", "act")]
    answers += [browser.post("/admin/act", {"action": action, "delivery": delivery_id}) for action in ("delete", "x")]
    answers += _of_the_sender(browser, post, delivery_id)
    answers += [
        browser.get(path)
        for path in (
            "/healthz",
            "/robots.txt",
            "/brand.css",
            "/brand/logo",
            "/brand/logo-dark",
            "/static/restante.css",
            "/static/none",
            "/nowhere",
        )
    ]
    answers.append(browser.post("/nowhere", {"x": "y" * 100_000}))
    return answers


def _of_replying(browser: Browser, key: str) -> list[Any]:
    """An answer of every route of a reply, with and without a window."""
    answers = [browser.get(path) for path in ("/message/reply", "/message/reply/sent")]
    for action in ("save", "send", "discard", "x"):
        form = {"action": action, "text": "x", "files": (io.BytesIO(b"x"), "a.bin")}
        answers.append(browser.post("/message/reply", form, form_key=key, content_type="multipart/form-data"))
    answers.append(browser.post("/message/reply", {"text": "x" * 100_000, "action": "save"}, form_key=key))
    answers.append(browser.post("/message/reply", form_key="wrong"))
    answers.append(browser.get("/message/reply/sent"))
    return answers


def _of_enrolled(browser: Browser, post: Post, key: str) -> list[Any]:
    """An answer of every route of recipients who sign in, as a stranger and signed in."""
    delivery_id = post.hold(letters.RICH)[0]
    one = f"/inbox/{delivery_id}/open"
    answers = [browser.get(path) for path in ("/sign-in", "/inbox", "/enrol", "/sign-out", one)]
    answers += [browser.post(path, form_key="wrong") for path in ("/sign-in", "/enrol", "/sign-out", one)]
    tries: tuple[dict[str, str], ...] = ({}, {"answer": "{}"}, {"address": RECIPIENT, "password": "x", "code": "1"})
    answers += [browser.post("/sign-in", form, form_key=key) for form in tries]
    answers.append(browser.post(one, form_key=key))
    answers += [browser.post("/enrol", {"act": act}, form_key=key) for act in ("passkey", "password", "remove", "x")]
    made = Authenticator(URL, "pickup.test.example").create(options_of(browser.get("/enrol").text, "create"))
    answers.append(browser.post("/enrol", {"act": "passkey", "answer": made}, form_key=key))
    answers += [browser.get(path) for path in ("/sign-in", "/inbox", "/enrol", "/enrol?done=1", "/static/passkey.js")]
    answers.append(browser.post("/enrol", {"act": "greeting", "greeting": "x"}, form_key=key))
    answers += [browser.post(path, form_key=key) for path in (one, "/inbox/x/open", "/sign-out")]
    return answers


def _of_the_sender(browser: Browser, post: Post, delivery_id: str) -> list[Any]:
    """An answer of every route of the sender's page, and of those about earlier openings."""
    with post.store.read() as session:
        message_id = session.get_one(Delivery, delivery_id).message_id
    link = sender_links.mint(post.store, message_id, b"digest", now=post.clock())
    page, key = f"/s/{link.token}", browser.form_key("/admin/sign-in")
    answers = [browser.get(path) for path in (page, f"{page}/open", "/sent", "/s/unknown", "/frozen")]
    answers += [browser.post(f"{page}/open", {"number": typed}, form_key=key) for typed in ("", "1", link.number)]
    answers.append(browser.get("/sent"))
    actions = ("recall", "extend", "code", "resend", "lift", "receipts", "x", "close")
    answers += [browser.post("/sent", {"action": each, "delivery": delivery_id}, form_key=key) for each in actions]
    answers += [browser.post(path, form_key="wrong") for path in ("/sent", f"{page}/open", "/message/not-me")]
    for path in (f"/p/{link.token}/history", f"/p/{link.token}/not-me"):
        answers += [browser.get(path), browser.post(path, form_key=key), browser.post(path, form_key="wrong")]
    answers.append(browser.post("/message/not-me", form_key=key))
    return answers


def test_every_answer_carries_the_headers(browser: Browser, post: Post) -> None:
    answers = _everywhere(browser, post)
    assert {answer.status_code for answer in answers} >= {200, 303, 400, 403, 404, 405, 416}
    for answer in answers:
        headers, where = answer.headers, (answer.request.method, answer.request.path, answer.status_code)
        framed = "/body" in answer.request.path and answer.status_code == 200
        scripted = answer.request.path in SCRIPTED and "passkey.js" in answer.text
        replying = answer.request.path == "/message/reply" and "reply.js" in answer.text
        page_policy = guard.SCRIPT_POLICY if scripted else guard.UPLOAD_POLICY if replying else guard.PAGE_POLICY
        policy = guard.FRAME_POLICY if framed else page_policy
        if headers.get("Content-Disposition", "").startswith("attachment") and answer.status_code < 300:
            policy = guard.FILE_POLICY
        alone = None if policy == guard.FILE_POLICY else "same-origin"
        assert headers["Content-Security-Policy"] == policy, where
        assert headers["X-Frame-Options"] == ("SAMEORIGIN" if framed else "DENY"), where
        assert headers["Referrer-Policy"] == "no-referrer", where
        assert headers["X-Content-Type-Options"] == "nosniff", where
        assert headers.get("Cross-Origin-Opener-Policy") == alone, where
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", where
        assert headers["Strict-Transport-Security"] == "max-age=31536000", where
        assert "geolocation=()" in headers["Permissions-Policy"], where
        static = answer.request.path in {"/static/restante.css", "/static/passkey.js"}
        assert headers["Cache-Control"] == ("public, max-age=3600" if static else "no-store"), where
        assert ("script-src" in headers["Content-Security-Policy"]) == (scripted or replying), where
        for cookie in headers.getlist("Set-Cookie"):
            assert cookie.startswith("__Host-"), where
            assert all(word in cookie for word in ("; Secure", "; HttpOnly", "; Path=/", "; SameSite=")), where
        if answer.mimetype == "text/html" and not framed:
            assert re.findall("<script[^>]*>", answer.text) == [OWN_SCRIPT] * scripted + [REPLY_SCRIPT] * replying, (
                where
            )
            assert "style=" not in answer.text, where
        answer.close()


@pytest.mark.parametrize(
    "host", ["evil.example", "pickup.test.example.evil.example", "pickup.test.example:444", "", "[::1]"]
)
def test_another_host_is_refused(app: Flask, post: Post, host: str) -> None:
    link = post.waiting()
    client = app.test_client()
    for path in ("/", f"/p/{link.token}", "/admin/sign-in", "/static/restante.css"):
        answer = client.get(path, base_url=URL, headers={"Host": host})
        assert answer.status_code == 400
        assert "evil" not in answer.text
    assert client.get("/healthz", base_url=URL, headers={"Host": host}).status_code == 200


def test_the_host_may_name_the_usual_port(app: Flask) -> None:
    answer = app.test_client().get("/", base_url=URL, headers={"Host": "Pickup.test.example:443"})
    assert answer.status_code == 200


@pytest.mark.parametrize("proxies", [0, 1, 2])
def test_forwarded_for_is_believed_for_our_own_proxies_only(tmp_path: Any, proxies: int) -> None:
    settings, worker = make_settings(tmp_path, f"sqlite:///{tmp_path}/r.db", trusted_proxies=proxies)
    post = make_post(settings, worker)
    link = post.waiting(code=True)
    browser = Browser(create_app(settings, store=post.store, clock=post.clock), "192.0.2.80")
    form_key = browser.form_key(f"/p/{link.token}")

    def guess(number: int) -> int:
        hops = (
            ["203.0.113.9", f"198.51.100.{number}", "192.0.2.79"][: proxies + 1]
            if proxies
            else [f"198.51.100.{number}"]
        )
        answer = browser.post(
            f"/p/{link.token}/open", {"code": "AAAA-AAAA"}, form_key=form_key,
            headers={"X-Forwarded-For": ", ".join(hops)},
        )  # fmt: skip
        return int(answer.status_code)

    statuses = [guess(number) for number in range(1, 8)]
    post.store.close()
    assert statuses == ([403] * 7 if proxies else [403] * 5 + [429] * 2)


def test_another_browsers_form_key_does_not_pass(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting()
    theirs = Browser(app).form_key(f"/p/{link.token}")
    browser.get(f"/p/{link.token}")
    answer = browser.post(f"/p/{link.token}/open", form_key=theirs)
    assert answer.status_code == 400
    assert "Nothing was used up" in answer.text
    assert browser.open(link).status_code == 303


def test_oversized_and_odd_forms_are_refused(app: Flask, post: Post, browser: Browser) -> None:
    link = post.waiting(code=True)
    path = f"/p/{link.token}/open"
    key = browser.form_key(f"/p/{link.token}")
    assert browser.post(path, {"code": "x" * 70_000}, form_key=key).status_code == 413
    assert browser.post(path, {f"f{n}": "" for n in range(20_000)}, form_key=key).status_code == 413
    assert browser.post(path, {"code": "\0" * 100}, form_key=key).status_code in {400, 403}
    assert browser.post(path, {"code": "ÿ"}, form_key="é" * 10).status_code == 400
    raw = browser.client.post(path, base_url=URL, data=b"\xff\xfe%%%", content_type="application/x-www-form-urlencoded")
    assert raw.status_code == 400
    raw = browser.client.post(path, base_url=URL, data=b"{}", content_type="application/json")
    assert raw.status_code == 400
    raw = browser.client.post(path, base_url=URL, data=b"--x", content_type="multipart/form-data; boundary=y")
    assert raw.status_code == 400
    assert browser.open(link, link.code).status_code == 303


RANGES: list[tuple[dict[str, str], int, tuple[int, int] | None]] = [
    ({}, 200, (0, 300_001)),
    ({"Range": "bytes=0-0"}, 206, (0, 1)),
    ({"Range": "bytes=100-199"}, 206, (100, 200)),
    ({"Range": "bytes=300000-"}, 206, (300_000, 300_001)),
    ({"Range": "bytes=-5"}, 206, (299_996, 300_001)),
    ({"Range": "bytes=-9999999"}, 206, (0, 300_001)),
    ({"Range": "bytes=-300001"}, 206, (0, 300_001)),
    ({"Range": "bytes=5-9999999"}, 206, (5, 300_001)),
    ({"Range": "bytes=300001-"}, 416, None),
    ({"Range": "bytes=9-5"}, 200, (0, 300_001)),
    ({"Range": "bytes=0-1,5-6"}, 200, (0, 300_001)),
    ({"Range": "lines=1-2"}, 200, (0, 300_001)),
    ({"Range": "bytes=10-19", "If-Range": "TAG"}, 206, (10, 20)),
    ({"Range": "bytes=10-19", "If-Range": '"another"'}, 200, (0, 300_001)),
    ({"Range": "bytes=10-19", "If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"}, 200, (0, 300_001)),
]


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("P7")
@pytest.mark.parametrize(("headers", "status", "span"), RANGES)
def test_attachments_download_byte_exact_and_resume(
    post: Post, browser: Browser, headers: dict[str, str], status: int, span: tuple[int, int] | None
) -> None:
    browser.open(post.waiting(letters.RICH))
    tag = browser.client.head("/message/attachments/4", base_url=URL).headers["ETag"]
    answer = browser.get("/message/attachments/4", headers={k: v.replace("TAG", tag) for k, v in headers.items()})
    assert answer.status_code == status
    assert answer.mimetype == "application/octet-stream"
    if span is None:
        assert answer.headers["Content-Range"] == "bytes */300001"
        return
    assert answer.data == letters.ATTACHMENT[slice(*span)]
    assert int(answer.headers["Content-Length"]) == span[1] - span[0]
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    if status == 206:
        assert answer.headers["Content-Range"] == f"bytes {span[0]}-{span[1] - 1}/300001"


@pytest.mark.behaviour("P2")
def test_a_download_resumes_in_the_window_of_a_fresh_link(post: Post, browser: Browser) -> None:
    delivery_id = post.hold(letters.RICH)[0]
    browser.open(post.link(delivery_id))
    begun = browser.get("/message/attachments/4", headers={"Range": "bytes=0-99999"})
    post.clock.now += 3601  # the window is over, the recipient has asked for a fresh link
    again = Browser(browser.client.application, "192.0.2.77")
    again.open(post.link(delivery_id))
    headers = {"Range": "bytes=100000-", "If-Range": begun.headers["ETag"]}
    rest = again.get("/message/attachments/4", headers=headers)
    assert rest.status_code == 206
    assert begun.data + rest.data == letters.ATTACHMENT


def test_the_whole_message_resumes(post: Post, browser: Browser) -> None:
    browser.open(post.waiting(letters.RICH))
    half = len(letters.RICH) // 2
    first = browser.get("/message.eml", headers={"Range": f"bytes=0-{half - 1}"})
    rest = browser.get("/message.eml", headers={"Range": f"bytes={half}-", "If-Range": first.headers["ETag"]})
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.data + rest.data == letters.RICH
    assert browser.client.head("/message.eml", base_url=URL).headers["Content-Length"] == str(len(letters.RICH))
