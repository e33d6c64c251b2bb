"""Wrappings of text: charsets, look-alikes, HTML, header fields, files inside a text.  Name, how, and for which values.

Each makes a whole message from a value.  "digits" are for values of digits only; "line" for values of one line.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from urllib.parse import quote

from tests.core.evasion_samples import attached, b64, message, part, prose, qp, soft

Wrap = Callable[[str], bytes]
UTF8 = "text/plain; charset=utf-8"


def plain(change: Callable[[str], str], kind: str = UTF8) -> Wrap:
    return lambda text: message(kind, prose(change(text)).encode("utf-8"))


def page(change: Callable[[str], str]) -> Wrap:
    return lambda text: message(
        "text/html; charset=utf-8", f"<html><body><p>Hello,</p>{change(text)}<p>Ann</p></body></html>".encode()
    )


def field(name: str, value: Callable[[str], bytes]) -> Wrap:
    def wrap(text: str) -> bytes:
        plain_field = name.encode() + b": " + value(text.replace("\n", "\r\n ")) + b"\r\n"
        return b"From: ann@site.example\r\n" + plain_field + b"MIME-Version: 1.0\r\n\r\nhello\r\n"

    return wrap


def word(text: str, encoding: str = "B", charset: str = "utf-8") -> bytes:
    data = text.replace("\r\n ", " ").encode(charset)
    if encoding == "B":
        return b"=?%b?B?%b?=" % (charset.encode(), base64.b64encode(data))
    return b"=?%b?Q?%b?=" % (charset.encode(), "".join(f"={byte:02X}" for byte in data).encode())


def words(text: str) -> bytes:
    text = text.replace("\r\n ", " ")
    return b"\r\n ".join(word(text[at : at + 6], "BQ"[at % 2]) for at in range(0, len(text), 6))


def charset(name: str, label: str | None = None) -> Wrap:
    return lambda text: message(
        f"text/plain; charset={label or name}", b64(text, name), "Content-Transfer-Encoding: base64"
    )


def utf7(text: str) -> bytes:
    encoded = base64.b64encode(text.encode("utf-16-be")).rstrip(b"=")
    return message("text/plain; charset=utf-7", b"Hello,\r\n+" + encoded + b"-\r\n")


def iso2022(text: str) -> bytes:
    body = prose(wide(text)).encode("iso2022_jp_2", "replace")
    return message("text/plain", body)


def wide(text: str) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def digits_from(start: int) -> Callable[[str], str]:
    return lambda text: "".join(chr(start + int(c)) if c.isdigit() else c for c in text)


def between(mark: str) -> Callable[[str], str]:
    return mark.join


def swapped(pairs: str) -> Callable[[str], str]:
    return lambda text: text.translate(str.maketrans(pairs[::2], pairs[1::2]))


def broken(mark: str) -> Callable[[str], str]:
    """Broken where a person would break it: at the second space or hyphen."""

    def change(text: str) -> str:
        at = [index for index, c in enumerate(text) if c in " -."][1:2]
        return text[: at[0]].rstrip() + (text[at[0]] if text[at[0]] != " " else "") + mark + text[at[0] + 1 :]

    return change


def entities(style: str) -> Callable[[str], str]:
    return lambda text: "".join(style.format(ord(c)) if c != "\n" else c for c in text)


def tags(text: str) -> str:
    return "".join(f"<b>{c}</b>" if index % 2 else c for index, c in enumerate(text))


def noise(hidden: str) -> Callable[[str], str]:
    return lambda text: f"<p>{text[:6]}{hidden}{text[6:]}</p>"


def cells(text: str) -> str:
    return "<table><tr>" + "".join(f"<td>{one}</td>\r\n" for one in text.split()) + "</tr></table>"


def uuencoded(text: str) -> str:
    data = text.encode()
    lines = [binascii.b2a_uu(data[at : at + 45]).decode().rstrip("\n") for at in range(0, len(data), 45)]
    return "\r\n".join(("begin 644 note.txt", *lines, "`", "end"))


def yenc(text: str) -> bytes:
    body = bytes((byte + 42) % 256 for byte in text.encode())
    for critical in b"=\0\n\r":
        body = body.replace(bytes((critical,)), bytes((61, (critical + 64) % 256)))
    return b"=ybegin line=128 size=%d name=note.txt\r\n" % len(text) + body + b"\r\n=yend size=%d\r\n" % len(text)


def armoured(text: str) -> str:
    return base64.b64encode(f"{text} and some more words".encode()).decode()


def calendar(text: str) -> bytes:
    value = text.replace("\n", "\\n")
    folded = f"DESCRIPTION:{value[:9]}\r\n {value[9:]}"
    body = f"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:x\r\n{folded}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    return message("text/calendar; charset=utf-8; method=REQUEST", body.encode())


def card_file(text: str) -> bytes:
    value = text.replace("\n", "\\n")
    return attached(
        "a.vcf", f"BEGIN:VCARD\r\nVERSION:3.0\r\nNOTE:{value[:9]}\r\n\t{value[9:]}\r\nEND:VCARD\r\n".encode()
    )


def named(text: str) -> bytes:
    value = text.replace("\n", " ")
    return message("text/plain", b"hello", f'Content-Disposition: attachment; filename="{value}.txt"')


def named_2231(text: str) -> bytes:
    value = quote(text.replace("\n", " "), safe="")
    half = len(value) // 2 - len(value) // 2 % 3
    pieces = f"filename*0*=utf-8''{value[:half]};\r\n filename*1*={value[half:]}"
    return message("text/plain", b"hello", f"Content-Disposition: attachment;\r\n {pieces}")


def named_2047(text: str) -> bytes:
    return message('image/png; name="' + word(text.replace("\n", " ")).decode() + '"', b"hello")


LETTERS = "AАBВEЕSЅIІKКMМHНOОPРCСTТXХaаeеoоpрcсiіdԁ"

# name, wrap, which values
TEXT: tuple[tuple[str, Wrap, str], ...] = (
    ("plain text", plain(str), ""),
    ("base64", lambda t: message(UTF8, b64(t), "Content-Transfer-Encoding: base64"), ""),
    (
        "quoted-printable, all spelled",
        lambda t: message(UTF8, qp(t), "Content-Transfer-Encoding: quoted-printable"),
        "",
    ),
    (
        "quoted-printable, soft break",
        lambda t: message(UTF8, soft(t), "Content-Transfer-Encoding: quoted-printable"),
        "",
    ),
    (
        "quoted-printable, white space behind the soft break",
        lambda t: message(UTF8, soft(t).replace(b"=\r\n", b"= \t\r\n"), "Content-Transfer-Encoding: quoted-printable"),
        "",
    ),
    (
        "quoted-printable, bare carriage return",
        lambda t: message(UTF8, b"x=\r" + t.encode() + b"\r\ny", "Content-Transfer-Encoding: quoted-printable"),
        "",
    ),
    ("charset utf-16", charset("utf-16"), ""),
    ("charset utf-16 without its mark", charset("utf-16-be", "utf-16be"), ""),
    ("charset utf-16, label wrong", charset("utf-16", "us-ascii"), ""),
    ("charset utf-16 without mark, label wrong", charset("utf-16-le", "us-ascii"), ""),
    ("charset utf-32", charset("utf-32"), ""),
    ("charset utf-7", utf7, ""),
    ("charset EBCDIC", charset("cp500"), ""),
    ("charset gb18030", charset("gb18030"), ""),
    ("charset unknown", charset("utf-8", "x-none"), ""),
    ("charset that is no charset", charset("utf-8", "base64"), ""),
    ("charset iso-2022-jp, undeclared", iso2022, ""),
    (
        "charset in the page only",
        lambda t: message(
            "text/html", b'<meta charset="utf-7">+' + base64.b64encode(t.encode("utf-16-be")).rstrip(b"=") + b"-"
        ),
        "",
    ),
    ("full-width characters", plain(wide), ""),
    ("Arabic-Indic digits", plain(digits_from(0x660)), ""),
    ("mathematical digits", plain(digits_from(0x1D7CE)), ""),
    ("circled digits", plain(lambda t: "".join("⓪①②③④⑤⑥⑦⑧⑨"[int(c)] if c.isdigit() else c for c in t)), ""),
    ("keycap digits", plain(lambda t: "".join(f"{c}\ufe0f\u20e3" if c.isdigit() else c for c in t)), ""),
    ("underlined by combining marks", plain(between("\u0332")), ""),
    ("zero width spaces", plain(between("\u200b")), ""),
    ("soft hyphens", plain(between("\u00ad")), ""),
    ("word joiners and marks of direction", plain(between("\u2060\u200e")), ""),
    ("no-break spaces", plain(lambda t: t.replace(" ", "\u00a0")), ""),
    ("typographic hyphens and spaces", plain(lambda t: t.replace(" ", "\u2003").replace("-", "\u2011")), ""),
    ("NUL bytes", plain(between("\0"), "text/plain"), ""),
    ("right-to-left override", plain(lambda t: "\n".join(f"\u202e{one[::-1]}\u202c" for one in t.split("\n"))), ""),
    ("letters for digits", plain(swapped("0O1l")), "digits"),
    ("Cyrillic letters for Latin", plain(lambda t: swapped(LETTERS)(t[:4]) + t[4:] + " and aа"), ""),
    ("marks between groups", plain(lambda t: t.replace(" ", " * ").replace("-", "_").replace(".", "|")), "digits"),
    ("bold in Markdown", plain(lambda t: f"**{t[:4]}**{t[4:]}"), "digits"),
    ("broken over lines", plain(broken("\r\n")), "groups"),
    ("broken over quoted lines", plain(lambda t: "> " + broken("\r\n> ")(t)), "groups"),
    ("format=flowed", plain(broken(" \r\n"), f"{UTF8}; format=flowed"), "groups"),
    (
        "format=flowed; DelSp=yes, inside a group",
        plain(lambda t: f"{t[:3]} \r\n{t[3:]}", f"{UTF8}; format=flowed; delsp=yes"),
        "",
    ),
    ("quoted reply", plain(lambda t: "> > " + t.replace("\n", "\r\n> > ")), ""),
    ("percent-encoded address", plain(lambda t: "mailto:a@example.org?body=" + quote(t.replace("\n", "\r\n"))), ""),
    ("base64 lines in the text", plain(armoured), ""),
    ("base64 lines in a quoted reply", plain(lambda t: "> " + armoured(t)), ""),
    (
        "base64 in base64",
        lambda t: message(
            UTF8, b64(base64.b64encode(armoured(t).encode()).decode()), "Content-Transfer-Encoding: base64"
        ),
        "",
    ),
    ("uuencode in the text", plain(uuencoded), ""),
    (
        "uuencode as transfer encoding",
        lambda t: message("application/octet-stream", uuencoded(t).encode(), "Content-Transfer-Encoding: x-uuencode"),
        "",
    ),
    ("yEnc in the text", lambda t: message("text/plain", yenc(t)), ""),
    ("BinHex in the text", plain(lambda t: f"(This file must be converted with BinHex 4.0)\r\n:{armoured(t)}:"), ""),
    ("HTML", page(lambda t: f"<p>{t}</p>"), ""),
    ("HTML under text/plain", lambda t: message("text/plain", f"<html><p>{tags(t)}</p>".encode()), ""),
    ("HTML, tags between characters", page(tags), ""),
    ("HTML, decimal references", page(entities("&#{};")), ""),
    ("HTML, hexadecimal references", page(entities("&#x{:X};")), ""),
    ("HTML, nbsp and shy", page(lambda t: t.replace(" ", "&nbsp;").replace("1", "1&shy;")), ""),
    ("HTML, comments between characters", page(between("<!-- x -->")), ""),
    ("HTML, inside a comment", page(lambda t: f"<!-- {t} -->"), ""),
    ("HTML, conditional comment with tags", page(lambda t: f"<!--[if mso]>{tags(t)}<![endif]-->"), ""),
    ("HTML, hidden noise", page(noise('<span style="display:none">9x9</span>')), ""),
    ("HTML, noise hidden by a bare attribute", page(noise("<span hidden>9x9</span>")), ""),
    ("HTML, noise hidden by an attribute in a line of its own", page(noise("<span\nhidden>9x9</span>")), ""),
    (
        "HTML, noise hidden by a class",
        page(lambda t: "<style>.q{display:none}</style>" + noise('<i class="q">9x9</i>')(t)),
        "",
    ),
    ("HTML, noise of size 0", page(noise('<font style="font-size:0px">77</font>')), ""),
    ("HTML, style elements between", page(noise("<style>x{}</style>")), ""),
    ("HTML, hidden value", page(lambda t: f'<div hidden="hidden">{tags(t)}</div>'), ""),
    ("HTML, table cells", page(cells), "groups-spaces"),
    ("HTML, attribute", page(lambda t: f'<img alt="{t}" src="x.png">'), ""),
    ("HTML, value of an input", page(lambda t: f"<input type=hidden value='{t}'>"), ""),
    ("HTML, data: address", page(lambda t: f'<a href="data:text/plain;base64,{armoured(t)}">x</a>'), ""),
    ("HTML, mailto: address", page(lambda t: f'<a href="mailto:a@example.org?body={quote(t)}">x</a>'), ""),
    ("HTML, script", page(lambda t: f"<script>var a = `{t}`;</script>"), ""),
    ("HTML, style content", page(lambda t: f"<style>p:before{{content:'{t}'}}</style>"), ""),
    ("HTML, bdo", page(lambda t: f"<bdo dir=rtl>{t[::-1]}</bdo>"), "line"),
    ("HTML, tag never closed", page(lambda t: f"<p {t}"), ""),
    (
        "XML, CDATA",
        lambda t: message("text/xml", f"<?xml version='1.0'?><a><![CDATA[{t[:5]}]]><![CDATA[{t[5:]}]]></a>".encode()),
        "",
    ),
    ("calendar, folded", calendar, ""),
    ("vCard, folded", card_file, ""),
    ("Subject", field("Subject", str.encode), ""),
    ("Subject, encoded words", field("Subject", words), ""),
    ("Subject, encoded word in utf-16", field("Subject", lambda t: word(t, "B", "utf-16")), ""),
    ("Subject, folded", field("Subject", lambda t: broken("\r\n ")(t).encode()), "groups-spaces"),
    ("display name", field("Cc", lambda t: b'"' + t.encode() + b'" <a@example.org>'), ""),
    ("display name, encoded words", field("Reply-To", lambda t: words(t) + b" <a@example.org>"), ""),
    ("List-Id", field("List-Id", lambda t: t.encode() + b" <l.example.org>"), ""),
    ("X- field", field("X-Remark", str.encode), ""),
    ("Keywords", field("Keywords", str.encode), ""),
    ("Content-Description", field("Content-Description", str.encode), ""),
    ("file name", named, ""),
    ("file name, RFC 2231", named_2231, ""),
    ("file name, encoded word", named_2047, ""),
    (
        "delivery report",
        lambda t: message(
            "multipart/report; boundary=b",
            b"--b\r\n"
            + part(
                "message/delivery-status",
                b"Reporting-MTA: dns; a\r\n\r\nDiagnostic-Code: smtp; 550 " + t.replace("\n", "\r\n ").encode(),
            )
            + b"\r\n--b--\r\n",
        ),
        "",
    ),
    (
        "header returned in a report",
        lambda t: message(
            "multipart/report; boundary=b",
            b"--b\r\n"
            + part("text/rfc822-headers", b"Subject: " + t.replace("\n", "\r\n ").encode() + b"\r\n")
            + b"\r\n--b--\r\n",
        ),
        "",
    ),
    (
        "CSV that claims to be a picture",
        lambda t: attached("a.png", b"name,number\r\nx," + t.encode() + b"\r\n", "image/png"),
        "",
    ),
    (
        "text after control characters",
        lambda t: message("application/octet-stream", b"\x01\x02" + prose(t).encode()),
        "",
    ),
    (
        "attached message",
        lambda t: message(
            "multipart/mixed; boundary=b",
            b"--b\r\n"
            + part("message/rfc822", message(UTF8, b64(t), "Content-Transfer-Encoding: base64"))
            + b"\r\n--b--\r\n",
        ),
        "",
    ),
    (
        "Subject of an attached message",
        lambda t: message(
            "multipart/mixed; boundary=b",
            b"--b\r\n"
            + part("message/rfc822", b"Subject: " + words(t.replace("\n", " ")) + b"\r\n\r\nx")
            + b"\r\n--b--\r\n",
        ),
        "",
    ),
    (
        "message attached as a file",
        lambda t: attached("m.eml", message(UTF8, b64(t), "Content-Transfer-Encoding: base64")),
        "",
    ),
    ("30 messages deep", lambda t: b"Content-Type: message/rfc822\r\n\r\n" * 30 + message(UTF8, prose(t).encode()), ""),
    (
        "200 messages deep",
        lambda t: b"Content-Type: message/rfc822\r\n\r\n" * 200 + message(UTF8, prose(t).encode()),
        "",
    ),
    ("behind 100 kB of text", lambda t: message(UTF8, b"lorem ipsum dolor\r\n" * 6000 + prose(t).encode()), ""),
)
