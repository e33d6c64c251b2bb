"""Administrators: signing in, the queue with ten thousand rows, what becomes of a message, and who was first."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event, func, insert, select, text

from restante.store import admins, freezing, queue
from restante.store.engine import Store, new_id
from restante.store.models import AuditRecord, Blob, Delivery, DeliveryState, JobKind, Message, OutboxJob
from restante.vault import DataKey, Opener, Sealer, generate_keypair
from restante_portal.application import create_app
from tests.portal import letters
from tests.portal.conftest import Browser, Post, make_post, make_settings, without_form_keys

PASSWORD = "correct horse battery"
Q = DeliveryState.QUARANTINED


def sign_in(browser: Browser, name: str = "rosa", password: str = PASSWORD) -> Any:
    return browser.post("/admin/sign-in", {"name": name, "password": password})


@pytest.fixture
def reviewer(app: Flask, post: Post) -> Browser:
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    browser = Browser(app)
    assert sign_in(browser).status_code == 303
    return browser


def act(browser: Browser, action: str, *deliveries: str, **more: str) -> Any:
    return browser.post(
        "/admin/act", {"action": action, "delivery": list(deliveries), **more}, form_key=key_of(browser)
    )


def key_of(browser: Browser) -> str:
    return browser.form_key("/admin/")


def job_kinds(post: Post) -> Counter[str]:
    with post.store.read() as session:
        return Counter(session.scalars(select(OutboxJob.kind)))


MESSAGE = "/admin/messages/x"
PROTECTED = [
    "/admin/", "/admin/audit", MESSAGE, f"{MESSAGE}/body/1", f"{MESSAGE}/message.eml", f"{MESSAGE}/attachments/1",
]  # fmt: skip


@pytest.mark.parametrize("path", PROTECTED)
def test_nobody_sees_anything_before_signing_in(browser: Browser, path: str) -> None:
    answer = browser.get(path)
    assert (answer.status_code, answer.location) == (303, "/admin/sign-in")


def test_nobody_does_anything_before_signing_in(browser: Browser, post: Post) -> None:
    delivery_id = post.hold(state=Q)[0]
    answer = browser.post("/admin/act", {"action": "release-portal", "delivery": delivery_id})
    assert answer.location == "/admin/sign-in"
    assert post.state(delivery_id) == Q


def test_wrong_names_and_passwords_are_told_alike_and_throttled(app: Flask, post: Post) -> None:
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    stranger = Browser(app, "198.51.100.1")
    wrong_password, wrong_name = sign_in(stranger, password="x"), sign_in(stranger, name="nobody")
    assert wrong_password.status_code == wrong_name.status_code == 403
    assert without_form_keys(wrong_password.text) == without_form_keys(wrong_name.text)
    statuses = [sign_in(stranger, password="x").status_code for _ in range(6)]
    assert statuses == [403] * 4 + [429] * 2
    assert sign_in(stranger).status_code == 429
    assert sign_in(Browser(app, "192.0.2.1")).status_code == 303


def test_one_client_cannot_try_many_names(app: Flask) -> None:
    stranger = Browser(app, "198.51.100.1")
    statuses = Counter(sign_in(stranger, name=f"name{n}").status_code for n in range(23))
    assert statuses == {403: 20, 429: 3}


def test_strangers_at_the_same_address_do_not_lock_a_reviewer_out(app: Flask, post: Post, reviewer: Browser) -> None:
    admins.add(post.store, "otto", PASSWORD, now=post.clock())
    reviewer.post("/admin/sign-out", form_key=key_of(reviewer))
    stranger = Browser(app, reviewer.address)
    name = "__Host-restante-known"
    real = reviewer.client.get_cookie(name, domain="pickup.test.example", path="/")
    assert real is not None
    assert "rosa" not in real.value
    names = ["rosa"] * 5 + [f"name{number}" for number in range(17)]
    refused = [sign_in(stranger, each, "wrong").status_code for each in names]
    assert refused == [403] * 20 + [429] * 2
    for forged in ("", ".", real.value.partition(".")[0], f"x.{real.value.partition('.')[2]}", real.value + "x", "é.é"):
        stranger.client.set_cookie(name, forged, domain="pickup.test.example", secure=True)
        assert sign_in(stranger).status_code == 429, forged
    stranger.client.set_cookie(name, real.value, domain="pickup.test.example", secure=True)
    assert sign_in(stranger, "otto").status_code == 429  # known for another name only
    assert sign_in(reviewer).status_code == 303
    statuses = [sign_in(reviewer, password="wrong").status_code for _ in range(7)]
    assert statuses == [403] * 5 + [429] * 2  # known, and still not free to guess
    assert sign_in(reviewer).status_code == 429


def test_a_session_ends_at_its_time_at_sign_out_and_when_disabled(app: Flask, post: Post, reviewer: Browser) -> None:
    post.clock.now += 60 * 60 - 1
    assert reviewer.get("/admin/").status_code == 200
    post.clock.now += 2
    assert reviewer.get("/admin/").status_code == 303
    sign_in(reviewer)
    cookie = reviewer.client.get_cookie("__Host-restante-admin", domain="pickup.test.example", path="/")
    assert cookie is not None
    reviewer.post("/admin/sign-out", form_key=key_of(reviewer))
    reviewer.client.set_cookie("__Host-restante-admin", cookie.value, domain="pickup.test.example", secure=True)
    assert reviewer.get("/admin/").status_code == 303
    sign_in(reviewer)
    assert reviewer.get("/admin/").status_code == 200
    admins.disable(post.store, "rosa", now=post.clock())
    assert reviewer.get("/admin/").status_code == 303
    assert sign_in(Browser(app, "192.0.2.3")).status_code == 403


def test_a_form_from_before_signing_in_is_worth_nothing_after_it(app: Flask, post: Post, reviewer: Browser) -> None:
    delivery_id = post.hold(state=Q)[0]
    browser = Browser(app)
    before = browser.form_key("/admin/sign-in")
    release = {"action": "release-portal", "delivery": delivery_id}
    assert browser.post("/admin/act", release, form_key=before).location == "/admin/sign-in"
    assert browser.post("/admin/sign-in", {"name": "rosa", "password": PASSWORD}, form_key=before).status_code == 303
    for key in (before, key_of(reviewer), ""):
        assert browser.post("/admin/act", release, form_key=key).status_code == 400
    assert post.state(delivery_id) == Q
    assert browser.post("/admin/act", release, form_key=key_of(browser)).status_code == 303
    assert post.state(delivery_id) == DeliveryState.HELD


@pytest.mark.behaviour("A2")
@pytest.mark.parametrize(
    ("action", "more", "state", "job"),
    [
        ("release-tls", {}, DeliveryState.HANDOVER, JobKind.HANDOVER),
        ("release-portal", {}, DeliveryState.HELD, JobKind.NOTIFY),
        ("reject", {"confirmed": "yes", "text": "Not like this."}, DeliveryState.REJECTED, JobKind.TELL_REJECTED),
        ("delete", {"confirmed": "yes"}, DeliveryState.DELETED, None),
    ],
)
def test_one_or_many_are_dealt_with(
    post: Post, reviewer: Browser, action: str, more: dict[str, str], state: DeliveryState, job: JobKind | None
) -> None:
    chosen = [post.hold(state=Q)[0] for _ in range(3)]
    before = job_kinds(post)
    assert act(reviewer, action, *chosen, **more).status_code == 303
    assert {post.state(each) for each in chosen} == {state}
    assert job_kinds(post) - before == (Counter({job: 3}) if job else Counter())
    with post.store.read() as session:
        actors = session.scalars(select(AuditRecord.actor).where(AuditRecord.action == f"became-{state}")).all()
    assert actors == ["admin:rosa"] * 3


def test_a_release_to_tls_is_sealed_to_the_worker(post: Post, reviewer: Browser) -> None:
    delivery_id = post.hold(state=Q)[0]
    act(reviewer, "release-tls", delivery_id)
    with post.store.read() as session:
        job = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.HANDOVER)).one()
        blob_id = session.scalars(select(Message.blob_id).where(Message.id == job.message_id)).one()
    Opener(post.worker_private).unwrap(blob_id, job.sealed)
    assert job.payload["deadline"] == pytest.approx(post.clock() + 24 * 3600)


@pytest.mark.parametrize("action", ["reject", "delete"])
def test_rejecting_and_deleting_ask_first(post: Post, reviewer: Browser, action: str) -> None:
    delivery_id = post.hold(state=Q)[0]
    answer = act(reviewer, action, delivery_id)
    assert answer.status_code == 200
    assert "rita@patients.example" in answer.text
    assert post.state(delivery_id) == Q
    if action == "reject":
        assert act(reviewer, action, delivery_id, confirmed="yes", text="  ").status_code == 400
        assert post.state(delivery_id) == Q


@pytest.mark.behaviour("A2")
def test_of_two_reviewers_one_wins_and_the_other_is_told(app: Flask, post: Post, reviewer: Browser) -> None:
    admins.add(post.store, "otto", PASSWORD, now=post.clock())
    other = Browser(app)
    sign_in(other, "otto")
    delivery_id = post.hold(state=Q)[0]
    act(reviewer, "release-portal", delivery_id)
    answer = act(other, "release-tls", delivery_id)
    page = other.get(answer.location).text
    assert "Someone was first" in page
    assert "waiting for the recipient" in page
    assert post.state(delivery_id) == DeliveryState.HELD
    assert job_kinds(post)[JobKind.HANDOVER] == 0


@pytest.mark.behaviour("A2")
def test_two_reviewers_at_the_same_moment_release_once(app: Flask, post: Post, reviewer: Browser) -> None:
    chosen = [post.hold(state=Q)[0] for _ in range(10)]
    browsers = [reviewer, Browser(app)]
    sign_in(browsers[1])
    before = job_kinds(post)
    keys = [key_of(browser) for browser in browsers]
    start = threading.Barrier(2)

    def release(number: int) -> None:
        start.wait(10)
        form = {"action": ("release-tls", "release-portal")[number], "delivery": chosen}
        browsers[number].post("/admin/act", form, form_key=keys[number])

    threads = [threading.Thread(target=release, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum((job_kinds(post) - before).values()) == 10
    assert {post.state(each) for each in chosen} <= {DeliveryState.HELD, DeliveryState.HANDOVER}


def test_odd_requests_to_act_change_nothing(post: Post, reviewer: Browser) -> None:
    delivery_id = post.hold(state=Q)[0]
    assert act(reviewer, "explode", delivery_id).status_code == 400
    assert act(reviewer, "release-tls").status_code == 303
    assert act(reviewer, "release-tls", "nonsense").status_code == 303
    assert post.state(delivery_id) == Q


def test_a_message_for_another_key_is_listed_and_stays(post: Post, reviewer: Browser) -> None:
    delivery_id = post.hold(state=Q, vault=Sealer("old", generate_keypair()[1]))[0]
    assert "(cannot be opened)" in reviewer.get("/admin/").text
    assert reviewer.get(f"/admin/messages/{delivery_id}").status_code == 503
    answer = act(reviewer, "release-tls", delivery_id)
    assert "could not be opened" in reviewer.get(answer.location).text
    assert post.state(delivery_id) == Q


def test_a_message_is_shown_with_findings_copies_and_a_safe_body(post: Post, reviewer: Browser) -> None:
    people = ("rita@patients.example", "otto@patients.example")
    delivery_id = post.hold(letters.RICH, recipients=people, state=Q, summary=letters.SUMMARY)[0]
    path = f"/admin/messages/{delivery_id}"
    assert reviewer.post(f"{path}/read", {"reason": "ticket 7"}, form_key=key_of(reviewer)).location == path
    page = reviewer.get(path).text
    for expected in ("Befund und Röntgenbild", "payment-card", "************1111", *people, "no TLS at any MX host"):
        assert expected in page
    assert "spy.example" not in page
    framed = reviewer.get(f"/admin/messages/{delivery_id}/body/2")
    assert "unauffällig" in framed.text
    assert "sandbox" in framed.headers["Content-Security-Policy"]
    assert reviewer.get(f"/admin/messages/{delivery_id}/attachments/4").data == letters.ATTACHMENT
    with post.store.read() as session:
        records = session.scalars(select(AuditRecord).where(AuditRecord.actor == "admin:rosa")).all()
    assert [(each.action, each.detail) for each in records[1:]] == [
        ("asked-to-read", {"reason": "ticket 7"}),
        ("viewed", {}),
        ("downloaded", {"part": 4}),
    ]


@pytest.mark.behaviour("A4")
def test_the_content_is_shown_after_a_reason_to_who_gave_it_until_the_next_sign_in(
    app: Flask, post: Post, reviewer: Browser
) -> None:
    delivery_id, other = (post.hold(letters.RICH, state=Q, summary=letters.SUMMARY)[0] for _ in range(2))
    path = f"/admin/messages/{delivery_id}"
    parts = [f"{path}/body/2", f"{path}/attachments/4", f"{path}/message.eml"]

    def sees(browser: Browser) -> bool:
        shown = "iframe" in browser.get(path).text
        assert {browser.get(part).status_code for part in parts} == ({200} if shown else {403})
        return shown

    def give(browser: Browser, reason: str, delivery: str = delivery_id) -> int:
        form = {"reason": reason}
        answer = browser.post(f"/admin/messages/{delivery}/read", form, form_key=key_of(browser))
        return int(answer.status_code)

    assert not sees(reviewer)
    assert "************1111" in reviewer.get(path).text  # what was found stays in sight, masked
    assert [give(reviewer, "  "), give(reviewer, "x")] == [400, 400]
    assert give(reviewer, "ticket 8", other) == 303
    assert not sees(reviewer)
    assert give(reviewer, "ticket 7") == 303
    assert sees(reviewer)
    admins.add(post.store, "otto", PASSWORD, now=post.clock())
    admins.add(post.store, "aud", PASSWORD, role="auditor", now=post.clock())
    for name, status in (("otto", 303), ("aud", 403)):
        colleague = Browser(app)
        sign_in(colleague, name)
        assert not sees(colleague)
        assert give(colleague, "ticket 7") == status
        assert sees(colleague) is (status == 303)
    post.clock.now += 3601
    sign_in(reviewer)
    assert not sees(reviewer)


def test_a_reviewer_lifts_a_freeze(app: Flask, post: Post, reviewer: Browser) -> None:
    delivery_id = post.hold()[0]
    assert "Let it be opened again" not in reviewer.get(f"/admin/messages/{delivery_id}").text
    Browser(app, "203.0.113.5").open(post.link(delivery_id))
    freezing.freeze(post.store, delivery_id, actor="recipient", now=post.clock())
    page = reviewer.get(f"/admin/messages/{delivery_id}").text
    assert "somebody else opened it" in page
    answer = act(reviewer, "lift", delivery_id)
    assert "can be opened again" in reviewer.get(answer.location).text
    assert "Someone was first" in reviewer.get(act(reviewer, "lift", delivery_id).location).text
    assert Browser(app, "203.0.113.6").open(post.link(delivery_id)).status_code == 303


def test_hostile_subjects_and_names_are_text(post: Post, reviewer: Browser) -> None:
    trap = "<script>alert(1)</script>"
    summary = {"subject": trap, "findings": [{"detector": trap, "match": trap}, "odd", None]}
    delivery_id = post.hold(state=Q, sender=f'"{trap}"@x.example', summary=summary)[0]
    reviewer.post(f"/admin/messages/{delivery_id}/read", {"reason": trap}, form_key=key_of(reviewer))
    for path in ("/admin/", f"/admin/messages/{delivery_id}", "/admin/audit"):
        answer = reviewer.get(path)
        assert answer.status_code == 200
        assert "<script" not in answer.text


def test_a_summary_without_its_keys_is_tolerated(post: Post, reviewer: Browser) -> None:
    for summary in ({"findings": None}, {"subject": None, "findings": "x"}, {"findings": 3}):
        delivery_id = post.hold(state=Q, summary=summary)[0]
        assert reviewer.get(f"/admin/messages/{delivery_id}").status_code == 200
    assert reviewer.get("/admin/").status_code == 200


def fill(post: Post, rows: int) -> None:
    """Ten thousand quarantined messages, written straight into the tables."""
    key = DataKey.fresh(new_id())
    start = post.clock() - rows
    blobs: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    deliveries: list[dict[str, Any]] = []
    for number in range(rows):
        blob_id, message_id, at = new_id(), new_id(), start + number // 3  # several of one moment
        key = DataKey.fresh(blob_id)
        blobs.append({"id": blob_id, "key_id": "k1", "wrapped_key": post.vault.wrap(key), "size": 1})
        messages.append({
            "id": message_id, "created_at": at, "expires_at": at + 1e6, "sender": f"user{number % 50}@clinic.example",
            "header_message_id": "", "fingerprint": new_id().encode(), "blob_id": blob_id, "size": 1,
            "rule": f"rule-{number % 5}", "requirement": "encrypted", "always_code": False,
            "summary": key.seal_note(b'{"subject": "Subject %d"}' % number, "summary"),
        })  # fmt: skip
        deliveries.append({
            "id": new_id(), "message_id": message_id, "recipient": f"r{number}@d{number % 100}.example",
            "domain": f"d{number % 100}.example", "route": "quarantine", "state": Q, "reason": "rule",
            "created_at": at, "changed_at": at,
        })  # fmt: skip
    with post.store.write() as session:
        for table, values in ((Blob, blobs), (Message, messages), (Delivery, deliveries)):
            session.execute(insert(table), values)
    with post.store.write() as session:
        session.execute(text("ANALYZE"))


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The steps of a plan of PostgreSQL's, from the top down."""
    return [plan, *(node for child in plan.get("Plans", ()) for node in _nodes(child))]


def _assert_reads_only_what_it_shows(post: Post, after: queue.Cursor | None) -> None:
    """The database goes to where the page begins, by an index, and stops where it ends."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(post.store.engine, "before_cursor_execute", note)
    queue.page(post.store, queue.Filter(), after=after, limit=50)
    event.remove(post.store.engine, "before_cursor_execute", note)
    statement, parameters = asked[-1]
    postgresql = post.store.engine.dialect.name == "postgresql"
    explain = "EXPLAIN (ANALYZE, FORMAT JSON)" if postgresql else "EXPLAIN QUERY PLAN"
    with post.store.read() as session:
        told = session.connection().exec_driver_sql(f"{explain} {statement}", parameters).all()
    if postgresql:
        steps = _nodes(told[0][0][0]["Plan"])
        assert max(step["Actual Rows"] * step["Actual Loops"] for step in steps) <= 60, steps
        assert sum(step.get("Rows Removed by Filter", 0) for step in steps) <= 60, steps
    else:
        assert [row[3].partition(" ")[0] for row in told] == ["SEARCH"] * 3, told


@pytest.mark.behaviour("A1")
def test_ten_thousand_rows_are_paged_and_filtered(database_url: str, tmp_path: Any) -> None:
    settings, worker = make_settings(tmp_path, database_url)
    post = make_post(settings, worker)
    fill(post, 10_000)
    seen: list[str] = []
    cursor = None
    while True:
        page = queue.page(post.store, queue.Filter(), after=cursor, limit=50)
        seen += [row.delivery_id for row in page.rows]
        if page.after is None:
            break
        if len(seen) in {50, 5000, 9950}:
            _assert_reads_only_what_it_shows(post, cursor)
        cursor = queue.Cursor.parse(str(page.after))
    assert (len(seen), len(set(seen))) == (10_000, 10_000)
    oldest = queue.page(post.store, queue.Filter(oldest_first=True), limit=50)
    assert {row.delivery_id for row in oldest.rows[:45]} <= set(seen[-60:])
    for wanted, expected in (
        (queue.Filter(), 10_000),
        (queue.Filter(domain="D7.example"), 100),
        (queue.Filter(rule="rule-3"), 2000),
        (queue.Filter(sender="USER7@"), 200),
        (queue.Filter(text="r77@"), 1),
        (queue.Filter(text="%"), 0),
        (queue.Filter(domain="d7.example", rule="rule-3"), 0),
        (queue.Filter(state=DeliveryState.HELD), 0),
    ):
        assert queue.count(post.store, wanted) == expected, wanted
        assert len(queue.page(post.store, wanted, limit=50).rows) == min(50, expected)
    post.store.close()


@pytest.mark.behaviour("A1")
def test_the_queue_page_shows_subjects_of_its_own_rows_only(app: Flask, post: Post, reviewer: Browser) -> None:
    fill(post, 10_000)
    page = reviewer.get("/admin/").text
    assert page.count('name="delivery"') == 50
    assert "10,000 copies" in page
    following = page.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    second = reviewer.get(following).text
    assert second.count('name="delivery"') == 50
    assert not set(_subjects(page)) & set(_subjects(second))
    assert "1 copy" in reviewer.get("/admin/?text=r77@&domain=d77.example").text


@pytest.mark.behaviour("A2")
def test_a_reviewer_works_on_either_database_whatever_is_typed(database_url: str, tmp_path: Any) -> None:
    settings, worker = make_settings(tmp_path, database_url)
    post = make_post(settings, worker)
    admins.add(post.store, "rosa", PASSWORD, now=post.clock())
    reviewer = Browser(create_app(settings, store=post.store, clock=post.clock))
    assert sign_in(reviewer, name="ro\0sa%", password="\0").status_code == 403
    assert sign_in(reviewer).status_code == 303
    delivery_id = post.hold(state=Q)[0]
    odd_queries = (
        "?after=x", "?after=nan~x", "?after=nan~0", "?after=1e999~0", "?state=none", "?after=~", "?text=%00",
        "?sender=%ff", "?domain=%00&rule=%00", "audit?message=%00", "audit?before=99999999999999999999",
    )  # fmt: skip
    for odd in odd_queries:
        assert reviewer.get("/admin/" + odd).status_code == 200, odd
    for odd in ("%00", "x" * 3000, delivery_id.upper(), "..%2f.."):
        assert reviewer.get(f"/admin/messages/{odd}").status_code == 404, odd
    act(reviewer, "delete", "\0", "x" * 100, confirmed="yes")
    act(reviewer, "reject", delivery_id, confirmed="yes", text="No\0, thanks.\r\nR.")
    with post.store.read() as session:
        job = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.TELL_REJECTED)).one()
    assert job.payload["text"] == "No, thanks.\nR."
    post.store.close()


def _subjects(page: str) -> list[str]:
    return [each.partition("<")[0] for each in page.split(">Subject ")[1:]]


def test_the_queue_uses_its_index(post: Post) -> None:
    fill(post, 2000)
    with post.store.read() as session:
        plan = " ".join(
            str(row)
            for row in session.execute(
                text(
                    "EXPLAIN QUERY PLAN SELECT d.id FROM deliveries d JOIN messages m ON m.id = d.message_id"
                    " WHERE d.state = 'quarantined' AND (d.created_at, d.id) < (1.0, 'x')"
                    " ORDER BY d.created_at DESC, d.id DESC LIMIT 51"
                )
            )
        )
    assert "ix_deliveries_state_created_at_id" in plan
    assert "TEMP B-TREE" not in plan


def test_the_audit_trail_pages(post: Post, reviewer: Browser) -> None:
    for _ in range(130):
        post.hold()
    first = reviewer.get("/admin/audit").text
    assert first.count("<tr>") == 101
    before = first.partition("?before=")[2].partition('"')[0]
    rest = reviewer.get(f"/admin/audit?before={before}").text
    assert "added-administrator" in rest
    assert "Next page" not in rest
    assert reviewer.get("/admin/audit?before=x&message=%00").status_code == 200
    with post.store.read() as session:
        message_id, total = (
            session.scalar(select(Message.id).limit(1)),
            session.scalar(select(func.count(AuditRecord.id))),
        )
    assert total
    assert reviewer.get(f"/admin/audit?message={message_id}").text.count("<tr>") == 2


def test_administrators_are_added_once_and_with_a_real_password(database_url: str, tmp_path: Any) -> None:
    settings, worker = make_settings(tmp_path, database_url)
    post = make_post(settings, worker)
    store: Store = post.store
    admins.add(store, " Rosa ", PASSWORD, now=1)
    for name, password in (
        ("rosa", PASSWORD),
        ("otto", "short"),
        ("", PASSWORD),
        ("a b", PASSWORD),
        ("x" * 70, PASSWORD),
    ):
        with pytest.raises(admins.BadAdministrator):
            admins.add(store, name, password, now=1)
    secret = admins.sign_in(store, "ROSA", PASSWORD, session_seconds=100, now=1)
    assert admins.signed_in(store, secret, now=100).actor == "admin:rosa"
    for made_up in ("", "x", secret + "x"):
        with pytest.raises(admins.NotSignedIn):
            admins.signed_in(store, made_up, now=2)
    with pytest.raises(admins.BadAdministrator):
        admins.disable(store, "nobody", now=1)
    store.close()
