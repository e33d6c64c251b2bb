"""Every route there is, also those of later versions, fired by everybody whom it is not for.

That is nobody, another recipient, another sender, another enrolled recipient, and a reviewer, who may not read without
a reason.  And what is forged or bent: cookies, forms of other sites, paths.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from werkzeug.routing import Rule

from restante.store import admins, links, sender_links
from restante.store.models import AuditRecord, Delivery, DeliveryState, OutboxJob
from tests.portal.conftest import URL, Browser, Post
from tests.portal.test_enrolled import enrol
from tests.portal.test_enrolled import opened as opened_to_enrol
from tests.portal.test_review import PASSWORD, sign_in
from tests.portal.test_sender import enter

OTHER = "otto@patients.example"
SECRET = "QUOKKA-OF-RITA"
LETTER = f"Subject: {SECRET}\r\nContent-Type: text/html\r\n\r\n<p>{SECRET}</p>".encode()
LETTER_OF_OTHER = b"Subject: x\r\nContent-Type: text/html\r\n\r\n<p>y</p>"
# They look through all detectors at what reviewers ask for; tests/portal/test_explain_page.py.
SLOW = {"/admin/explain", "/admin/messages/<delivery_id>/explain"}
FORM = {
    **dict.fromkeys(("number", "code", "address", "password", "text", "proof", "greeting", "name"), "123 456"),
    "act": "remove",
    "days": "3",
}
ACTIONS = {
    "/sent": ("recall", "extend", "code", "resend", "lift", "receipts"),
    "/admin/act": ("release-portal", "release-tls", "delete", "reject"),
    "/message/reply": ("save", "send", "discard"),
}


class Victim:
    """A message that waits for somebody else, with all that could name it."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.delivery_id = post.hold(LETTER, summary={"subject": SECRET})[0]
        self.link = post.link(self.delivery_id, code=True)
        with post.store.read() as session:
            self.message_id = session.get_one(Delivery, self.delivery_id).message_id
        self.sender_link = sender_links.mint(post.store, self.message_id, b"digest", now=post.clock())

    def paths(self, rule: Rule) -> list[str]:
        """The route with this message's ids in the place of its arguments."""
        path = re.sub(r"<int:\w+>", "1", rule.rule)
        names = re.findall(r"<(?:\w+:)?(\w+)>", path)
        if not names:
            return [path, f"{path}?window={self.delivery_id}"]
        tokens = (
            (self.link.token, self.sender_link.token) if names == ["token"] else (self.delivery_id, self.message_id)
        )
        return [re.sub(r"<(\w+:)?\w+>", each, path) for each in tokens]

    def untouched(self) -> bool:
        """It waits as before, its link opens, and nothing was done but what strangers' tries leave behind."""
        links.find_live_link(self.post.store, self.link.token, now=self.post.clock())
        with self.post.store.read() as session:
            acted = select(func.count()).select_from(AuditRecord).where(AuditRecord.message_id == self.message_id)
            done = session.scalar(acted.where(AuditRecord.actor.not_in(["milter", "worker"])))
            asked = [job for job in session.scalars(select(OutboxJob)) if job.payload.get("cause") == "fresh"]
        return self.post.state(self.delivery_id) == DeliveryState.HELD and (done, asked) == (0, [])


def _nobody(app: Flask, _post: Post) -> Browser:
    return Browser(app, "198.51.100.1")


def _other_recipient(app: Flask, post: Post) -> Browser:
    browser = Browser(app, "198.51.100.2")
    assert browser.open(post.waiting(LETTER_OF_OTHER, recipients=(OTHER,))).status_code == 303
    return browser


def _other_sender(app: Flask, post: Post) -> Browser:
    browser = Browser(app, "198.51.100.3")
    delivery_id = post.hold(LETTER_OF_OTHER, recipients=(OTHER,), sender="ben@clinic.example")[0]
    with post.store.read() as session:
        message_id = session.get_one(Delivery, delivery_id).message_id
    assert enter(browser, sender_links.mint(post.store, message_id, b"ben", now=post.clock())).status_code == 303
    return browser


def _other_enrolled(app: Flask, post: Post) -> Browser:
    browser = Browser(app, "198.51.100.4")
    enrol(post, browser, recipient=OTHER)
    assert opened_to_enrol(post, browser, recipient=OTHER)
    return browser


def _reviewer(app: Flask, post: Post) -> Browser:
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    browser = Browser(app, "198.51.100.5")
    assert sign_in(browser).status_code == 303
    return browser


PARTIES: dict[str, Callable[[Flask, Post], Browser]] = {
    "nobody": _nobody,
    "another recipient": _other_recipient,
    "another sender": _other_sender,
    "another enrolled recipient": _other_enrolled,
    "a reviewer without a reason": _reviewer,
}


def _rules(app: Flask) -> list[Rule]:
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]


def _fire(browser: Browser, victim: Victim, rule: Rule, key: str) -> Iterator[Any]:
    """All requests of one party to one route: read, a part of it, and sent with a key of its own browser."""
    for path in victim.paths(rule):
        if "GET" in (rule.methods or ()):
            yield browser.get(path)
            if "message" in path:
                yield browser.get(path, headers={"Range": "bytes=0-99"})
        if "POST" in (rule.methods or ()):
            for action in ACTIONS.get(rule.rule, ("",)):
                form = FORM | {"action": action, "delivery": victim.delivery_id, "window": victim.delivery_id}
                yield browser.post(path, form, form_key=key)


@pytest.mark.behaviour("P1")
@pytest.mark.behaviour("S3")
@pytest.mark.behaviour("A1")
def test_no_route_gives_away_or_changes_what_is_somebody_elses(app: Flask, post: Post) -> None:
    victim = Victim(post)
    for party, make in PARTIES.items():
        browser = make(app, post)
        reviews = party.startswith("a reviewer")
        key = browser.form_key("/admin/" if reviews else f"/p/{victim.link.token}")
        fired = 0
        for rule in _rules(app):
            if rule.rule in {"/sign-out", "/message/close", "/admin/sign-out"}:
                continue  # the party's own session would end here; the next test fires them
            if reviews and (rule.rule in {"/admin/act", *SLOW} or rule.rule.endswith("/read")):
                continue  # which are for reviewers
            for answer in _fire(browser, victim, rule, key):
                fired += 1
                said = (party, answer.request.method, rule.rule, answer.status_code)
                assert answer.status_code < 500, said
                # Subjects are shown to reviewers, the content is not.
                assert SECRET not in answer.text or (reviews and "/body" not in rule.rule), said
                answer.close()
        assert fired > 80
        assert victim.untouched(), party


@pytest.mark.behaviour("P1")
def test_no_form_of_another_site_does_anything(app: Flask, post: Post) -> None:
    """CSRF: every route that takes a form, with the session of its user, and no key, a made-up one, or a stranger's."""
    victim = Victim(post)
    theirs = Browser(app, "203.0.113.1").form_key("/admin/sign-in")
    forms = [rule for rule in _rules(app) if "POST" in (rule.methods or ())]
    assert len(forms) >= 20
    for party, make in PARTIES.items():
        browser = make(app, post)
        before = _acted(post)
        for rule, key in product(forms, ("", theirs, "IjEi.aaaa.bbbb")):
            form = FORM | {"action": "recall", "delivery": victim.delivery_id, "form_key": key}
            answer = browser.client.post(victim.paths(rule)[0], base_url=URL, data=form)
            assert answer.status_code == 400, (party, rule.rule, key)
        assert _acted(post) == before
    assert victim.untouched()


def _acted(post: Post) -> int:
    with post.store.read() as session:
        return session.scalar(select(func.count()).select_from(AuditRecord)) or 0


COOKIES = ("restante", "restante-pickup", "restante-sender", "restante-inbox", "restante-admin", "restante-known")
READABLE = ("/message", "/message.eml", "/sent", "/inbox", "/enrol", "/admin/")


def _forged(victim: Victim) -> list[str]:
    token = victim.link.token
    return [
        token, victim.sender_link.token, victim.delivery_id, victim.message_id, victim.link.number.replace(" ", ""),
        victim.link.link_id, f"{token}.{token}", ".".join([token] * 500), "", ".", "...", "0", "null", "true", "-1",
        "' OR 1=1 --", "%00", "\xff\xfe", "a" * 3900, "../" * 99, "{}", base64.b64encode(b'{"admin": true}').decode(),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb3NhIn0.", "IjEi.aaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbb", "rosa", "rosa.rosa.rosa",
    ]  # fmt: skip


@pytest.mark.behaviour("P2")
@pytest.mark.behaviour("A3")
def test_forged_cookies_open_nothing_and_break_nothing(app: Flask, post: Post) -> None:
    victim = Victim(post)
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    values = _forged(victim)
    for value, path in product(values, READABLE):
        client = app.test_client(use_cookies=False)
        cookie = "; ".join(f"__Host-{name}={value}; {name}={value}" for name in COOKIES)
        answer = client.get(path, base_url=URL, headers={"Cookie": cookie})
        assert answer.status_code in {303, 403}, (path, value)
        assert SECRET not in answer.text
    assert len(values) * len(READABLE) * len(COOKIES) > 900
    assert victim.untouched()


def test_a_cookie_of_one_kind_is_worth_nothing_as_another(app: Flask, post: Post) -> None:
    """What is good as the secret of one door, put into the locks of all others."""
    jars: dict[str, str] = {}
    for make in PARTIES.values():
        browser = make(app, post)
        for cookie in (browser.client._cookies or {}).values():  # werkzeug asks for each by its name
            if cookie.key.removeprefix("__Host-") in COOKIES[1:]:
                jars[cookie.key] = cookie.value
    assert len(jars) >= 4
    doors = {"__Host-restante-pickup": "/message", "__Host-restante-sender": "/sent", "__Host-restante-inbox": "/inbox"}
    doors["__Host-restante-admin"] = "/admin/"
    opened: set[str] = set()
    for (name, path), (kind, value) in product(doors.items(), jars.items()):
        client = app.test_client(use_cookies=False)
        answer = client.get(path, base_url=URL, headers={"Cookie": f"{name}={value}"})
        opened.add(name if answer.status_code == 200 else "")
        assert answer.status_code != 200 or name == kind, (path, kind)
    assert len(opened - {""}) >= 3


BENT = """
/message/ //message /./message /message/../message /static/../message /static/%2e%2e/message.eml
/static/..%2f..%2fcommand.py /static/..%5c..%5ccommand.py /static//etc/passwd /static/%00 /static/.
/static/restante.css/ /static/restante.css%00.html /static/restante.css/../../command.py /message%2eeml /MESSAGE
/message;a=b /message/attachments/1/ /message/attachments/01 /message/attachments/+1 /message/attachments/-1
/message/attachments/1e0 /message/attachments/0x1 /message/attachments/\uff11
/message/attachments/99999999999999999999999 /message/body/1%00 /message/body/1/../../../message.eml /p/../message
/p/%2e%2e/message /p/..;/message /p//open /p/x/../../message /p/% /p/%f0%28 /p/\u202e /admin /admin// /admin/../admin/
/admin%2f /admin/messages/../audit /admin/messages/%2e%2e/audit /admin/messages//read /ADMIN/ /brand/../message
/brand/logo/.. /inbox//open /inbox/../open /s/ /s//open /.git/config /.env /wp-login.php /server-status /metrics
/-/metrics /actuator /debug /console /healthz/ /healthz/../message
/message?window[]=1 /message?window=1&window=2
"""


def test_paths_that_are_bent_lead_nowhere(app: Flask, post: Post) -> None:
    victim = Victim(post)
    browser = Browser(app)
    for path in (*BENT.split(), f"/?window={'a' * 3000}"):
        answer = browser.get(path)
        assert answer.status_code in {200, 303, 308, 400, 403, 404}, path
        if answer.status_code == 200:
            assert "A message is waiting" not in answer.text or path.startswith("/?"), path
            assert path.startswith(("/?", "/./", "/static/restante.css")), path
        if answer.status_code == 308:
            assert answer.location.startswith(URL), (path, answer.location)
        for word in (SECRET, "BaseApplication", "root:"):
            assert word not in answer.text, path
        answer.close()
    assert victim.untouched()


def test_there_are_no_metrics_to_leak(app: Flask) -> None:
    """None are kept yet; once they are, tests/e2e/test_canary.py must search them too."""
    assert not [rule.rule for rule in _rules(app) if re.search("metric|status|debug|prometheus", rule.rule)]
