"""What a reply takes from the header that it answers, and that no address or subject writes a field of its own."""

from __future__ import annotations

from email import message_from_bytes
from email.policy import default as email_policy

import pytest

from restante.reply import HEADER_CAP, Original, ReplyMail, kind_of, read_original, subject_of

ORIGINAL = Original("<m@x.example>", ("<a@x.example>",), frozenset())


def mail(**changes: object) -> ReplyMail:
    fields: dict[str, object] = {
        "author": "rita@patients.example",
        "portal": "notice@clinic.example",
        "organisation": "Clinic Example",
        "hostname": "mta.clinic.example",
        "sender": "anna@clinic.example",
        "others": (),
        "original": ORIGINAL,
        "subject": "Re: x",
        "text": "x",
    }
    return ReplyMail(**{**fields, **changes})  # type: ignore[arg-type]  # a table of fields


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize(
    ("original", "subject"),
    [
        ("Ihr Befund", "Re: Ihr Befund"),
        ("re: Ihr Befund", "re: Ihr Befund"),
        ("", "Re:"),
        ("a\r\nBcc: evil@evil.example\r\n\r\nbody", "Re: a Bcc: evil@evil.example body"),
        ("a\x00b\u202egpj.exe\u2028c", "Re: a b gpj.exe c"),
        ("x" * 5000, "Re: " + "x" * 400),
    ],
)
def test_a_subject_is_one_line(original: str, subject: str) -> None:
    assert subject_of(original) == subject
    [line] = [one for one in b"".join(mail(subject=subject).write(0)).split(b"\r\n") if one.startswith(b"Bcc")] or [b""]
    assert line == b""


@pytest.mark.behaviour("P8")
@pytest.mark.parametrize("field", ["author", "sender", "portal"])
@pytest.mark.parametrize("address", ["a@x.example\r\nBcc: e@evil.example", "a\n@x.example", "a@x\r.example"])
def test_an_address_with_a_line_break_is_no_address(field: str, address: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        b"".join(mail(**{field: address}).write(0))


@pytest.mark.behaviour("P8")
def test_a_header_is_read_whatever_it_is() -> None:
    found = read_original(
        b"To: A <A@X.example>, undisclosed:;\r\nCc: b@x.example, (odd\r\nTO: c@x.example\r\n"
        b"Message-Id: <m@x.example>\r\nIn-Reply-To: <p@x.example>\r\n\r\nTo: body@x.example\r\n"
    )
    assert {"a@x.example", "c@x.example"} <= found.people
    assert "body@x.example" not in found.people
    assert (found.message_id, found.references) == ("<m@x.example>", ("<p@x.example>",))
    two = read_original(b"In-Reply-To: <p@x.example> <q@x.example>\r\n\r\n")
    assert (two.message_id, two.references) == ("", ())
    for odd in (b"", b"\0\xff" * HEADER_CAP, b"To: " + b"a@x.example, " * 100_000, b"References: " + b"<" * 100_000):
        read_original(odd)


@pytest.mark.behaviour("P8")
def test_a_long_thread_keeps_its_first_and_its_latest() -> None:
    long = tuple(f"<{number}@x.example>" for number in range(1000))
    parsed = message_from_bytes(
        b"".join(mail(original=Original("<m@x.example>", long, frozenset())).write(0)), policy=email_policy
    )
    references = str(parsed["References"]).split()
    assert (references[0], references[-2:], len(references)) == (
        "<0@x.example>",
        ["<999@x.example>", "<m@x.example>"],
        21,
    )


def test_a_message_without_an_id_is_answered_without_a_thread() -> None:
    head = b"".join(mail(original=Original("", ("<a@x.example>",), frozenset())).write(0))
    assert b"References" not in head
    assert b"In-Reply-To" not in head


@pytest.mark.parametrize(
    ("claimed", "kind"),
    [
        ("image/png", "image/png"),
        ("Application/PDF; x=y", "application/pdf"),
        ("text/html", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
        ("multipart/mixed", "application/octet-stream"),
        ("image/png\r\nBcc: x", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_kind_of_a_file_is_one_that_is_only_saved(claimed: str, kind: str) -> None:
    assert kind_of(claimed) == kind
