"""A recipient writes back: to whom, what the mail is, once, what survives, and what is refused without loss."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default as email_policy
from email.utils import parseaddr
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import func, select
from structlog.testing import capture_logs

from restante.reply import ReplyTo
from restante.store import holding, outbox
from restante.store.links import MintedLink
from restante.store.models import AuditRecord, Blob, JobKind, OutboxJob, Reply, ReplyFile, ReplyState
from restante.vault import Opener
from restante_milter import reply_sender
from restante_milter.reply_sender import ReplySender
from restante_portal import uploads
from restante_portal.application import create_app
from tests.portal import letters
from tests.portal.clamd import EICAR, FakeClamd
from tests.portal.conftest import RECIPIENT, Browser, Post, make_post, make_settings

SENDER = "anna@clinic.example"
PORTAL = "notice@clinic.example"
ORIGINAL = (
    b"From: Anna <anna@clinic.example>\r\nTo: rita@patients.example, bob@clinic.example, out@elsewhere.example\r\n"
    b"Cc: =?utf-8?q?J=C3=B6rg?= <Joerg@Clinic.example>\r\nMessage-ID: <m3@clinic.example>\r\n"
    b"References: <m1@clinic.example>\r\n <m2@clinic.example>\r\nSubject: Ihr Befund\r\n\r\nHallo.\r\n"
)
EVERYONE = (RECIPIENT, "bob@clinic.example", "out@elsewhere.example", "joerg@clinic.example", "hidden@clinic.example")
LIMIT = 400_000


@dataclass
class Place:
    """A portal over a store, with the worker that sends replies, whose submissions are kept in ``sent``."""

    post: Post
    app: Flask
    sent: list[tuple[str, list[str], bytes]]
    folder: Path
    visitors: int = 0

    def visitor(self) -> Browser:
        """A browser at an address of its own."""
        self.visitors += 1
        return Browser(self.app, f"2001:db8:{self.visitors:x}::1")

    def opened(self, content: bytes = ORIGINAL, **more: Any) -> tuple[Writer, str]:
        """A message that its recipient has opened, and the id of the copy."""
        delivery_id = self.post.hold(content, **more)[0]
        return self.writer(self.post.link(delivery_id)), delivery_id

    def writer(self, link: MintedLink) -> Writer:
        browser = self.visitor()
        assert browser.open(link).status_code == 303
        return Writer(browser)

    def work(self) -> None:
        """Send what is due, as the worker does."""
        keys = Opener(self.post.worker_private)
        internal = self.post.settings.internal_domains.__contains__
        sender = ReplySender(self.post.settings, self.post.store, keys, b"s" * 32, internal)
        while due := outbox.due_ids(self.post.store, now=self.post.clock()):
            for job_id in due:
                job = outbox.lease(self.post.store, job_id, now=self.post.clock())
                if job is not None and job.kind == JobKind.REPLY:
                    assert sender.send(job) == ({}, "")
                else:
                    outbox.finish(self.post.store, job_id)

    def mails(self) -> list[tuple[str, list[str], EmailMessage]]:
        """Send what is due; all that was sent since the last time."""
        self.work()
        taken, self.sent[:] = list(self.sent), []
        found = []
        for mail_from, recipients, content in taken:
            message = message_from_bytes(content, policy=email_policy)
            assert isinstance(message, EmailMessage)
            found.append((mail_from, recipients, message))
        return found

    def actions(self, delivery_id: str) -> list[str]:
        query = select(AuditRecord.action).where(AuditRecord.delivery_id == delivery_id).order_by(AuditRecord.id)
        with self.post.store.read() as session:
            return list(session.scalars(query))

    def states(self, delivery_id: str) -> list[str]:
        with self.post.store.read() as session:
            return list(session.scalars(select(Reply.state).where(Reply.delivery_id == delivery_id)))


@dataclass
class Writer:
    """A recipient who has the message open."""

    browser: Browser

    def page(self, path: str = "/message/reply") -> Any:
        return self.browser.get(path)

    def fields(self) -> dict[str, str]:
        """The hidden fields of the form as it stands."""
        page = self.page().text
        return dict(re.findall(r'<input type="hidden" name="(form_key|reply|stamp)" value="([^"]*)"', page))

    def act(
        self,
        action: str,
        text: str = "",
        files: tuple[tuple[str, bytes], ...] = (),
        fields: dict[str, str] | None = None,
        **more: Any,
    ) -> Any:
        """Fill in the form and press a button."""
        form = dict(self.fields() if fields is None else fields)
        form_key = form.pop("form_key", "")
        enclosed = [(io.BytesIO(content), name) for name, content in files]
        data = {**form, "text": text, **more, "files": enclosed, "action": action}
        return self.browser.post("/message/reply", data, form_key=form_key, content_type="multipart/form-data")


def _text_of(page: str) -> str:
    return unescape(page.partition("<textarea")[2].partition(">\n")[2].partition("</textarea>")[0])


def _make_place(folder: Path, database: str, sent: list[tuple[str, list[str], bytes]], **portal: Any) -> Place:
    settings, worker_private = make_settings(folder, database, reply_max_bytes=LIMIT, **portal)
    post = make_post(settings.model_copy(update={"internal_domains": ("clinic.example",)}), worker_private)
    return Place(post, create_app(post.settings, store=post.store, clock=post.clock), sent, folder)


@pytest.fixture(scope="module")
def sent() -> Iterator[list[tuple[str, list[str], bytes]]]:
    """What the worker gave to the MTA: sender, recipients, content."""
    taken: list[tuple[str, list[str], bytes]] = []

    def submit(
        _endpoint: object, _hostname: str, sender: str, _parameters: object, recipients: Any, content: Any
    ) -> dict[str, str]:
        taken.append((sender, [one.address for one in recipients], b"".join(content)))
        return {}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reply_sender, "submit", submit)
        yield taken


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sent: list[tuple[str, list[str], bytes]]) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    made = _make_place(folder, f"sqlite:///{folder}/restante.db", sent)
    yield made
    made.post.store.close()


@pytest.mark.behaviour("P8")
def test_a_reply_reaches_the_sender(
    tmp_path: Path, database_url: str, sent: list[tuple[str, list[str], bytes]]
) -> None:
    place = _make_place(tmp_path, database_url, sent)
    writer, delivery_id = place.opened()
    assert 'href="/message/reply?window=' in writer.page("/message").text
    files = (("Röntgen.png", letters.PNG), ("scan.bin", letters.ATTACHMENT), ("empty.txt", b""))
    answer = writer.act("send", "Danke!\r\n.\r\nFrom here: ä\r\n", files)
    assert (answer.status_code, answer.location.partition("?")[0]) == (303, "/message/reply/sent")
    assert SENDER in writer.page(answer.location).text
    with place.post.store.read() as session:
        sealed_to = session.scalars(select(Blob.key_id).join(Reply, Reply.blob_id == Blob.id)).one()
    assert sealed_to == "worker"
    [(mail_from, recipients, mail)] = place.mails()
    assert (mail_from, recipients) == (PORTAL, [SENDER])
    body = mail.get_body(("plain",))
    assert body is not None
    assert body.get_content().replace("\r\n", "\n") == "Danke!\n.\nFrom here: ä\n"
    enclosed = [(part.get_filename(), part.get_payload(decode=True)) for part in mail.iter_attachments()]
    assert enclosed == list(files)
    assert not any(part.defects for part in mail.walk())
    assert (mail["To"], mail["Reply-To"], mail["Cc"], mail["Bcc"]) == (SENDER, RECIPIENT, None, None)
    assert parseaddr(str(mail["From"])) == (f"{RECIPIENT} via Clinic Example", PORTAL)
    assert (mail["Subject"], mail["In-Reply-To"]) == ("Re: Ihr Befund", "<m3@clinic.example>")
    assert str(mail["References"]).split() == ["<m1@clinic.example>", "<m2@clinic.example>", "<m3@clinic.example>"]
    assert mail["Message-ID"] not in str(mail["References"])
    assert place.states(delivery_id) == [ReplyState.SENT]
    assert place.actions(delivery_id)[-3:] == ["began-reply", "replied", "sent-reply"]
    with place.post.store.read() as session:
        assert session.scalar(select(func.count()).select_from(Blob)) == 1  # the message itself: nothing else is left
        assert session.scalar(select(func.count()).select_from(ReplyFile)) == 0
    place.work()
    assert place.mails() == []
    place.post.store.close()


HOSTILE_SUBJECTS = {
    "CRLF": b"=?utf-8?q?x=0D=0ABcc:_evil@evil.example=0D=0A=0D=0Abody?=",
    "NUL and RTL": "a\0b\u202egpj.exe".encode(),
    "long": b"y" * 5000,
    "long words": "ä".encode() * 3000,
    "answered before": b"RE: Ihr Befund",
    "none": b"",
    "not a charset": b"=?nonsense?b?////?=",
    "latin": b"\xe4\xf6",
}


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize("name", HOSTILE_SUBJECTS)
def test_a_hostile_header_writes_no_other_field(place: Place, name: str) -> None:
    junk = b"<ok@x.example> <a\x01b> <bad id> <" + b"x" * 900 + b"> Bcc: <evil@evil.example>\r\n"
    content = (
        b"From: anna@clinic.example\r\nTo: rita@patients.example\r\nSubject: " + HOSTILE_SUBJECTS[name] + b"\r\n"
        b"Message-ID: <m@clinic.example>\r\nReferences: " + junk + b"\r\nx\r\n"
    )
    writer, _ = place.opened(content)
    assert writer.act("send", "x").status_code == 303
    [(_, recipients, mail)] = place.mails()
    assert recipients == [SENDER]
    names = sorted(key.lower() for key in mail.keys())  # noqa: SIM118  a field that stands twice counts twice
    assert names == sorted(
        {"from", "reply-to", "to", "subject", "date", "message-id", "in-reply-to", "references", "mime-version",
         "content-type", "content-transfer-encoding"}
    )  # fmt: skip
    assert str(mail["References"]).split() == ["<ok@x.example>", "<evil@evil.example>", "<m@clinic.example>"]
    assert str(mail["Subject"]).lower().startswith("re:")
    assert str(mail["Subject"]).lower().count("re:") == 1
    assert str(mail["Subject"]).isprintable()
    assert len(str(mail["Subject"])) < 500


@pytest.mark.behaviour("P8")
def test_hostile_file_names_stay_names(place: Place) -> None:
    writer, _ = place.opened()
    names = {
        "../../etc/pass; filename=y.sh": "pass; filename=y.sh",
        "a\u202egpj.exe": "agpj.exe",
        "x" * 4096 + ".pdf": "x" * 107 + ".pdf",
        "C:/Users/rita/brief.doc": "brief.doc",
        "ünï = ?.txt": "ünï = .txt",
        "日本語" * 30 + ".txt": ("日本語" * 30 + ".txt"),
        "..": "attachment",
    }
    files = tuple((name, str(at).encode()) for at, name in enumerate(names))
    assert writer.act("send", "x", files).status_code == 303
    [(_, _, mail)] = place.mails()
    assert [part.get_filename() for part in mail.iter_attachments()] == list(names.values())
    assert {part.get_content_disposition() for part in mail.iter_attachments()} == {"attachment"}
    assert {key.lower() for part in mail.iter_attachments() for key in part.keys()} == {  # noqa: SIM118
        "content-type", "content-disposition", "content-transfer-encoding",
    }  # fmt: skip


@pytest.mark.behaviour("P8")
def test_a_name_with_a_line_break_in_it_breaks_no_line(place: Place) -> None:
    writer, _ = place.opened()
    form = writer.fields()
    boundary = "b"
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in {**form, "action": "send", "text": "x"}.items()
    )
    file = (
        "--b\r\nContent-Disposition: form-data; name=\"files\"; filename*=UTF-8''a%0D%0ABcc%3A%20e%40evil%00.txt\r\n"
        "Content-Type: text/html; charset=x\r\n\r\n<b>\r\n--b--\r\n"
    )
    answer = writer.browser.client.post(
        "/message/reply", base_url=place.post.settings.portal.url, data=(fields + file).encode(),
        content_type=f"multipart/form-data; boundary={boundary}",
    )  # fmt: skip
    assert answer.status_code == 303
    [(_, _, mail)] = place.mails()
    [part] = mail.iter_attachments()
    assert part.get_filename() == "aBcc: e@evil.txt".replace(":", "")
    assert part.get_content_type() == "application/octet-stream"
    assert mail["Bcc"] is None


@pytest.mark.behaviour("P8")
def test_a_form_sent_twice_is_one_reply(place: Place) -> None:
    writer, delivery_id = place.opened()
    fields = writer.fields()
    files = (("a.bin", b"a" * 1000),)
    for _ in range(3):
        answer = writer.act("send", "once", files, fields=fields)
        assert answer.location.partition("?")[0] == "/message/reply/sent"
    [(_, _, mail)] = place.mails()
    assert len(list(mail.iter_attachments())) == 1
    assert place.actions(delivery_id).count("replied") == 1
    assert _text_of(writer.page().text) == ""  # a new reply begins empty


@pytest.mark.behaviour("P8")
def test_a_form_sent_many_times_at_once_is_one_reply(place: Place) -> None:
    writer, delivery_id = place.opened()
    fields = writer.fields()
    cookies = writer.browser.client
    statuses: list[int] = []

    def click() -> None:
        other = Writer(Browser(place.app, "2001:db8:ffff::1"))
        other.browser.client = cookies
        statuses.append(other.act("send", "once", (("a.bin", b"a" * 1000),), fields=fields).status_code)

    clicks = [threading.Thread(target=click) for _ in range(5)]
    for each in clicks:
        each.start()
    for each in clicks:
        each.join()
    assert set(statuses) <= {303, 503}  # 503: another upload is under way in this process, or the database is busy
    # Where each click took the draft from under the one before, and the last met a busy database, it waits unsent.
    writer.act("send", "once", (("a.bin", b"a" * 1000),), fields=fields)
    assert len(place.mails()) == 1
    assert place.actions(delivery_id).count("replied") == 1


@pytest.mark.behaviour("P8")
@pytest.mark.behaviour("P11")
def test_a_draft_waits_for_whoever_opens_the_message_again_and_for_nobody_else(place: Place) -> None:
    writer, delivery_id = place.opened()
    assert writer.act("save", "CANARY-TEXT <b>", (("CANARY-NAME.txt", b"CANARY-FILE" * 9),)).status_code == 303
    writer.browser.post("/message/close")
    assert writer.page().status_code == 403
    again = place.writer(place.post.link(delivery_id))
    page = again.page().text
    assert _text_of(page) == "CANARY-TEXT <b>"
    assert "CANARY-NAME.txt" in page
    other, _ = place.opened()
    assert "CANARY" not in other.page().text
    stolen = b"".join(each.read_bytes() for each in place.folder.glob("restante.db*"))
    assert len(stolen) > 100_000
    assert b"CANARY" not in stolen
    assert again.act("send", "CANARY-TEXT <b>").status_code == 303
    stolen = b"".join(each.read_bytes() for each in place.folder.glob("restante.db*"))
    assert b"CANARY" not in stolen
    [(_, _, mail)] = place.mails()
    [part] = mail.iter_attachments()
    assert part.get_payload(decode=True) == b"CANARY-FILE" * 9


@pytest.mark.behaviour("P8")
def test_who_writes_longer_than_the_window_is_open_loses_nothing(place: Place) -> None:
    writer, delivery_id = place.opened()
    fields = writer.fields()
    place.post.clock.now += 3601
    late = writer.act("send", "written slowly", (("a.bin", b"late"),), fields=fields)
    assert late.status_code == 403
    assert "Your draft is saved." in late.text
    assert "written slowly" not in late.text  # who finds the browser reads nothing
    assert writer.page().status_code == 403
    assert place.mails() == []
    again = place.writer(place.post.link(delivery_id))
    assert _text_of(again.page().text) == "written slowly"
    assert "a.bin" in again.page().text
    fields = again.fields()
    place.post.clock.now += 25 * 3600
    refused = again.act("save", "far too late", fields=fields)
    assert (refused.status_code, "draft is saved" in refused.text) == (403, False)


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize("end", ["close", "recall"])
def test_a_window_that_was_ended_takes_no_draft(place: Place, end: str) -> None:
    writer, delivery_id = place.opened()
    fields = writer.fields()
    cookie = writer.browser.client.get_cookie("__Host-restante-pickup", domain="pickup.test.example", path="/")
    assert cookie is not None
    if end == "close":
        writer.browser.post("/message/close")
        writer.browser.client.set_cookie("__Host-restante-pickup", cookie.value, domain="pickup.test.example")
    else:
        holding.recall(place.post.store, delivery_id, actor="sender", now=place.post.clock())
    assert writer.act("save", "x", fields=fields).status_code == 403
    assert place.states(delivery_id) == []


@pytest.mark.behaviour("P8")
def test_two_pages_do_not_overwrite_each_other(place: Place) -> None:
    writer, delivery_id = place.opened()
    writer.act("save", "common beginning")
    first, second = writer.fields(), writer.fields()
    assert writer.act("save", "common beginning, first", fields=first).status_code == 303
    place.post.clock.now += 1
    assert writer.act("save", "something else", fields=second).status_code == 303
    assert _text_of(writer.page().text) == "something else"
    assert writer.act("discard", "something else").status_code == 303
    assert _text_of(writer.page().text) == "common beginning, first"
    assert sorted(place.states(delivery_id)) == [ReplyState.DRAFT, ReplyState.ERASED]
    for number in range(9):
        writer.act("save", f"draft {number}", fields={**writer.fields(), "reply": f"{number:032x}", "stamp": ""})
    assert place.states(delivery_id).count(ReplyState.DRAFT) == 5


def test_files_are_kept_once_and_can_be_removed(place: Place) -> None:
    writer, _ = place.opened()
    files = (("a.bin", b"a"), ("b.bin", b"b"))
    fields = writer.fields()
    for _ in range(2):
        writer.act("save", "x", files, fields=fields)
    page = writer.page().text
    assert [page.count(name) for name in ("a.bin", "b.bin")] == [1, 1]
    [removed] = re.findall(r'name="remove" value="(\w+)"> <span>Remove a\.bin', page)
    writer.act("save", "x", remove=removed)
    page = writer.page().text
    assert ("a.bin" in page, "b.bin" in page) == (False, True)


@pytest.mark.behaviour("P8")
def test_nobody_but_people_on_the_message_can_be_addressed(place: Place) -> None:
    writer, _ = place.opened(recipients=EVERYONE, reply=ReplyTo.ALL)
    page = writer.page().text
    offered = re.findall(r'name="also" value="([^"]*)"', page)
    assert offered == ["bob@clinic.example", "joerg@clinic.example"]  # no Bcc, nobody of another site
    forged = [
        "bob@clinic.example", "hidden@clinic.example", "out@elsewhere.example", "evil@evil.example",
        "bob@clinic.example\r\nBcc: evil@evil.example",
    ]  # fmt: skip
    more: dict[str, Any] = dict.fromkeys(("to", "cc", "bcc", "sender", "subject", "recipients"), "evil@evil.example")
    assert writer.act("send", "x", also=forged, **more).status_code == 303
    [(_, recipients, mail)] = place.mails()
    assert recipients == [SENDER, "bob@clinic.example"]
    assert (mail["To"], mail["Cc"]) == (SENDER, "bob@clinic.example")
    assert "evil" not in mail.as_string()


@pytest.mark.behaviour("P8")
def test_by_default_the_sender_alone(place: Place) -> None:
    writer, _ = place.opened(recipients=EVERYONE)
    assert 'name="also"' not in writer.page().text
    writer.act("send", "x", also=["bob@clinic.example"])
    assert [recipients for _, recipients, _ in place.mails()] == [[SENDER]]


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize("which", [{"reply": ReplyTo.NONE}, {"sender": ""}], ids=["by rule", "no sender"])
def test_where_no_reply_is_wanted_none_can_be_sent(place: Place, which: dict[str, Any]) -> None:
    ordinary, _ = place.opened()
    fields = ordinary.fields()
    writer, delivery_id = place.opened(**which)
    assert "/message/reply" not in writer.page("/message").text
    assert writer.page().status_code == 404
    fields["form_key"] = writer.browser.form_key()
    assert writer.act("send", "x", fields=fields).status_code == 404
    assert place.states(delivery_id) == []


@pytest.mark.behaviour("P8")
def test_a_reply_of_another_copy_is_out_of_reach(place: Place) -> None:
    writer, delivery_id = place.opened()
    writer.act("save", "mine", (("mine.bin", b"mine"),))
    fields = writer.fields()
    thief, other_id = place.opened()
    own = thief.fields()
    for action in ("save", "send", "discard"):
        thief.act(action, "stolen", fields={**own, "reply": fields["reply"], "stamp": fields["stamp"]})
    assert "mine" not in thief.page().text
    assert _text_of(writer.page().text) == "mine"
    assert place.states(delivery_id) == [ReplyState.DRAFT]
    assert place.states(other_id) == []
    assert place.mails() == []


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize("action", ["send", "save"])
def test_what_is_too_large_is_refused_and_the_rest_kept(place: Place, action: str) -> None:
    writer, delivery_id = place.opened()
    files = (("small.bin", b"s" * 1000), ("large.bin", b"l" * (LIMIT + 1)), ("other.bin", b"o" * 1000))
    answer = writer.act(action, "my words", files)
    assert answer.status_code == 413
    assert _text_of(answer.text) == "my words"
    assert "Your draft is saved." in answer.text
    problem = answer.text.partition('role="alert"')[2].partition("</div>")[0]
    assert ("large.bin" in problem, "small.bin" in problem) == (True, False)
    assert answer.text.count("Remove ") == 2
    # What is saved already counts too.
    assert writer.act(action, "my words", (("more.bin", b"m" * (LIMIT - 1500)),)).status_code == 413
    assert writer.act(action, "my words", tuple((f"{n}.bin", b"x") for n in range(25))).status_code == 413
    assert place.mails() == []
    assert writer.act("send", "my words").status_code == 303
    [(_, _, mail)] = place.mails()
    assert len(list(mail.iter_attachments())) == 20
    assert place.states(delivery_id) == [ReplyState.SENT]


def test_nothing_at_all_is_not_sent(place: Place) -> None:
    writer, delivery_id = place.opened()
    assert writer.act("send", " \r\n ").status_code == 400
    assert place.states(delivery_id) == []
    long = writer.act("send", "x" * 200_001)
    assert (long.status_code, len(_text_of(long.text))) == (413, 200_001)
    assert place.mails() == []


@pytest.mark.behaviour("P8")
def test_it_is_no_mail_cannon(place: Place) -> None:
    writer, _ = place.opened()
    statuses = [writer.act("send", f"number {number}").status_code for number in range(12)]
    assert statuses == [303] * 10 + [429] * 2
    assert "number 11" in _text_of(writer.page().text)
    assert len(place.mails()) == 10
    place.post.clock.now += 86_401
    # The draft is there tomorrow.
    with place.post.store.read() as session:
        assert session.scalar(select(func.count()).where(Reply.state == ReplyState.DRAFT))


def test_strangers_and_forged_forms_bring_nothing(place: Place) -> None:
    stranger = Writer(place.visitor())
    form_key = stranger.browser.form_key()
    answer = stranger.act("send", "x", (("big.bin", b"x" * 100_000),), fields={"form_key": form_key})
    assert answer.status_code == 413
    assert stranger.act("send", "x", fields={"form_key": form_key}).status_code == 403
    writer, delivery_id = place.opened()
    fields = writer.fields()
    assert writer.act("send", "x", fields={**fields, "form_key": "forged"}).status_code == 400
    assert place.states(delivery_id) == []


@pytest.mark.behaviour("P8")
@pytest.mark.behaviour("P12")
def test_what_ends_the_message_ends_drafts_and_replies_not_yet_sent(place: Place) -> None:
    drafting, draft_id = place.opened()
    drafting.act("save", "a draft", (("a.bin", b"a"),))
    sending, sent_id = place.opened(days=0.01)
    sending.act("send", "a reply", (("a.bin", b"a"),))
    with place.post.store.read() as session:
        before = session.scalar(select(func.count()).select_from(Blob).where(Blob.wrapped_key.is_not(None)))
    holding.recall(place.post.store, draft_id, actor="sender", now=place.post.clock())
    place.post.clock.now += 1000
    holding.expire_due(place.post.store, now=place.post.clock())
    for delivery_id in (draft_id, sent_id):
        assert place.states(delivery_id) == [ReplyState.ERASED]
        assert place.actions(delivery_id)[-1] == "erased-reply"
    with place.post.store.read() as session:
        rows = session.scalars(select(Reply).where(Reply.delivery_id.in_([draft_id, sent_id]))).all()
        assert {(row.text, row.wrapped_key, row.blob_id) for row in rows} == {(None, None, None)}
        assert session.scalar(select(func.count()).select_from(ReplyFile).where(ReplyFile.reply_id == rows[0].id)) == 0
        after = session.scalar(select(func.count()).select_from(Blob).where(Blob.wrapped_key.is_not(None)))
        # Both messages, the file of the draft, and the mail that waited.
        assert (before or 0) - (after or 0) >= 4
    assert place.mails() == []
    with place.post.store.read() as session:
        jobs = session.scalars(select(OutboxJob.state).where(OutboxJob.kind == JobKind.REPLY)).all()
    assert set(jobs) == {"done"}


@pytest.fixture
def scanned(tmp_path: Path, sent: list[tuple[str, list[str], bytes]]) -> Iterator[tuple[Place, FakeClamd]]:
    made = _make_place(tmp_path, f"sqlite:///{tmp_path}/r.db", sent, clamd=f"unix:{tmp_path}/clamd.sock")
    with FakeClamd(tmp_path / "clamd.sock") as clamd:
        yield made, clamd
    made.post.store.close()


@pytest.mark.behaviour("P8")
def test_a_virus_is_refused_and_the_words_are_kept(scanned: tuple[Place, FakeClamd]) -> None:
    place, clamd = scanned
    writer, delivery_id = place.opened()
    answer = writer.act("send", "my words", (("good.bin", b"g" * 70_000), ("bad.com", EICAR)))
    assert answer.status_code == 400
    problem = answer.text.partition('role="alert"')[2].partition("</div>")[0]
    assert ("bad.com" in problem, "good.bin" in problem) == (True, False)
    assert _text_of(answer.text) == "my words"
    assert place.mails() == []
    assert place.actions(delivery_id)[-1] == "refused-infected-file"
    assert writer.act("send", "my words").status_code == 303
    assert clamd.seen[0] == b"g" * 70_000
    [(_, _, mail)] = place.mails()
    assert [part.get_filename() for part in mail.iter_attachments()] == ["good.bin"]


@pytest.mark.behaviour("P8")
def test_what_cannot_be_scanned_waits_as_a_draft(scanned: tuple[Place, FakeClamd]) -> None:
    place, clamd = scanned
    writer, delivery_id = place.opened()
    clamd.limit = 10
    with capture_logs() as logs:
        assert writer.act("send", "my words", (("secret-name.bin", b"g" * 10_000),)).status_code == 503
    assert "StreamMaxLength" in str(logs)
    assert "secret-name" not in str(logs)
    for answer in (b"stream: Can't allocate memory ERROR\0", b"", b"OK\0", b"stream: OK and more\0"):
        clamd.limit, clamd.answer = 1_000_000, answer
        assert writer.act("send", "my words").status_code == 503
    clamd.shutdown()
    clamd.socket.close()
    (place.folder / "clamd.sock").unlink()
    gone = writer.act("send", "my words")
    assert gone.status_code == 503
    assert "Your draft is saved." in gone.text
    assert place.states(delivery_id) == [ReplyState.DRAFT]
    assert place.mails() == []


def test_an_upload_has_no_room_while_others_are_under_way(place: Place) -> None:
    writer, _ = place.opened()
    gate = place.app.extensions["restante-uploads"]
    fields = writer.fields()
    with gate.entered(), gate.entered():
        answer = writer.act("send", "my words", (("a.bin", b"a"),), fields=fields)
    assert answer.status_code == 503
    assert _text_of(answer.text) == "my words"
    assert "Your draft is saved." in answer.text
    assert place.mails() == []


@pytest.mark.parametrize("slow", [False, True], ids=["broken", "slow"])
def test_of_an_upload_that_breaks_off_the_words_are_kept(
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
    slow: bool,  # noqa: FBT001
) -> None:
    writer, delivery_id = place.opened()
    form = {**writer.fields(), "text": "my words", "action": "send"}
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form.items()
    )
    body += '--b\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n\r\n' + "a" * 50_000
    if slow:
        ticks = iter(range(0, 10_000_000, 1000))
        init = uploads.Upload.__init__

        def with_clock(self: uploads.Upload, gate: uploads.Gate, most_bytes: int, most_files: int) -> None:
            init(self, gate, most_bytes, most_files, lambda: next(ticks))

        monkeypatch.setattr(uploads.Upload, "__init__", with_clock)
        body += "a" * 100_000 + "\r\n--b--\r\n"
    answer = writer.browser.client.post(
        "/message/reply", base_url=place.post.settings.portal.url, input_stream=io.BytesIO(body.encode()),
        content_length=len(body) + (0 if slow else 1000), content_type="multipart/form-data; boundary=b",
    )  # fmt: skip
    if slow:
        assert answer.status_code == 400  # not even the form key had come when patience ended
        assert place.states(delivery_id) == []
    else:
        assert answer.status_code == 400
        assert _text_of(answer.text) == "my words"
        assert place.states(delivery_id) == [ReplyState.DRAFT]
    assert place.mails() == []


def _send_raw(writer: Writer, place: Place, body: bytes) -> tuple[int, int]:
    """Post ``body`` as the form; the status, and how much of it was read."""
    read = 0

    class Counting(io.BytesIO):
        def readinto(self, buffer: Any, /) -> int:
            nonlocal read
            read += (got := super().readinto(buffer))
            return got

        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            read += len(got := super().read(size))
            return got

    answer = writer.browser.client.post(
        "/message/reply", base_url=place.post.settings.portal.url, input_stream=Counting(body),
        content_length=len(body), content_type="multipart/form-data; boundary=b",
    )  # fmt: skip
    return answer.status_code, read


def _part(name: str, value: str, filename: str | None = None) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n'.encode()


@pytest.mark.parametrize("kind", ["fields", "nameless", "busy"])
def test_nobody_fills_the_memory_or_holds_a_thread_with_what_is_not_kept(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    writer, _ = place.opened()
    head = b"".join(_part(name, value) for name, value in {**writer.fields(), "text": "x", "action": "send"}.items())
    gate = place.app.extensions["restante-uploads"]
    if kind == "fields":
        body = head + b"".join(_part(f"f{number}", "a" * 500_000) for number in range(20)) + b"--b--\r\n"
        status, read = _send_raw(writer, place, body)
    elif kind == "nameless":
        monkeypatch.setattr(uploads, "DRAINED_CAP", 1_000_000)
        body = head + _part("files", "a" * 10_000_000, "") + b"--b--\r\n"
        status, read = _send_raw(writer, place, body)
    else:
        seconds = iter(range(1_000_000))
        init = uploads.Upload.__init__

        def with_clock(self: uploads.Upload, gate: uploads.Gate, most_bytes: int, most_files: int) -> None:
            init(self, gate, most_bytes, most_files, lambda: float(next(seconds)))

        monkeypatch.setattr(uploads.Upload, "__init__", with_clock)
        body = head + _part("files", "a" * 10_000_000, "a.bin") + b"--b--\r\n"
        with gate.entered(), gate.entered():
            status, read = _send_raw(writer, place, body)
    assert read < 4_000_000
    assert status == {"fields": 413, "nameless": 303, "busy": 503}[kind]


@pytest.mark.behaviour("P8")
@pytest.mark.behaviour("P13")
def test_the_pages_are_small_and_their_fields_have_names(place: Place) -> None:
    writer, _ = place.opened(recipients=EVERYONE, reply=ReplyTo.ALL)
    writer.act("save", "x", (("a.bin", b"a"),))
    for path in ("/message/reply", "/message/reply?saved=1"):
        page = writer.page(path)
        assert re.findall("<script[^>]*>", page.text) == ['<script src="/static/reply.js" defer>']
        assert len(page.data) < 50_000
        for name in re.findall(r'<(?:textarea|input type="file") id="(\w+)"', page.text):
            assert f'<label for="{name}">' in page.text
    assert writer.page("/message/reply/sent").status_code == 303  # nothing was sent yet


def test_addresses_beyond_ascii(place: Place) -> None:
    place.mails()  # what others of the file sent and did not look at
    writer, _ = place.opened(sender="änne@clinic.example", recipients=("ríta@patients.example",))
    assert writer.act("send", "x").status_code == 303
    with place.post.store.read() as session:
        job = session.scalars(select(OutboxJob).order_by(OutboxJob.created_at.desc(), OutboxJob.id)).first()
        assert job is not None
        jobs = session.scalars(select(OutboxJob).where(OutboxJob.kind == JobKind.REPLY)).all()
    assert any(each.payload["mail"] == ["SMTPUTF8"] for each in jobs)
    [(_, recipients, mail)] = place.mails()
    assert recipients == ["änne@clinic.example"]
    assert (mail["To"], mail["Reply-To"]) == ("änne@clinic.example", "ríta@patients.example")
