"""Notices: nothing of the message in them, text equal to HTML, safe against hostile addresses."""

from __future__ import annotations

import base64
import html as html_text
import re
from email.message import EmailMessage

import pytest

from restante.access import CodeWay
from restante.languages import LANGUAGES
from restante.marks import NoticeMark
from restante.notices import NoticeWriter, Told, Way, text_message
from restante.policy import DomainPolicy
from restante.settings import NoticeSettings, Settings
from restante.vault import generate_keypair

SECRET = b"s" * 32
PUBLIC = base64.b64encode(generate_keypair()[1]).decode()
SETTINGS = Settings.model_validate(
    {
        "hostname": "mta.site.example",
        "organisation": "Site <Clinic>",
        "database": "sqlite:///x.db",
        "vault": {"key_id": "k1", "public_key": PUBLIC, "worker_public_key": PUBLIC},
        "portal": {"url": "https://pickup.site.example"},
        "notice": {"sender": "restante@site.example", "contact": "Call 555 0100."},
    }
)
WRITER = NoticeWriter(SETTINGS, SECRET)
MARK = NoticeMark("m" * 32, "d" * 32)


BY_CODE = Way("TOKEN", "482 913", CodeWay.SENDER)


def for_recipient(recipient: str = "bob@x.example", way: Way = BY_CODE) -> EmailMessage:
    return WRITER.for_recipient(
        mark=MARK,
        recipient=recipient,
        sender="ann@site.example",
        way=way,
        expires_at=1_700_000_000,
    )


def words(notice: EmailMessage, kind: str) -> list[str]:
    part = notice.get_body((kind,))
    assert part is not None
    text = part.get_content()
    if kind == "html":
        text = html_text.unescape(re.sub(r"<title>.*?</title>|<[^>]*>", " ", text))
    return re.findall(r"[\w.@:/-]{2,}", text.replace("-- \n", ""))


@pytest.mark.behaviour("P3")
def test_text_and_html_say_the_same_and_name_sender_link_expiry_and_check() -> None:
    notice = for_recipient()
    text = words(notice, "plain")
    assert text == words(notice, "html")
    assert "https://pickup.site.example/p/TOKEN" in text
    for needed in ("ann@site.example", "November", "2023", "22:13", "UTC.", "555", "code."):
        assert needed in text
    html = notice.get_body(("html",))
    assert html is not None
    assert not re.search(r"<img|<script|<link|src=|url\(", html.get_content())


def _german(settings: Settings = SETTINGS, way: Way = BY_CODE) -> EmailMessage:
    return NoticeWriter(settings, SECRET).for_recipient(
        mark=MARK,
        recipient="bob@x.example",
        sender="ann@site.example",
        way=way,
        expires_at=1_700_000_000,
        language="de",
    )


@pytest.mark.behaviour("P3")
@pytest.mark.parametrize("way", [BY_CODE, Way("TOKEN", "482 913", None), Way("", "4829 1302 1188", CodeWay.SMS)])
def test_a_notice_in_another_language_says_the_same_in_english_below(way: Way) -> None:
    notice = _german(way=way)
    assert notice["Subject"] == "Eine vertrauliche Nachricht von ann@site.example wartet auf Sie"
    assert notice["Content-Language"] == "de, en"
    assert words(notice, "plain") == words(notice, "html")
    text, html = (str(part.get_content()) for kind in ("plain", "html") if (part := notice.get_body((kind,))))
    german, _, english = text.partition("English\n")
    assert "14. November 2023, 22:13 UTC" in german
    in_english = for_recipient(way=way).get_body(("plain",))
    assert in_english is not None
    below = english.partition("\n-- \n")[0].strip()
    assert below == in_english.get_content().partition("\n-- \n")[0].strip()
    assert not re.search(r"message|notice|confidential", german)
    for said in (german, english):
        assert said.count(way.number) == 1
        assert (f"/p/{way.token}\n" in said) is bool(way.token)
    assert '<html lang="de" dir="ltr">' in html
    assert html.index('<div lang="de"') < html.index('<div lang="en"') < html.index("<hr>")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_notice_in_any_language_travels_everywhere_and_names_what_is_needed(language: str) -> None:
    notice = WRITER.for_recipient(
        mark=MARK, recipient="b@x.example", sender="ann@site.example", way=BY_CODE, expires_at=1, language=language
    )
    head, _, _ = notice.as_bytes().partition(b"\r\n\r\n")
    assert head.isascii()  # not every server takes SMTPUTF8
    part = notice.get_body(("plain",))
    assert part is not None
    above = part.get_content().partition("* * *")[0]
    for needed in ("ann@site.example", "b@x.example", "Site <Clinic>", "pickup.site.example/p/TOKEN", "482 913"):
        assert needed in above
    assert "1970" in above
    assert "ann@site.example" in notice["Subject"]


def test_english_below_can_be_left_out() -> None:
    plain = SETTINGS.model_copy(update={"notice": SETTINGS.notice.model_copy(update={"english_below": False})})
    notice = _german(plain)
    assert notice["Content-Language"] == "de"
    assert "confidential" not in words(notice, "plain")


def test_a_notice_runs_from_right_to_left_but_its_link_does_not() -> None:
    notice = WRITER.for_recipient(
        mark=MARK, recipient="b@x.example", sender="ann@site.example", way=BY_CODE, expires_at=1, language="ar"
    )
    part = notice.get_body(("html",))
    assert part is not None
    html = part.get_content()
    assert '<html lang="ar" dir="rtl">' in html
    assert '<p dir="ltr"><a href="https://pickup.site.example/p/TOKEN">' in html
    assert "\u2068ann@site.example\u2069" in html


@pytest.mark.parametrize("language", ["xx", "EN", "", "../de"])
def test_only_languages_that_are_offered_can_be_set(language: str) -> None:
    with pytest.raises(ValueError, match="must be one of en, "):
        NoticeSettings(sender="a@b.example", language=language)
    with pytest.raises(ValueError, match="must be one of en, "):
        DomainPolicy(name="x.example", language=language)


def test_a_text_message_is_in_the_recipients_language() -> None:
    said = text_message("Site", "ABCD-2345", "ann@site.example", language="de")
    assert said == "Site: Zugangscode ABCD-2345 für die Nachricht von ann@site.example."


def test_no_code_is_spoken_of_where_none_is_needed() -> None:
    assert "access" not in words(for_recipient(way=Way("TOKEN", "482 913", None)), "plain")


def test_it_is_marked_as_automatic_and_as_ours() -> None:
    notice = for_recipient()
    assert notice["Auto-Submitted"] == "auto-generated"
    assert NoticeMark.verify(SECRET, notice["X-Restante-Notice"]) == MARK
    assert notice["Reply-To"] == "ann@site.example"


@pytest.mark.behaviour("S1")
def test_the_senders_notice_lists_each_recipient_and_is_threaded() -> None:
    told = [Told("bob@x.example", "waits in the portal", "ABCD-2345"), Told("c@y.example", "goes out under TLS")]
    notice = WRITER.for_sender(
        mark=MARK, sender="ann@site.example", about="<1@site.example>", sent_at=0, told=told, expires_at=1
    )
    text = words(notice, "plain")
    assert text == words(notice, "html")
    assert {"bob@x.example:", "c@y.example:", "ABCD-2345"} <= set(text)
    assert notice["In-Reply-To"] == notice["References"] == "<1@site.example>"


@pytest.mark.parametrize("about", ["", "no-brackets", "<a b@x>", "<ü@x>", "<1@x>\r\nBcc: eve@x"])
def test_a_strange_message_id_gives_no_threading_and_no_injection(about: str) -> None:
    notice = WRITER.for_sender(mark=MARK, sender="ann@site.example", about=about, sent_at=0, told=[], expires_at=1)
    assert notice["In-Reply-To"] is None
    assert notice["Bcc"] is None


@pytest.mark.parametrize(
    "address",
    [
        "bob@x.example",
        '"b o b"@x.example',
        '"<script>"@x.example',
        "bob+tag@x.example",
        "üser@x.example",
        '"a,b"@x.example',
        'b"ob@x.example',
        "bob@[192.0.2.1]",
        "postmaster",
    ],
)
def test_any_address_that_an_envelope_can_hold_gives_a_notice(address: str) -> None:
    raw = for_recipient(address).as_bytes()
    assert b"\nTo: " in raw or raw.startswith(b"To: ")
    assert b"<script>" not in raw.partition(b"text/html")[2]
