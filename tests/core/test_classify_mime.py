"""The wrappings in which text travels: each hides an identifier, and the classifier must see it."""

from __future__ import annotations

import base64
import copy
import io
import quopri
from email.message import EmailMessage

import pytest

from restante.classify.engine import Classifier
from restante.classify.finding import Classification, Confidence
from restante.policy import Policy, Triggers

CARD = "4111 1111 1111 1111"
CLASSIFIER = Classifier(Policy.default())
THOROUGH = Classifier(Policy.default(), least=Confidence.LOW)


def classify(message: bytes, classifier: Classifier = CLASSIFIER) -> Classification:
    return classifier.classify(io.BytesIO(message))


def cards(result: Classification) -> set[str]:
    return {
        hit.place for hit in result.findings if hit.detector == "payment-card" and hit.confidence is Confidence.HIGH
    }


def ambiguous(result: Classification) -> list[str]:
    return [hit.reason for hit in result.findings if hit.detector == "ambiguous-mime"]


def b64(text: str | bytes) -> bytes:
    return base64.encodebytes(text.encode() if isinstance(text, str) else text)


def part(content_type: str, body: bytes, *headers: str) -> bytes:
    lines = ["MIME-Version: 1.0", f"Content-Type: {content_type}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def mixed(*parts: bytes, boundary: str = "frontier") -> bytes:
    inner = b"".join(f"--{boundary}\r\n".encode() + one + b"\r\n" for one in parts)
    return part(f'multipart/mixed; boundary="{boundary}"', inner + f"--{boundary}--\r\n".encode())


SOFT = CARD.replace(" ", "\u00ad")
# name, message, place
CLEAR: tuple[tuple[str, bytes, str], ...] = (
    ("no MIME at all", b"Subject: x\n\n" + CARD.encode(), "body"),
    ("base64", part("text/plain", b64(CARD), "Content-Transfer-Encoding: base64"), "body"),
    ("BASE64", part("TEXT/PLAIN", b64(CARD), "CONTENT-TRANSFER-ENCODING: BASE64"), "body"),
    (
        "base64 in one line",
        part("text/plain", base64.b64encode(CARD.encode()), "Content-Transfer-Encoding: base64"),
        "body",
    ),
    (
        "base64 unpadded",
        part("text/plain", b64(CARD + ",x").rstrip(b"=\n"), "Content-Transfer-Encoding: base64"),
        "body",
    ),
    (
        "qp",
        part(
            "text/plain",
            quopri.encodestring(CARD.encode(), quotetabs=True),
            "Content-Transfer-Encoding: quoted-printable",
        ),
        "body",
    ),
    (
        "qp soft break",
        part("text/plain", b"4111 1111 =\r\n1111 1111", "Content-Transfer-Encoding: quoted-printable"),
        "body",
    ),
    (
        "utf-16",
        part("text/plain; charset=utf-16", b64(CARD.encode("utf-16")), "Content-Transfer-Encoding: base64"),
        "body",
    ),
    ("utf-16le", part("text/plain; charset=utf-16le", CARD.encode("utf-16-le")), "body"),
    ("utf-16 unlabelled", part("text/plain", b64(CARD.encode("utf-16")), "Content-Transfer-Encoding: base64"), "body"),
    ("utf-16 label on ASCII", part("text/plain; charset=utf-16", CARD.encode()), "body"),
    (
        "utf-7",
        part("text/plain; charset=utf-7", b"+" + base64.b64encode(CARD.encode("utf-16-be")).rstrip(b"=") + b"-"),
        "body",
    ),
    (
        "ebcdic",
        part("text/plain; charset=cp500", b64(CARD.encode("cp500")), "Content-Transfer-Encoding: base64"),
        "body",
    ),
    ("unknown charset", part("text/plain; charset=x-nonesuch", CARD.encode()), "body"),
    ("codec that is no charset", part("text/plain; charset=zlib", CARD.encode()), "body"),
    ("charset idna", part("text/plain; charset=idna", CARD.encode()), "body"),
    ("soft hyphens", part("text/plain; charset=utf-8", SOFT.encode()), "body"),
    ("no-break spaces", part("text/plain; charset=utf-8", CARD.replace(" ", "\u00a0").encode()), "body"),
    (
        "no-break spaces in latin-1",
        part("text/plain; charset=iso-8859-1", CARD.replace(" ", "\u00a0").encode("latin-1")),
        "body",
    ),
    (
        "no-break spaces in unlabelled latin-1",
        part("text/plain", CARD.replace(" ", "\u00a0").encode("latin-1")),
        "body",
    ),
    ("no-break hyphens", part("text/plain; charset=utf-8", CARD.replace(" ", "\u2011").encode()), "body"),
    ("zeros", part("text/plain; charset=utf-8", CARD.replace(" ", "\0").encode()), "body"),
    (
        "zeros beside an umlaut",
        part("text/plain; charset=utf-8", ("\u00fc " + CARD.replace(" ", "\0")).encode()),
        "body",
    ),
    ("zero width", part("text/plain; charset=utf-8", "\u200b".join(CARD).encode()), "body"),
    (
        "full width",
        part("text/plain; charset=utf-8", CARD.translate({48 + n: 0xFF10 + n for n in range(10)}).encode()),
        "body",
    ),
    (
        "arabic digits",
        part("text/plain; charset=utf-8", CARD.translate({48 + n: 0x660 + n for n in range(10)}).encode()),
        "body",
    ),
    ("NUL bytes", part("text/plain", "\0".join(CARD).encode()), "body"),
    ("html", part("text/html", b"<p>" + CARD.encode() + b"</p>"), "html"),
    ("html split by tags", part("text/html", b"<b>4111</b><i> 1111</i> 11<!-- x -->11 1111"), "html"),
    ("html entities", part("text/html", "".join(f"&#{ord(c)};" for c in CARD).encode()), "html"),
    ("html hex entities", part("text/html", "".join(f"&#x{ord(c):x};" for c in CARD).encode()), "html"),
    ("html nbsp", part("text/html", CARD.replace(" ", "&nbsp;").encode()), "html"),
    ("html shy", part("text/html", CARD.replace(" ", "&shy;").encode()), "html"),
    ("html attribute", part("text/html", f'<img alt="{CARD}" src=x>'.encode()), "html"),
    ("html comment", part("text/html", f"<p>x</p><!-- {CARD} -->".encode()), "html"),
    ("html unclosed tag", part("text/html", f"<p {CARD}".encode()), "html"),
    (
        "attachment txt",
        mixed(part("text/plain", CARD.encode(), 'Content-Disposition: attachment; filename="a.txt"')),
        "attachment:a.txt",
    ),
    (
        "attachment octet-stream csv",
        mixed(
            part(
                "application/octet-stream; name=b.csv", b64("a,4111111111111111,b"), "Content-Transfer-Encoding: base64"
            )
        ),
        "attachment:b.csv",
    ),
    (
        "attachment without extension",
        mixed(
            part(
                "application/octet-stream",
                b64("x " * 2000 + CARD),
                "Content-Transfer-Encoding: base64",
                "Content-Disposition: attachment; filename=data",
            )
        ),
        "attachment:data",
    ),
    (
        "attachment RFC 2231 name",
        mixed(
            part(
                "text/plain",
                CARD.encode(),
                "Content-Disposition: attachment;\r\n filename*0*=utf-8''%e2%82%ac; filename*1=.txt",
            )
        ),
        "attachment:€.txt",
    ),
    (
        "attachment RFC 2047 name",
        mixed(
            part("text/plain", CARD.encode(), 'Content-Disposition: attachment; filename="=?utf-8?B?4oKsLnR4dA==?="')
        ),
        "attachment:€.txt",
    ),
    ("nested message", mixed(part("message/rfc822", b"Subject: y\r\n\r\n" + CARD.encode())), "attachment:message.eml"),
    (
        "nested subject",
        mixed(part("message/rfc822", b"Subject: " + CARD.encode() + b"\r\n\r\nx")),
        "attachment:message.eml",
    ),
    ("nested multipart", mixed(mixed(part("text/html", CARD.encode()), boundary="frontier2")), "html"),
    (
        "nested message with multipart",
        mixed(
            part(
                "message/rfc822",
                mixed(part("text/plain", b64(CARD), "Content-Transfer-Encoding: base64"), boundary="b2"),
            )
        ),
        "attachment:message.eml",
    ),
    (
        "eml as octet-stream",
        mixed(
            part(
                "application/octet-stream; name=m.eml",
                b64(part("text/plain", b64(CARD), "Content-Transfer-Encoding: base64")),
                "Content-Transfer-Encoding: base64",
            )
        ),
        "attachment:m.eml",
    ),
    (
        "multipart/digest",
        part("multipart/digest; boundary=d", b"--d\r\n\r\nSubject: y\r\n\r\n" + CARD.encode() + b"\r\n--d--\r\n"),
        "attachment:message.eml",
    ),
    ("no newline at the end", mixed(part("text/plain", CARD.encode())).rstrip(b"\r\n"), "body"),
    (
        "unquoted boundary and name",
        part(
            "multipart/mixed; boundary=b=1",
            b"--b=1\nContent-Type: text/plain; name=my file.txt\n\n" + CARD.encode() + b"\n--b=1--",
        ),
        "attachment:my file.txt",
    ),
    ("boundary after a long line", mixed(part("text/plain", b"a" * 200_000 + b" " + CARD.encode())), "body"),
    ("subject", b"Subject: " + CARD.encode() + b"\n\nx", "subject"),
    ("subject encoded", b"Subject: =?utf-8?B?" + base64.b64encode(CARD.encode()) + b"?=\n\nx", "subject"),
    (
        "subject split words",
        b"Subject: =?utf-8?Q?4111_1111?=\r\n =?utf-8?Q?_1111_11?= =?us-ascii?Q?11?=\n\nx",
        "subject",
    ),
    ("subject folded", b"Subject: 4111 1111\r\n 1111 1111\r\n\r\nx", "subject"),
    (
        "CSV over several windows",
        part("text/csv", b"name,city\n" * 30_000 + CARD.encode() + b"\n" + b"name,city\n" * 30_000),
        "body",
    ),
)


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(("message", "place"), [case[1:] for case in CLEAR], ids=[case[0] for case in CLEAR])
def test_sees_through_the_wrapping(message: bytes, place: str) -> None:
    result = classify(message)
    assert cards(result) == {place}
    assert ambiguous(result) == []


# Bare UTF-16 has no line ends that could be converted.
CONVERTIBLE = [case for case in CLEAR if case[0] != "utf-16le"]


@pytest.mark.parametrize("message", [case[1] for case in CONVERTIBLE], ids=[case[0] for case in CONVERTIBLE])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_line_ends_and_block_size_change_nothing(message: bytes, ending: bytes) -> None:
    message = message.replace(b"\r\n", b"\n").replace(b"\n", ending)
    whole = classify(message)
    for block in (1, 7, 4096) if len(message) < 4096 else (997,):
        small = copy.copy(CLASSIFIER)
        small._block = block
        assert _stable(classify(message, small)) == _stable(whole)


def _stable(result: Classification) -> list[tuple[object, ...]]:
    shown = [(hit.detector, hit.place, hit.match, hit.confidence, hit.reason) for hit in result.findings]
    return [*shown, (result.subject, result.trigger_tag, result.attachments)]


TEXT = b64(CARD)
PLAIN_PART = b"--b\nContent-Type: text/plain\n\nhello\n"
# name, message; each holds the card in one of its readings
DOUBTFUL: tuple[tuple[str, bytes], ...] = (
    ("base64 and a space", b"Content-Transfer-Encoding: base64 \n\n" + TEXT),
    ("base64 and junk", b"Content-Transfer-Encoding: base64 junk\n\n" + TEXT),
    ("base64 and a comment", b"Content-Transfer-Encoding: base64 (really)\n\n" + TEXT),
    ("base64 junk on plain text", b"Content-Transfer-Encoding: base64 junk\n\n" + CARD.encode()),
    ("base64 that is plain text", b"Content-Transfer-Encoding: base64\n\nNumber: " + CARD.encode()),
    ("unknown encoding", b"Content-Transfer-Encoding: x-secret\n\n" + TEXT),
    ("two encodings", b"Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\n" + TEXT),
    ("two encodings, other order", b"Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n\n" + TEXT),
    ("two types", b"Content-Type: text/plain\nContent-Type: application/pdf\n\n" + CARD.encode()),
    ("two types, other order", b"Content-Type: application/pdf\nContent-Type: text/plain\n\n" + CARD.encode()),
    ("preamble", b"Content-Type: multipart/mixed; boundary=b\n\n" + CARD.encode() + b"\n" + PLAIN_PART + b"--b--\n"),
    ("epilogue", b"Content-Type: multipart/mixed; boundary=b\n\n" + PLAIN_PART + b"--b--\n" + CARD.encode()),
    ("no boundary parameter", b"Content-Type: multipart/mixed\n\n" + CARD.encode()),
    ("boundary never appears", b"Content-Type: multipart/mixed; boundary=b\n\n" + CARD.encode()),
    ("boundary never closes", b"Content-Type: multipart/mixed; boundary=b\n\n" + PLAIN_PART + CARD.encode()),
    (
        "two boundary parameters",
        b"Content-Type: multipart/mixed; boundary=a; boundary=b\n\n" + PLAIN_PART + CARD.encode() + b"\n--b--",
    ),
    (
        "doubled boundary line",
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + PLAIN_PART + CARD.encode() + b"\n--b--",
    ),
    (
        "part after the close",
        b"Content-Type: multipart/mixed; boundary=b\n\n" + PLAIN_PART + b"--b--\n--b\n\n" + TEXT + b"\n--b--\n",
    ),
    ("inner multipart not closed", mixed(part("multipart/mixed; boundary=inner", b"--inner\n\n" + CARD.encode()))),
    (
        "boundary used twice",
        mixed(part("multipart/mixed; boundary=frontier", b"--frontier\n\n" + CARD.encode() + b"\n--frontier--")),
    ),
    ("part without empty line", b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + CARD.encode() + b"\n--b--\n"),
    (
        "base64 message",
        mixed(
            part(
                "message/rfc822",
                b64(part("text/plain", TEXT, "Content-Transfer-Encoding: base64")),
                "Content-Transfer-Encoding: base64",
            )
        ),
    ),
    (
        "base64 multipart",
        part(
            "multipart/mixed; boundary=b",
            b64(PLAIN_PART + b"--b\n\n" + CARD.encode() + b"\n--b--"),
            "Content-Transfer-Encoding: base64",
        ),
    ),
    ("padding in mid-stream", b"Content-Transfer-Encoding: base64\n\n" + base64.b64encode(b"hi") + b"\n" + TEXT),
    (
        "text after base64",
        b"Content-Transfer-Encoding: base64\n\n" + b64("hello") + b"\n-- \nlist footer, " + CARD.encode(),
    ),
    ("NUL in the type", b"Content-Type: text/\0plain\n\n" + CARD.encode()),
    ("space before the colon", b"Content-Transfer-Encoding : base64\n\n" + TEXT),
    ("bare carriage returns", b"X-A: b\r\r" + CARD.encode() + b"\n\nhello"),
    ("bare carriage returns at once", b"X-A:\r\r" + CARD.encode() + b"\n\nhello"),
    ("header line without colon", b"Subject: x\njunk\nContent-Transfer-Encoding: base64\n\n" + TEXT),
)


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize("message", [case[1] for case in DOUBTFUL], ids=[case[0] for case in DOUBTFUL])
def test_doubtful_structure_is_said_and_every_reading_scanned(message: bytes) -> None:
    result = classify(b"From: a@example.com\nMIME-Version: 1.0\n" + message)
    assert ambiguous(result)
    assert cards(result)
    assert all(hit.confidence is Confidence.HIGH for hit in result.findings if hit.detector == "ambiguous-mime")


def _ordinary() -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Größe und Preis"
    message.set_content("Hello,\nsee the picture.\n")
    message.add_alternative("<p>Hello, <b>see</b> the picture &amp; more.</p>", subtype="html")
    message.add_attachment(
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40, maintype="image", subtype="png", filename="p.png"
    )
    forwarded = EmailMessage()
    forwarded["Subject"] = "Older"
    forwarded.set_content("Text äöü\n", cte="quoted-printable")
    message.add_attachment(forwarded)
    return message


ORDINARY: tuple[tuple[str, bytes], ...] = (
    ("Python's own", bytes(_ordinary())),
    ("no final line end", mixed(part("text/plain", b"hello")).rstrip()),
    ("8-bit headers", "Subject: Grüße\nX-Name: Ülkü\n\nhello".encode("latin-1")),
    (
        "plain preamble",
        b"Content-Type: multipart/mixed; boundary=b\n\nThis is a multi-part message in MIME format.\n"
        + PLAIN_PART
        + b"--b--\n",
    ),
    ("plain epilogue", b"Content-Type: multipart/mixed; boundary=b\n\n" + PLAIN_PART + b"--b--\n\n-- \nlist footer\n"),
    ("unquoted name", b"Content-Type: text/plain; name=my file (1).txt\n\nhello"),
    ("empty part", b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--b--\n"),
    ("8BIT", b"Content-Transfer-Encoding: 8BIT\n\nhello"),
    ("signature and dashes", mixed(part("text/plain", b"--\r\nJohn\r\n---------- Forwarded ----------\r\n-- \r\n"))),
    ("mbox line", b"From a@example.com Mon Nov  2 10:00:00 2026\nSubject: x\n\nhello"),
    ("empty", b""),
    ("only a header", b"Subject: x\n"),
    ("only a body", b"\nhello"),
    ("charset twice the same", b"Content-Type: text/plain; charset=utf-8; charset=utf-8\n\nhello"),
    (
        "nested boundary that begins alike",
        mixed(mixed(part("text/plain", b"x"), boundary="frontier_1"), part("text/plain", b"y")),
    ),
    ("white space after the boundary", b"Content-Type: multipart/mixed; boundary=b\n\n--b \t\n\nhello\n--b-- \n"),
)


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize("message", [case[1] for case in ORDINARY], ids=[case[0] for case in ORDINARY])
def test_ordinary_mail_has_no_finding_at_all(message: bytes) -> None:
    assert classify(message).findings == ()


@pytest.mark.behaviour("C2")
@pytest.mark.parametrize(
    ("header", "detector", "tag"),
    [
        (b"Subject: [secure] hello", "trigger-subject", "[secure]"),
        (b"Subject: Re: [SeCuRe] hello", "trigger-subject", "[SeCuRe]"),
        (b"Subject: =?utf-8?Q?=5BSecure=5D_gr=C3=BC=C3=9Fe?=", "trigger-subject", "[Secure]"),
        (b"Subject: =?utf-8?Q?=5BSec?=\r\n =?utf-8?Q?ure=5D?= x", "trigger-subject", "[Secure]"),
        (b"Subject: hello\r\n [secure]", "trigger-subject", "[secure]"),
        (b"subject:[secure]", "trigger-subject", "[secure]"),
        (b"Subject: x\r\nSubject: [secure]", "trigger-subject", "[secure]"),
        (b"Sensitivity: Personal", "trigger-sensitivity", ""),
        (b"Sensitivity: private", "trigger-sensitivity", ""),
        (b"sensitivity: Company-Confidential", "trigger-sensitivity", ""),
        (b"X-Restante-Secure: yes", "trigger-header", ""),
        (b"x-restante-secure: 1", "trigger-header", ""),
        (b"Sensitivity: normal", None, ""),
        (b"Sensitivity: Normal\r\nX-Restante-Secure: no", None, ""),
        (b"Subject: secure", None, ""),
        (b"Subject: [insecure] [secure-ish]", None, ""),
    ],
)
def test_the_senders_own_trigger(header: bytes, detector: str | None, tag: str) -> None:
    result = classify(header + b"\r\n\r\nhello\r\n")
    assert [hit.detector for hit in result.findings] == ([detector] if detector else [])
    assert result.trigger_tag == tag


@pytest.mark.behaviour("C2")
def test_triggers_are_the_policys() -> None:
    policy = Policy(triggers=Triggers(subject_tags=("Geheim", "c++"), headers=("X-Seal",), sensitivity=False))
    result = classify(b"Subject: [c++] x\nX-Seal: on\nSensitivity: private\n\n", Classifier(policy))
    assert [hit.detector for hit in result.findings] == ["trigger-subject", "trigger-header"]


@pytest.mark.behaviour("C2")
def test_a_tag_in_an_attached_message_is_that_senders() -> None:
    result = classify(mixed(part("message/rfc822", b"Subject: [secure] y\r\n\r\nx")))
    assert result.findings == ()
    assert result.trigger_tag == ""


def test_subject_and_attachment_names_are_reported() -> None:
    message = _ordinary()
    message.replace_header("Subject", "Größe")
    result = classify(bytes(message))
    assert result.subject == "Größe"
    assert result.attachments == ("p.png", "message.eml")


def test_a_file_name_that_holds_an_identifier_is_not_repeated_in_clear() -> None:
    name = 'Content-Disposition: attachment; filename="4111111111111111.txt"'
    result = classify(mixed(part("text/plain", b"536-90-4399", name)))
    assert {hit.detector for hit in result.findings} == {"payment-card", "id-us-ssn"}
    assert not any("4111111111111111" in f"{hit.place} {hit.match}" for hit in result.findings)


@pytest.mark.behaviour("C4")
@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("application/zip", b"PK\x03\x04\x14\x00\x01\x00" + bytes(100), "encrypted ZIP archive"),
        (
            "application/octet-stream",
            b"PK\x03\x04\x14\x00\x00\x00" + bytes(100),
            "ZIP archive or Office document: not looked into",
        ),
        ("application/pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF: not looked into"),
        ("application/octet-stream", b"Rar!\x1a\x07\x01\x00" + bytes(50), "RAR archive: not looked into"),
        ("application/pkcs7-mime", b"0\x82" + bytes(50), "encrypted content"),
    ],
)
def test_what_cannot_be_looked_into_is_a_finding(kind: str, body: bytes, reason: str) -> None:
    message = mixed(
        part(kind, b64(body), "Content-Transfer-Encoding: base64", "Content-Disposition: attachment; filename=f")
    )
    hits = classify(message).findings
    assert [(hit.detector, hit.place, hit.reason, hit.confidence) for hit in hits] == [
        ("cannot-inspect", "attachment:f", reason, Confidence.MEDIUM)
    ]


def test_a_vague_number_outside_the_parts_is_not_doubtful() -> None:
    result = classify(b"Content-Type: multipart/mixed; boundary=b\n\n" + PLAIN_PART + b"--b--\n\nref 123456782\n")
    assert not [hit for hit in result.findings if hit.confidence > Confidence.LOW]


@pytest.mark.behaviour("C1")
@pytest.mark.parametrize(
    ("body", "quoted"),
    [
        (b"> my card is 4111 1111 1111 1111\r\n", True),
        (b"> > 4111 1111\r\n> > 1111 1111\r\n", True),
        (b"On Monday Bob wrote: 4111 1111 1111 1111\r\n", False),
        (b"> 4111 1111 1111 1111\r\nyes, 4111 1111 1111 1111 it is\r\n", False),
        (b"4111 1111 1111 1111\r\n> 4111 1111 1111 1111\r\n", False),
        (b"<html><p>hi</p><blockquote><p>4111 1111 1111 1111</p></blockquote></html>", True),
        (b"<html><blockquote><p>hi</p></blockquote><p>4111 1111 1111 1111</p></html>", False),
    ],
)
def test_quoted_replies_are_marked(body: bytes, *, quoted: bool) -> None:
    kind = "text/html" if b"<" in body else "text/plain"
    hits = [hit for hit in classify(part(kind, body)).findings if hit.detector == "payment-card"]
    assert [hit.quoted for hit in hits] == [quoted]


@pytest.mark.behaviour("C1")
def test_a_number_in_a_field_that_only_programs_read_is_vague_unless_words_say_what_it_is() -> None:
    assert cards(classify(b"Message-ID: <4111111111111111@example.org>\n\nhello")) == set()
    assert cards(classify(b"X-Remark: 4111111111111111\n\nhello")) == {"header:X-Remark"}
