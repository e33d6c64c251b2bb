"""By which way an access code reaches the recipient: sender, telephone, phrase; and what happens when it cannot."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from structlog.testing import capture_logs

from restante.access import CodeWay, NoticeForm, Proof
from restante.settings import SmsSettings
from restante.store import freezing, links, phrases
from restante.tokens import plain_number
from restante_milter.phone_book import BadPhoneBook, PhoneBook
from restante_milter.text_message import NotSent, TextMessages
from tests.milter.test_jobs import CODE, NUMBER, TOKEN, Office

BOB, SENDER = "bob@x.example", "ann@site.example"
TELEPHONE = "+4930123456"


def phone_book(folder: Path, text: str = f"# people\n{BOB.upper()} +49 30 / 123-456  # reception\n") -> Path:
    path = folder / "phones"
    path.write_text(text, encoding="utf-8")
    return path


def by_command(folder: Path, script: str = 'echo "$1" > "$0.out"; cat >> "$0.out"') -> SmsSettings:
    """A way that runs ``script``, whose output is beside it."""
    (folder / "send").write_text(script, encoding="utf-8")
    return SmsSettings(command=("/bin/sh", str(folder / "send"), "{number}"), numbers=phone_book(folder), seconds=10)


def sent(folder: Path) -> str:
    path = folder / "send.out"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def deliver(office: Office, way: CodeWay, form: NoticeForm = NoticeForm.LINK) -> None:
    """Hold a message for Bob, and send all notices."""
    office.hold(BOB, code_way=way, notice=form)
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()


def live_link(office: Office) -> links.LiveLink:
    found = TOKEN.search(office.mailbox.last_to(BOB))
    assert found is not None
    return links.find_live_link(office.holder.store, found[1], now=time.time())


@pytest.mark.behaviour("P4")
def test_a_code_goes_to_the_telephone_and_into_no_mail(tmp_path: Path) -> None:
    office = Office(tmp_path, by_command(tmp_path))
    with capture_logs() as logs:
        deliver(office, CodeWay.SMS)
    number, _, words = sent(tmp_path).partition("\n")
    assert number == TELEPHONE
    code = CODE.search(words)
    assert code is not None
    assert SENDER in words
    assert links.is_code(live_link(office), code[0])
    for _, mail in office.mailbox.mails:
        assert code[0] not in mail.as_string()
        assert TELEPHONE not in mail.as_string()
    assert "comes to your telephone" in office.mailbox.last_to(BOB)
    assert "was sent to the recipient's telephone" in " ".join(office.mailbox.last_to(SENDER).split())
    assert not any(secret in str(logs) for secret in (code[0], TELEPHONE))
    office.holder.store.close()


@pytest.mark.behaviour("P4")
@pytest.mark.parametrize(
    ("script", "book"),
    [
        ("exit 3", None),
        ("exec sleep 60", None),
        ("exit 0", "somebody@else.example +49301234567\n"),
        ("exit 0", "bob@x.example none\n"),
    ],
    ids=["refused", "slow", "unknown", "bad book"],
)
def test_where_no_text_message_can_be_sent_the_sender_has_the_code(
    tmp_path: Path, script: str, book: str | None
) -> None:
    sms = by_command(tmp_path, script).model_copy(update={"seconds": 0.5})
    if book is not None:
        phone_book(tmp_path, book)
    office = Office(tmp_path, sms)
    with capture_logs() as logs:
        deliver(office, CodeWay.SMS)
    code = CODE.search(office.mailbox.last_to(SENDER))
    assert code is not None
    link = live_link(office)
    assert links.is_code(link, code[0])
    assert link.code_way is CodeWay.SENDER  # so that the page says who has it
    assert code[0] not in str(logs)
    office.holder.store.close()


@pytest.mark.behaviour("P4")
def test_a_phrase_opens_and_no_mail_holds_a_code(tmp_path: Path) -> None:
    office = Office(tmp_path)
    store = office.holder.store
    phrases.agree(store, BOB.upper(), "The Yellow  Submarine", actor="operator", now=1)
    deliver(office, CodeWay.PHRASE)
    link = live_link(office)
    assert link.code_way is CodeWay.PHRASE
    assert links.is_code(link, " the yellow submarine ")
    assert not links.is_code(link, "the yellow submarines")
    assert not any(CODE.search(mail.as_string()) for _, mail in office.mailbox.mails)
    phrases.forget(store, BOB, actor="operator", now=2)
    deliver(office, CodeWay.PHRASE)
    assert live_link(office).code_way is CodeWay.SENDER
    assert "no phrase is agreed" in office.mailbox.last_to(SENDER)
    store.close()


@pytest.mark.behaviour("P4")
def test_after_a_freeze_the_agreed_phrase_opens_the_copy_no_more(tmp_path: Path) -> None:
    """Whoever opened it wrongly may have known the phrase."""
    office = Office(tmp_path)
    store = office.holder.store
    phrases.agree(store, BOB, "The Yellow  Submarine", actor="operator", now=1)
    deliver(office, CodeWay.PHRASE)
    link = live_link(office)
    opener = office.holder.keys.vault_opener
    links.claim(store, opener, link.link_id, window_seconds=60, now=time.time(), proof=Proof.CODE)
    freezing.freeze(store, link.delivery_id, actor="recipient", now=time.time())
    freezing.lift(store, link.delivery_id, actor="sender", now=time.time())
    mta = office.up()
    try:
        office.run()
    finally:
        mta.stop()
    fresh = live_link(office)
    assert fresh.delivery_id == link.delivery_id
    assert fresh.code_way is CodeWay.SENDER
    assert not links.is_code(fresh, "the yellow submarine")
    store.close()


@pytest.mark.parametrize("weak", ["", "short", "aaaaaaaaaaaaaaaaaa", " a b c d     "])
def test_a_phrase_that_is_easy_to_guess_is_refused(tmp_path: Path, weak: str) -> None:
    office = Office(tmp_path)
    with pytest.raises(phrases.BadPhrase, match="at least 12"):
        phrases.agree(office.holder.store, BOB, weak, actor="operator", now=1)
    office.holder.store.close()


@pytest.mark.behaviour("P3")
@pytest.mark.behaviour("P4")
def test_a_notice_without_a_link_holds_no_address_and_always_needs_a_code(tmp_path: Path) -> None:
    office = Office(tmp_path)
    deliver(office, CodeWay.SENDER, NoticeForm.NUMBER)
    ((_, notice),) = [(to, mail) for to, mail in office.mailbox.mails if to == [BOB]]
    for part in ("plain", "html"):
        body = notice.get_body((part,))
        assert body is not None
        text = body.get_content()
        assert not any(sign in text for sign in ("http", "href", "/p/", "pickup.site.example", "www."))
    number = NUMBER.search(office.mailbox.last_to(BOB))
    code = CODE.search(office.mailbox.last_to(SENDER))
    assert number is not None
    assert code is not None
    link = links.find_live_link(office.holder.store, plain_number(number[1]), now=time.time())
    assert link.needs_code
    assert links.is_code(link, code[0])
    office.holder.store.close()


class Gateway(BaseHTTPRequestHandler):
    """Takes what is posted, and answers with a status of the test's choice."""

    requests: ClassVar[list[tuple[str, str, bytes]]] = []
    status: ClassVar[int] = 202

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.headers["Content-Type"], self.headers["Authorization"] or "", body))
        self.send_response(self.status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def gateway() -> Iterator[str]:
    Gateway.requests.clear()
    server = HTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/send"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_gateway_gets_number_text_and_token(gateway: str, tmp_path: Path) -> None:
    numbers = phone_book(tmp_path)
    as_json = SmsSettings(url=gateway, numbers=numbers)
    TextMessages(as_json, "t0ken").send(TELEPHONE, "a {number} & code")
    fields = {"To": "{number}", "Body": "{text}", "From": "Clinic"}
    as_form = SmsSettings(url=gateway, numbers=numbers, fields=fields, encoding="form", authorization="Basic")
    TextMessages(as_form, "").send(TELEPHONE, "a&b")
    (one, bearer, body), (other, none, form) = Gateway.requests
    assert (one, bearer) == ("application/json", "Bearer t0ken")
    assert json.loads(body) == {"to": TELEPHONE, "text": "a {number} & code"}
    assert (other, none) == ("application/x-www-form-urlencoded", "")
    assert form == b"To=%2B4930123456&Body=a%26b&From=Clinic"


@pytest.mark.parametrize("status", [302, 401, 500])
def test_a_gateway_that_does_not_say_yes_was_not_used(gateway: str, tmp_path: Path, status: int) -> None:
    settings = SmsSettings(url=gateway, numbers=phone_book(tmp_path))
    Gateway.status = status
    try:
        with pytest.raises(NotSent, match=str(status)) as refused:
            TextMessages(settings, "t0ken").send(TELEPHONE, "SECRET")
    finally:
        Gateway.status = 202
    assert not any(secret in str(refused.value) for secret in (TELEPHONE, "SECRET", "t0ken"))
    nobody = SmsSettings(url="http://127.0.0.1:1/x", numbers=settings.numbers)
    with pytest.raises(NotSent, match="cannot be reached"):
        TextMessages(nobody, "").send(TELEPHONE, "SECRET")


def test_the_address_book_is_read_again_and_names_its_bad_line(tmp_path: Path) -> None:
    path = phone_book(tmp_path)
    book = PhoneBook(path)
    assert (book.number_of(BOB), book.number_of("eve@x.example")) == (TELEPHONE, None)
    path.write_text(f"{BOB} +4930999999999\n", encoding="utf-8")
    assert book.number_of(BOB) == "+4930999999999"
    for line in ("bob", f"{BOB} 030 123456", f"{BOB} +49; rm -rf", f"{BOB} +4930123456"):
        path.write_text(f"\n{BOB} +4930999999999\n{line}\n", encoding="utf-8")
        with pytest.raises(BadPhoneBook, match="line 3"):
            book.number_of(BOB)
    path.unlink()
    with pytest.raises(BadPhoneBook, match=r"sms\.numbers"):
        book.number_of(BOB)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"command": ("send",)}, {"url": "http://gate.example"}, {"url": "https://x.example", "command": ("/bin/x",)}],
)
def test_settings_that_name_no_safe_way_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"command|url"):
        SmsSettings.model_validate({"numbers": tmp_path, **wrong})
