"""Giving mail to the MTA over loopback SMTP (RFC 5321), streamed: a large message is never whole in memory.

Uses :mod:`smtplib` for the dialogue.  Only the DATA phase is written here, because the library wants the whole
message at once; line ends are made CRLF and leading dots doubled across the borders of pieces (section 4.5.2), so
that no content can end the DATA phase.
"""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from restante.settings import HostPort

TIMEOUT_SECONDS = 120
OK, START_INPUT, EXCEEDED = 250, 354, 552


class NotSubmitted(Exception):
    """The MTA did not take the message, for now: try again later."""


class TooLarge(NotSubmitted):
    """It never will, as it is now: the message is larger than it takes (RFC 1870, section 6.1)."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """A recipient with the ESMTP parameters that the client gave (NOTIFY, ORCPT)."""

    address: str
    parameters: tuple[str, ...] = ()


def submit(
    endpoint: HostPort,
    hostname: str,
    sender: str,
    parameters: Sequence[str],
    recipients: Sequence[Recipient],
    content: Iterable[bytes],
) -> dict[str, str]:
    """Submit one message; returns the recipients that were refused for good, with the reply.

    When this returns, the MTA has taken the message for every other recipient.  Raises :class:`NotSubmitted`
    otherwise; then it has taken it for none.
    """
    try:
        client = smtplib.SMTP(endpoint.host, endpoint.port, local_hostname=hostname, timeout=TIMEOUT_SECONDS)
        # Hang up after a failure: a QUIT in the middle of DATA would be content.
        with contextlib.closing(client):
            refused = _transact(client, sender, parameters, recipients, content)
            # Whatever the answer to QUIT is: a message that was taken must not be submitted again.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                client.quit()
            return refused
    except (smtplib.SMTPException, OSError) as error:
        raise NotSubmitted(f"{endpoint}: {error}"[:300]) from error


def _transact(
    client: smtplib.SMTP,
    sender: str,
    parameters: Sequence[str],
    recipients: Sequence[Recipient],
    content: Iterable[bytes],
) -> dict[str, str]:
    client.ehlo()
    _expect(client.mail(sender, _supported(client, sender, parameters)))
    refused = _recipients(client, recipients)
    if len(refused) == len(recipients):
        return refused
    _expect(client.docmd("DATA"), START_INPUT)
    if client.sock is None:
        raise NotSubmitted("the connection was closed")
    for piece in dot_stuffed(content):
        client.sock.sendall(piece)
    _expect(client.getreply())
    return refused


def _recipients(client: smtplib.SMTP, recipients: Sequence[Recipient]) -> dict[str, str]:
    refused = {}
    dsn = client.has_extn("dsn")
    for recipient in recipients:
        code, reply = client.rcpt(recipient.address, recipient.parameters if dsn else ())
        if 500 <= code < 600:
            refused[recipient.address] = f"{code} {reply.decode('utf-8', 'replace')}"[:300]
        elif code not in {250, 251}:
            raise NotSubmitted(f"{code} {reply.decode('utf-8', 'replace')}"[:300])
    return refused


def _supported(client: smtplib.SMTP, sender: str, parameters: Sequence[str]) -> list[str]:
    """The client's parameters of MAIL that the MTA announces, and what the addresses need."""
    keep = []
    for parameter in parameters:
        name = parameter.partition("=")[0].upper()
        extension = {"RET": "dsn", "ENVID": "dsn", "BODY": "8bitmime", "SMTPUTF8": "smtputf8"}.get(name)
        if extension and client.has_extn(extension):
            keep.append(parameter)
    if not sender.isascii() and "SMTPUTF8" not in keep:
        keep.append("SMTPUTF8")
    if "SMTPUTF8" in keep:
        client.command_encoding = "utf-8"
    return keep


def _expect(answer: tuple[int, bytes], code: int = OK) -> None:
    if answer[0] != code:
        problem = TooLarge if answer[0] == EXCEEDED else NotSubmitted
        raise problem(f"{answer[0]} {answer[1].decode('utf-8', 'replace')}"[:300])


def dot_stuffed(content: Iterable[bytes]) -> Iterator[bytes]:
    """``content`` with CRLF line ends and doubled leading dots, ended by the final dot."""
    line_start, carriage = True, False
    for piece in content:
        if not piece:
            continue
        out = bytearray()
        for line in _lines(piece):
            if line_start and line.startswith(b"."):
                out += b"."
            ended = line.endswith(b"\n")
            bare = ended and not line.endswith(b"\r\n") and not (line == b"\n" and carriage)
            out += line[:-1] + b"\r\n" if bare else line
            line_start = ended
            carriage = line.endswith(b"\r")
        yield bytes(out)
    if carriage:
        yield b"\n.\r\n"
    else:
        yield b".\r\n" if line_start else b"\r\n.\r\n"


def _lines(piece: bytes) -> Iterator[bytes]:
    """Cut after each LF, and nowhere else: a bare CR ends no line."""
    start = 0
    while (end := piece.find(b"\n", start)) >= 0:
        yield piece[start : end + 1]
        start = end + 1
    if start < len(piece):
        yield piece[start:]
