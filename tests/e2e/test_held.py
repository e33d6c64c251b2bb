"""Held mail from the client's 250 to the recipient's screen, through Postfix, the worker and the portal over HTTP."""

from __future__ import annotations

import random
import re
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from pathlib import Path

import pytest
from sqlalchemy import select, update

from restante.store.models import Blob, BlobSegment, DeliveryState, Link, Message, OutboxJob, PickupSession
from tests.e2e.visitor import CODE, Answer, Visitor, code_for, number_in, text_of, token_in
from tests.e2e.world import SENDER, World
from tests.lab.peers import Peer, ReceivedMail
from tests.lab.services import Service
from tests.lab.waiting import wait_until

CROWD = 50


@pytest.fixture
def peer(world: World) -> Peer:
    """A recipient's MTA without TLS."""
    return world.peer("clear")


class Waiting:
    """A message that waits in the portal, with what its recipient and its sender were told."""

    def __init__(self, world: World, recipient: str, message: EmailMessage | None = None) -> None:
        self.recipient = recipient
        if message is None:
            world.post(recipient)
        else:
            assert world.send(message, recipient).accepted
        notice = world.wait_for_notice(recipient)
        self.token, self.number = token_in(notice), number_in(notice)
        self.code = code_for(_sender_notice(world, recipient), recipient)


def _sender_notice(world: World, recipient: str) -> ReceivedMail:
    """The first notice to the sender that speaks of ``recipient``."""
    world.wait_for_notice(SENDER)

    def found() -> list[ReceivedMail]:
        return [one for one in world.notices(SENDER) if recipient in text_of(one)]

    return wait_until(found, 15, f"a notice to the sender about {recipient}")[0]


@pytest.fixture
def waiting(world: World, peer: Peer) -> Waiting:
    """One message to a peer without TLS."""
    return Waiting(world, f"carol@{peer.domain}")


def visitor(world: World, source: str = "127.0.0.1") -> Visitor:
    return Visitor(world.services.portal_url, source)


def assert_opens(world: World, waiting: Waiting) -> Visitor:
    browser = visitor(world)
    answer = browser.open(waiting.token, waiting.code)
    assert (answer.status, answer.location) == (303, "/message")
    assert world.marker in browser.get("/message").text
    return browser


@pytest.mark.behaviour("P1")
def test_the_link_that_the_peer_received_opens_once_and_nothing_less_than_a_person_uses_it_up(
    world: World, waiting: Waiting
) -> None:
    link = f"/p/{waiting.token}"
    for method, path, headers in (
        ("GET", link, {}),
        ("HEAD", link, {}),
        ("OPTIONS", link, {}),
        ("GET", link, {"Sec-Purpose": "prefetch;prerender", "Purpose": "prefetch"}),
        ("GET", f"{link}/open", {}),
        ("HEAD", f"{link}/open", {}),
        ("POST", link, {}),
        ("POST", f"{link}/open", {}),
    ):
        scanner = visitor(world)
        form = {"code": "AAAA-AAAA"} if method == "POST" else None
        for _ in range(2):
            scanner.request(method, path, form, headers)
    assert visitor(world).open(waiting.token).status == 400  # a bot that runs the form, without the code
    assert visitor(world).open(waiting.token, "AAAA-AAAA").status == 403
    assert world.states() == {waiting.recipient: DeliveryState.HELD}
    browser = assert_opens(world, waiting)
    world.wait_until_held(waiting.recipient, DeliveryState.OPENED)
    other = visitor(world)
    assert other.open(waiting.token, waiting.code).status == 404
    assert other.get("/message").status == 403
    assert world.marker in browser.get("/message").text


@pytest.mark.behaviour("P1")
def test_of_fifty_people_at_once_one_opens_the_link(world: World) -> None:
    # Over TLS, so that no code stands between them: the claim alone decides.
    peer = world.portal_only()
    recipient = f"carol@{peer.domain}"
    world.look(peer.domain)
    world.post(recipient)
    notice = world.wait_for_notice(recipient)
    token, number = token_in(notice), number_in(notice)
    browsers = [visitor(world, f"127.0.1.{count}") for count in range(1, CROWD + 1)]
    together = threading.Barrier(CROWD)

    def rush(browser: Visitor) -> Answer:
        together.wait()
        return browser.open(token, number=number)

    with ThreadPoolExecutor(CROWD) as crowd:
        answers = list(crowd.map(rush, browsers))
    assert sorted(answer.status for answer in answers) == [303] + [404] * (CROWD - 1)
    readers = [browser for browser in browsers if world.marker in browser.get("/message").text]
    assert len(readers) == 1
    with world.store.read() as session:
        assert len(session.scalars(select(PickupSession.id)).all()) == 1
    assert world.audit().count("became-opened") == 1


@pytest.mark.behaviour("S2")
@pytest.mark.behaviour("S3")
def test_from_the_confirmation_the_sender_sees_and_takes_back_what_was_opened(world: World, waiting: Waiting) -> None:
    reader = assert_opens(world, waiting)
    notice = _sender_notice(world, waiting.recipient)
    path = f"/s/{found[1]}" if (found := re.search(r"/s/([\w-]{43})", text_of(notice))) else ""
    sender = visitor(world)
    assert sender.submit(path, f"{path}/open", number=waiting.number).status == 403  # the recipient's, not the sender's
    opened = sender.submit(path, f"{path}/open", number=number_in(notice))
    assert opened.status == 303
    page = sender.get(opened.location).text
    assert "Opened in the portal" in page
    assert world.marker not in page
    delivery = world.wait_until_held(waiting.recipient, DeliveryState.OPENED).delivery_id
    assert visitor(world).submit(path, "/sent", action="recall", delivery=delivery).status == 403
    assert sender.submit(path, "/sent", action="recall", delivery=delivery).status == 303
    assert reader.get("/message").status == 403
    assert world.states() == {waiting.recipient: DeliveryState.RECALLED}


@pytest.mark.behaviour("P2")
def test_the_browser_that_opened_reloads_and_resumes_and_no_other_does(world: World, waiting: Waiting) -> None:
    browser = assert_opens(world, waiting)
    whole = browser.get("/message.eml")
    assert whole.status == 200
    assert whole.body == world.content_of(world.wait_until_held(waiting.recipient, DeliveryState.OPENED))
    half = len(whole.body) // 2
    rest = browser.get("/message.eml", Range=f"bytes={half}-")
    assert (rest.status, rest.body) == (206, whole.body[half:])
    assert rest.headers["Content-Range"] == f"bytes {half}-{len(whole.body) - 1}/{len(whole.body)}"
    for _ in range(3):
        assert world.marker in browser.get("/message").text
    again = browser.open(waiting.token)  # the same browser may use its link again: it finds its window
    assert again.status == 303
    other = visitor(world)
    for path in ("/message", "/message.eml", "/message/body", "/message/attachments/1"):
        answer = other.get(path)
        assert answer.status == 403
        assert world.marker not in answer.text


@pytest.mark.behaviour("P3")
@pytest.mark.behaviour("P4")
def test_notices_hold_nothing_of_the_content(world: World, peer: Peer) -> None:
    message = world.sensitive(f"carol@{peer.domain}")
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename=f"{world.marker}.pdf")
    waiting = Waiting(world, f"carol@{peer.domain}", message)
    for notice in (*world.notices(waiting.recipient), *world.notices(SENDER)):
        for text in (notice.content.decode("utf-8", "replace"), text_of(notice), notice.subject):
            assert world.marker not in text
            assert "your results" not in text
    assert f"{world.services.portal_url}/ and nothing else" in text_of(world.wait_for_notice(waiting.recipient))


@pytest.mark.behaviour("P6")
def test_a_fresh_link_goes_to_the_same_mailbox_and_nowhere_else(world: World, peer: Peer, waiting: Waiting) -> None:
    bystander = world.peer("clear")
    assert_opens(world, waiting)
    stranger = visitor(world)
    mallory, number = f"mallory@{bystander.domain}", waiting.number
    answer = stranger.submit(f"/p/{waiting.token}", f"/p/{waiting.token}/fresh", number=number, to=mallory)
    assert (answer.status, answer.location) == (303, "/asked")
    unknown = visitor(world).submit(f"/p/{'x' * 43}", f"/p/{'x' * 43}/fresh", number=number)
    assert (unknown.status, unknown.location, unknown.body) == (answer.status, answer.location, answer.body)
    wait_until(lambda: len(world.notices(waiting.recipient)) == 2, 15, "the second notice")
    world.settle()
    fresh = token_in(world.notices(waiting.recipient)[1])
    assert fresh != waiting.token
    assert bystander.mails() == []
    assert {one.recipients for one in peer.mails()} == {(waiting.recipient,)}
    assert visitor(world).open(waiting.token, waiting.code).status == 404
    assert visitor(world).open(fresh).status == 400
    reader = visitor(world)
    assert reader.open(fresh, waiting.code).status == 303  # the code that the sender gave stays valid
    assert world.marker in reader.get("/message").text


HOSTILE = """<html><head><style>body{background:url(https://spy.example/style)}</style>
<script>document.title='script ran'</script></head><body onload="alert(1)">
<p>Good morning, MARKER.</p><img src="https://spy.example/pixel.gif"><img src="x" onerror="alert(2)">
<iframe src="https://spy.example/frame"></iframe><a href="javascript:alert(3)">press</a>
<form action="https://spy.example/form"><input name="password"></form>
<svg><script>alert(4)</script></svg></body></html>"""


@pytest.mark.behaviour("P7")
def test_attachments_arrive_byte_by_byte_and_hostile_html_does_nothing(world: World, peer: Peer) -> None:
    attachment = random.Random(world.marker).randbytes(400_003)
    message = world.sensitive(f"carol@{peer.domain}")
    message.add_alternative(HOSTILE.replace("MARKER", world.marker), subtype="html")
    message.add_attachment(attachment, maintype="text", subtype="html", filename="results.html")
    browser = assert_opens(world, Waiting(world, f"carol@{peer.domain}", message))
    page = browser.get("/message").text
    (path,) = {part for part in page.split('"') if part.startswith("/message/attachments/")}
    whole = browser.get(path)
    assert (whole.status, whole.body == attachment) == (200, True)
    resumed = browser.get(path, Range="bytes=150000-")
    assert (resumed.status, resumed.body == attachment[150_000:]) == (206, True)
    for answer in (whole, resumed):
        assert answer.headers["Content-Disposition"].startswith("attachment")
        assert answer.headers["Content-Type"].partition(";")[0] == "application/octet-stream"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    (frame,) = {part for part in page.split('"') if part.startswith("/message/body")}
    body = browser.get(frame)
    assert world.marker in body.text
    assert "sandbox" in body.headers["Content-Security-Policy"]
    assert "default-src 'none'" in body.headers["Content-Security-Policy"]
    for danger in ("<script", "onload", "onerror", "<iframe", "javascript:", "<form", "<input", "spy.example/style"):
        assert danger not in body.text
    assert 'src="https://spy.example' not in body.text


def _temporary_files() -> Iterator[Path]:
    return (path for path in Path("/tmp").glob("restante-*") if path.is_file())


@pytest.mark.behaviour("P11")
def test_the_spool_of_a_large_message_under_way_is_sealed_and_has_no_name(world: World, peer: Peer) -> None:
    line = f"{world.marker} line of a large message\r\n".encode()
    message = world.sensitive(f"carol@{peer.domain}").as_bytes().replace(b"\n", b"\r\n")
    seen: list[bytes] = []
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.extend(_spools(world))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answer = world.send(message + line * (12_000_000 // len(line)), f"carol@{peer.domain}")
    finally:
        done.set()
        watcher.join()
    assert answer.accepted
    assert max(map(len, seen), default=0) > 1_000_000
    assert not any(world.marker.encode() in content for content in seen)
    assert list(_temporary_files()) == []
    world.wait_until_held(f"carol@{peer.domain}")
    world.settle()


def _spools(world: World) -> Iterator[bytes]:
    """What stands in the unlinked files that the milter's children have open now, up to two megabytes of each."""
    parent = world.services.process(Service.MILTER).pid
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split():
        for descriptor in Path(f"/proc/{child}/fd").glob("*"):
            try:
                name = str(descriptor.readlink())
                if name.startswith(tempfile.gettempdir()) and name.endswith("(deleted)"):
                    with descriptor.open("rb") as file:
                        yield file.read(2_000_000)
            except OSError:
                continue  # closed meanwhile


@pytest.mark.behaviour("P10")
@pytest.mark.behaviour("P12")
def test_expiry_destroys_the_message_in_open_windows_too(world: World, waiting: Waiting) -> None:
    browser = assert_opens(world, waiting)
    unopened = visitor(world)
    with world.store.write() as session:
        session.execute(update(Message).values(expires_at=1.0))
    assert browser.get("/message").status == 403
    world.services.restart(Service.WORKER)  # it looks for what has expired at its start and then every minute
    expired = world.wait_until_held(waiting.recipient, DeliveryState.EXPIRED)
    with world.store.read() as session:
        (blob,) = session.scalars(select(Blob)).all()
        assert blob.wrapped_key is None
        assert session.scalars(select(BlobSegment.number)).all() == []
        assert set(session.scalars(select(OutboxJob.sealed))) == {None}
        assert "live" not in set(session.scalars(select(Link.state)))
    assert unopened.open(waiting.token, waiting.code).status == 404
    assert browser.get("/message.eml").status == 403
    assert world.audit().count("became-expired") == 1
    assert expired.state is DeliveryState.EXPIRED


@pytest.mark.behaviour("P4")
def test_a_notice_over_tls_needs_no_code_and_where_tls_is_gone_a_new_one_in_clear_does(world: World) -> None:
    peer = world.portal_only()
    recipient = f"carol@{peer.domain}"
    world.look(peer.domain)
    world.post(recipient)
    notice = world.wait_for_notice(recipient)
    assert notice.tls
    assert CODE.search(text_of(world.wait_for_notice(SENDER))) is None
    reader = visitor(world)
    assert reader.open(token_in(notice), number=number_in(notice)).status == 303
    assert world.marker in reader.get("/message").text
    world.settle()
    peer.behave("clear")  # the cached evidence still says TLS
    world.post(recipient)
    wait_until(lambda: len(world.notices(recipient)) == 2, 40, "the notice in clear")
    second = world.notices(recipient)[1]
    assert not second.tls
    token = token_in(second)
    wait_until(lambda: any(CODE.search(text_of(one)) for one in world.notices(SENDER)), 20, "the code")
    world.settle()
    (code,) = {code_for(one, recipient) for one in world.notices(SENDER) if CODE.search(text_of(one))}
    stranger = visitor(world)
    assert stranger.open(token).status == 400
    assert visitor(world).open(token, code).status == 303
    world.assert_never_clear()
