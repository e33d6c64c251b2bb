"""Wrappings of structure: headers and multiparts that readers take apart differently, and containers.

The ideas are those of draft-chen-email-mime-ambiguity-defense and of published work on how mail filters are evaded:
what a lenient reader decodes and a strict one does not, or the other way round.
"""

from __future__ import annotations

import base64
import binascii
import bz2
import gzip
from collections.abc import Callable

from fpdf import FPDF

from tests.core.attachment_samples import letter, pdf, seven_zipped, sheets, tarred, zipped
from tests.core.evasion_samples import HEAD, attached, b64, message, mixed, part, prose, qp

Wrap = Callable[[str], bytes]
TEXT = part("text/plain", b"hello")
CODED = "Content-Transfer-Encoding: base64"


def header(*fields: str) -> Wrap:
    """A message whose header has ``fields`` and whose body is base64."""
    lines = "\r\n".join(fields).encode("latin-1")
    return lambda text: HEAD + lines + b"\r\n\r\n" + b64(text)


def clear(*fields: str) -> Wrap:
    """The same with a body in clear."""
    lines = "\r\n".join(fields).encode("latin-1")
    return lambda text: HEAD + lines + b"\r\n\r\n" + prose(text).encode()


def parts(kind: str, *delimiters: str, before: bytes = b"", after: bytes = b"") -> Wrap:
    """A multipart of ``kind`` whose second part holds the value in base64, between ``delimiters``."""

    def wrap(text: str) -> bytes:
        first, second, last = (one.encode("latin-1") for one in delimiters)
        body = before + first + b"\r\n" + TEXT + b"\r\n" + second + b"\r\n"
        return message(kind, body + part("text/plain", b64(text), CODED) + last + b"\r\n" + after)

    return wrap


def outside(before: str, after: str, body: Callable[[str], bytes]) -> Wrap:
    """A multipart of one harmless part, with the value before or behind it."""

    def wrap(text: str) -> bytes:
        data = body(text)
        inner = b"--b\r\n" + TEXT + b"\r\n--b--\r\n"
        return message("multipart/mixed; boundary=b", (data if before else b"") + inner + (data if after else b""))

    return wrap


def inner(head: str, *, coded: bool = True) -> Wrap:
    """A part whose header is ``head``."""

    def wrap(text: str) -> bytes:
        body = b64(text) if coded else prose(text).encode()
        return message("multipart/mixed; boundary=b", b"--b\r\n" + head.encode("latin-1") + body + b"\r\n--b--\r\n")

    return wrap


def base64_with(change: Callable[[bytes], bytes]) -> Wrap:
    return lambda text: message("text/plain", change(b64(text)), CODED)


def coded_message(text: str) -> bytes:
    nested = message("text/plain", b64(text), CODED)
    return message("message/rfc822", b64(nested.decode()), CODED)


def coded_multipart(text: str) -> bytes:
    nested = b"--b\r\n" + part("text/plain", prose(text).encode()) + b"\r\n--b--\r\n"
    return message("multipart/mixed; boundary=b", b64(nested.decode()), CODED)


def in_pdf(text: str) -> bytes:
    def draw(document: FPDF) -> None:
        for line in text.split("\n"):
            document.cell(text=line)
            document.ln()

    return pdf(draw)


def in_letter(text: str) -> bytes:
    return letter(lambda document: document.add_paragraph(text))


def in_sheet(text: str) -> bytes:
    return sheets(lambda book: book.active.append(["name", text]))


def rtf(text: str) -> bytes:
    return b"{\\rtf1\\ansi " + text.replace("\n", "\\line\n").encode() + b"}"


M = "multipart/mixed; boundary="
ENDS = ("--b", "--b", "--b--")
STRUCTURE: tuple[tuple[str, Wrap, str], ...] = (
    ("encoding: white space behind", header("Content-Transfer-Encoding: base64 "), ""),
    ("encoding: another word behind", header("Content-Transfer-Encoding: base64 junk"), ""),
    ("encoding: comment behind", header("Content-Transfer-Encoding: base64 (really)"), ""),
    ("encoding: comment inside", header("Content-Transfer-Encoding: ba(x)se64"), ""),
    ("encoding: in quotes", header('Content-Transfer-Encoding: "base64"'), ""),
    ("encoding: two with a comma", header("Content-Transfer-Encoding: 7bit, base64"), ""),
    ("encoding: NUL inside", header("Content-Transfer-Encoding: bas\0e64"), ""),
    ("encoding: folded inside", header("Content-Transfer-Encoding: bas\r\n e64"), ""),
    ("encoding: encoded word", header("Content-Transfer-Encoding: =?us-ascii?Q?base=364?="), ""),
    ("encoding: unknown", header("Content-Transfer-Encoding: x-base64"), ""),
    ("encoding: twice", header("Content-Transfer-Encoding: 7bit", CODED), ""),
    ("encoding: twice, other order", header(CODED, "Content-Transfer-Encoding: 7bit"), ""),
    ("encoding: base64 over plain text", clear(CODED), ""),
    ("encoding: none declared", header("X-A: b"), ""),
    ("field: space before the colon", header("Content-Transfer-Encoding : base64"), ""),
    ("field: NUL before the name", header("\0Content-Transfer-Encoding: base64"), ""),
    ("field: NUL before the colon", header("Content-Transfer-Encoding\0: base64"), ""),
    ("field: comment in the name", header("Content-Transfer-Encoding(x): base64"), ""),
    ("field: folded into another", header("X-A: b\r\n Content-Transfer-Encoding: base64"), ""),
    ("field: behind a bare carriage return", header("X-A: b\rContent-Transfer-Encoding: base64"), ""),
    ("field: name twice", header("Content-Transfer-Encoding:Content-Transfer-Encoding:base64"), ""),
    ("field: behind a line without a colon", header("junk", CODED), ""),
    ("field: behind the empty line", lambda t: HEAD + b"\r\n" + CODED.encode() + b"\r\n\r\n" + b64(t), ""),
    ("type: twice, one harmless", clear("Content-Type: text/plain", "Content-Type: image/png"), ""),
    ("type: twice, other order", clear("Content-Type: image/png", "Content-Type: text/plain"), ""),
    ("type: two with a comma", header("Content-Type: image/png, text/plain", CODED), ""),
    ("type: no slash", header("Content-Type: plain", CODED), ""),
    ("type: two slashes", header("Content-Type: text/plain/x", CODED), ""),
    ("type: empty", header("Content-Type: ", CODED), ""),
    ("type: NUL inside", header("Content-Type: te\0xt/plain", CODED), ""),
    ("type: comment", header("Content-Type: text(x)/plain", CODED), ""),
    ("type: picture over text", header("Content-Type: image/png", CODED), ""),
    ("charset: twice", lambda t: message("text/plain; charset=us-ascii; charset=utf-16", b64(t, "utf-16"), CODED), ""),
    ("charset: wrong", lambda t: message("text/plain; charset=utf-16", b64(t), CODED), ""),
    (
        "charset: in RFC 2231 pieces",
        lambda t: message("text/plain; charset*0=ut; charset*1=f-7", b"+" + b64_utf16(t) + b"-"),
        "",
    ),
    ("base64: no padding", base64_with(lambda d: d.rstrip(b"=\r\n")), ""),
    ("base64: one line", base64_with(lambda d: d.replace(b"\r\n", b"")), ""),
    ("base64: lines of one character", base64_with(lambda d: b"\r\n".join(bytes((c,)) for c in d if c > 32)), ""),
    (
        "base64: characters outside the alphabet",
        base64_with(lambda d: b".".join(d[i : i + 7] for i in range(0, len(d), 7))),
        "",
    ),
    (
        "base64: 8-bit characters between",
        base64_with(lambda d: b"\xe4".join(d[i : i + 5] for i in range(0, len(d), 5))),
        "",
    ),
    (
        "base64: alphabet of addresses",
        lambda t: message("text/plain", b64("??>>" + t).translate(bytes.maketrans(b"+/", b"-_")), CODED),
        "",
    ),
    ("base64: padding in the middle", lambda t: message("text/plain", b"aGk=\r\n" + b64(t), CODED), ""),
    (
        "base64: padding between quanta",
        base64_with(lambda d: b"====".join(d.replace(b"\r\n", b"")[i : i + 8] for i in range(0, len(d), 8))),
        "",
    ),
    (
        "base64: text behind the end",
        lambda t: message("text/plain", b"aGVsbG8=\r\n\r\n" + prose(t).encode(), CODED),
        "",
    ),
    ("multipart", parts(f"{M}b", *ENDS), ""),
    ("boundary: twice", parts(f"{M}x; boundary=b", *ENDS), ""),
    ("boundary: twice, other order", parts(f"{M}b; boundary=x", *ENDS), ""),
    ("boundary: comma", parts(f"{M}x,b", *ENDS), ""),
    ("boundary: white space inside", parts(f"{M}b b", *ENDS), ""),
    ("boundary: half quoted", parts(f'{M}"x"b', '--"x"b', '--"x"b', '--"x"b--'), ""),
    ("boundary: quote never closed", parts(f'{M}"b', *ENDS), ""),
    ("boundary: empty", parts(f'{M}""', "--", "--", "----"), ""),
    ("boundary: none", parts("multipart/mixed", *ENDS), ""),
    ("boundary: comment inside", parts(f"{M}b(x)", *ENDS), ""),
    ("boundary: comment in the parameter's name", parts("multipart/mixed; boundary(x)=b", *ENDS), ""),
    ("boundary: comment, taken literally", parts(f"{M}b(x)", "--b(x)", "--b(x)", "--b(x)--"), ""),
    ("boundary: encoded word", parts(f"{M}=?us-ascii?Q?b?=", *ENDS), ""),
    (
        "boundary: RFC 2231 pieces",
        parts("multipart/mixed; boundary*0=ab; boundary*1=c", "--abc", "--abc", "--abc--"),
        "",
    ),
    ("boundary: RFC 2231 and plain", parts(f"{M}x; boundary*=us-ascii''b", *ENDS), ""),
    ("boundary: escaped in quotes", parts(f'{M}"a\\b"', "--ab", "--ab", "--ab--"), ""),
    ("boundary: white space in front in quotes", parts(f'{M}" b"', *ENDS), ""),
    ("boundary: NUL in front", parts(f"{M}\0b", *ENDS), ""),
    ("boundary: cut by some readers", parts(f"{M}{'b' * 100}", *("--" + "b" * 70,) * 2, "--" + "b" * 70 + "--"), ""),
    ("boundary: no semicolon before", parts("multipart/mixed boundary=b", *ENDS), ""),
    ("boundary: white space behind the line", parts(f"{M}b", "--b \t", "--b \t", "--b-- "), ""),
    ("boundary: indented line", parts(f"{M}bound", "--bound", " --bound", "--bound--"), ""),
    ("boundary: behind a bare carriage return", parts(f"{M}bound", "--bound", "x\r--bound", "--bound--"), ""),
    ("boundary: begins like it", parts(f"{M}b", "--b", "--bx", "--b--"), ""),
    ("boundary: two in a row", parts(f"{M}b", "--b\r\n--b", "--b\r\n--b", "--b--"), ""),
    ("boundary: never closed", parts(f"{M}b", "--b", "--b", ""), ""),
    ("boundary: never there", parts(f"{M}x", *ENDS), ""),
    ("boundary: closed too early", parts(f"{M}b", "--b", "--b--\r\n--b", "--b--"), ""),
    (
        "nested: same boundary",
        lambda t: HEAD + mixed(mixed(part("text/plain", b64(t), CODED), boundary="b"), boundary="b"),
        "",
    ),
    (
        "nested: boundary begins with the outer one",
        lambda t: HEAD + mixed(mixed(part("text/plain", b64(t), CODED), boundary="b1"), TEXT, boundary="b"),
        "",
    ),
    (
        "nested: inner never closed",
        lambda t: message(
            f"{M}b", b"--b\r\n" + part(f"{M}c", b"--c\r\n" + part("text/plain", b64(t), CODED)) + b"\r\n--b--\r\n"
        ),
        "",
    ),
    (
        "nested: inner uses the outer boundary",
        lambda t: message(
            f"{M}b", b"--b\r\n" + part(f"{M}c", b"--b\r\n" + part("text/plain", b64(t), CODED)) + b"\r\n--b--\r\n"
        ),
        "",
    ),
    ("nested: 40 multiparts deep", lambda t: nested(t, 40), ""),
    ("nested: 200 multiparts deep", lambda t: nested(t, 200), ""),
    ("preamble", outside("x", "", lambda t: prose(t).encode()), ""),
    ("preamble, an entity", outside("x", "", lambda t: part("text/plain", b64(t), CODED)), ""),
    ("epilogue", outside("", "x", lambda t: prose(t).encode()), ""),
    ("epilogue, an entity", outside("", "x", lambda t: part("text/plain", b64(t), CODED)), ""),
    ("part without an empty line", inner("", coded=False), ""),
    ("part with a header in its body", inner("\r\nContent-Transfer-Encoding: base64\r\n\r\n"), ""),
    ("part whose header ends in bare line feeds", inner(f"{CODED}\n\n"), ""),
    ("part whose header ends in bare carriage returns", inner(f"{CODED}\r\r"), ""),
    (
        "1,100 parts",
        lambda t: message(
            f"{M}b", b"--b\r\n\r\nx\r\n" * 1100 + b"--b\r\n" + part("text/plain", b64(t), CODED) + b"\r\n--b--\r\n"
        ),
        "few",
    ),
    ("header of 300 kB", lambda t: b"X-A: " + b"x" * 300_000 + b"\r\n" + message("text/plain", b64(t), CODED), ""),
    ("message in base64", coded_message, ""),
    ("multipart in base64", coded_multipart, ""),
    (
        "multipart in quoted-printable",
        lambda t: message(
            f"{M}b",
            b"--b\r\n" + part("text/plain", qp(t), "Content-Transfer-Encoding: quoted-printable") + b"\r\n--b--\r\n",
            "Content-Transfer-Encoding: quoted-printable",
        ),
        "",
    ),
    ("fragment of a message", lambda t: message("message/partial; number=1; total=2; id=x", b64(t)), ""),
    (
        "content kept elsewhere",
        lambda _: message(
            'message/external-body; access-type=url; URL="https://a.example/"', b"Content-Type: text/plain\r\n\r\n"
        ),
        "",
    ),
    (
        "encrypted by PGP/MIME",
        lambda _: message(
            'multipart/encrypted; boundary=b; protocol="application/pgp-encrypted"',
            b"--b\r\n"
            + part("application/pgp-encrypted", b"Version: 1")
            + b"\r\n--b\r\n"
            + part("application/octet-stream", b"-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA\r\n")
            + b"\r\n--b--\r\n",
        ),
        "",
    ),
    (
        "encrypted by PGP in the text",
        lambda _: message(
            "text/plain", b"hello\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nhQEMA\r\n=abcd\r\n-----END PGP MESSAGE-----\r\n"
        ),
        "",
    ),
    (
        "encrypted by S/MIME",
        lambda _: message("application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m", b"MIIB\r\n", CODED),
        "",
    ),
    (
        "signed by S/MIME, opaque",
        lambda t: message("application/pkcs7-mime; smime-type=signed-data; name=smime.p7m", b64("0\x82 " + t), CODED),
        "",
    ),
    ("zip", lambda t: attached("a.zip", zipped(("a.txt", t.encode()))), "few"),
    ("zip that claims to be text", lambda t: attached("a.txt", zipped(("a.txt", t.encode())), "text/plain"), "few"),
    ("zip in zip", lambda t: attached("a.zip", zipped(("b.zip", zipped(("a.txt", t.encode()))))), "few"),
    ("zip in uuencode in the text", lambda t: message("text/plain", uu(zipped(("a.txt", t.encode())))), "few"),
    ("gzip", lambda t: attached("a.gz", gzip.compress(t.encode(), mtime=0)), "few"),
    ("bzip2", lambda t: attached("a.bz2", bz2.compress(t.encode())), "few"),
    ("tar", lambda t: attached("a.tar", tarred(("a.txt", t.encode()))), "few"),
    ("7z", lambda t: attached("a.7z", seven_zipped("a.txt", t.encode())), "few"),
    ("PDF", lambda t: attached("a.pdf", in_pdf(t), "application/pdf"), "few"),
    ("Word", lambda t: attached("a.docx", in_letter(t)), "few"),
    ("Excel", lambda t: attached("a.xlsx", in_sheet(t)), "few"),
    ("RTF", lambda t: attached("a.rtf", rtf(t), "application/rtf"), "few"),
)


def b64_utf16(text: str) -> bytes:

    return base64.b64encode(text.encode("utf-16-be")).rstrip(b"=")


def nested(text: str, depth: int) -> bytes:
    opening = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(depth))
    closing = b"".join(b"\r\n--b%d--" % n for n in reversed(range(depth)))
    return HEAD + opening + part("text/plain", b64(text), CODED) + closing + b"\r\n"


def uu(data: bytes) -> bytes:

    lines = [binascii.b2a_uu(data[at : at + 45]).rstrip(b"\n") for at in range(0, len(data), 45)]
    return b"\r\n".join((b"begin 644 a.zip", *lines, b"`", b"end", b""))
