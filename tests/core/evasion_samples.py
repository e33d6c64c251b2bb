"""What the evasions hide: one value of each kind, and how to build a message around it.  All values are made up."""

from __future__ import annotations

import base64
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A value that must be found.  ``digits`` says that it is nothing but digits and separators."""

    name: str
    text: str
    detector: str
    digits: bool = False
    lines: int = 1


SAMPLES = (
    Sample("card", "4111 1111 1111 1111", "payment-card", digits=True),
    Sample("IBAN", "DE89 3704 0044 0532 0130 00", "iban"),
    Sample("SSN", "536-90-4399", "id-us-ssn", digits=True),
    Sample("NIR", "2 95 10 99 126 111 93", "id-fr-nir", digits=True),
    Sample("codice fiscale", "RCCMNL83S18D969H", "id-it-codicefiscale"),
    Sample("AHV", "756.9217.0769.85", "id-ch-ahv", digits=True),
    Sample(
        "private key",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCS1Nzro7GA53YLzg36uI5poycgAS0PJke\n"
        "Rq0F5oGzX90EifbrqKdGSSZRoCeAWiBtmz5FhrhFsH61YEDlA4BHGW6MeZlNd7ab",
        "credential-private-key",
        lines=3,
    ),
    Sample("access key", "AKIAWBUU2SHG6B4ACF74", "credential-aws-access-key"),
    Sample("lexicon phrase", "Project Bluebird", "lexicon:project"),
)

HEAD = b"From: Ann <ann@site.example>\r\nTo: bob@example.org\r\nSubject: hello\r\nMIME-Version: 1.0\r\n"


def part(kind: str, body: bytes, *fields: str) -> bytes:
    """An entity: its header and its body."""
    return "\r\n".join((f"Content-Type: {kind}", *fields)).encode("latin-1") + b"\r\n\r\n" + body


def message(kind: str, body: bytes, *fields: str) -> bytes:
    """A message with one body."""
    return HEAD + part(kind, body, *fields)


def mixed(*parts: bytes, boundary: str = "frontier") -> bytes:
    """A multipart entity."""
    inner = b"".join(b"--" + boundary.encode() + b"\r\n" + one + b"\r\n" for one in parts)
    return part(f'multipart/mixed; boundary="{boundary}"', inner + b"--" + boundary.encode() + b"--\r\n")


def attached(name: str, content: bytes, kind: str = "application/octet-stream") -> bytes:
    """A message with an attachment."""
    disposition = f'Content-Disposition: attachment; filename="{name}"'
    return HEAD + mixed(
        part("text/plain", b"see the file"),
        part(kind, base64.encodebytes(content), "Content-Transfer-Encoding: base64", disposition),
    )


def prose(text: str) -> str:
    """The value in a letter, so that every encoding has something to work on."""
    return f"Dear Bob,\r\nhere it is:\r\n{text}\r\nKind regards, Ann\r\n"


def b64(text: str, charset: str = "utf-8") -> bytes:
    """A letter with the value in base64."""
    return base64.encodebytes(prose(text).encode(charset)).replace(b"\n", b"\r\n")


def qp(text: str) -> bytes:
    """The value in quoted-printable, every letter and digit spelled by its code, in lines of ten."""
    spelled = [f"={byte:02X}" for byte in text.encode()]
    return prose("=\r\n".join("".join(spelled[at : at + 10]) for at in range(0, len(spelled), 10))).encode()


def soft(text: str) -> bytes:
    """The value in quoted-printable with a soft break in its middle."""
    return prose(f"{text[:7]}=\r\n{text[7:]}").encode()
