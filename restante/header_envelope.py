"""An envelope from the header of a stored message, for where the real one is gone (RFC 5322, section 3.6).

A guess: Bcc recipients were taken out when the message was sent, and lists rewrite senders.  Never raises for any
header; what is no address is left out.
"""

from __future__ import annotations

import email.parser
import email.policy
import email.utils
from datetime import UTC, datetime
from typing import BinaryIO

from restante.envelope import Address, BadAddress, Envelope

HEADER_CAP = 1 << 18
FIELD_CAP = 1 << 16
MOST_RECIPIENTS = 1_000
_SENDERS = ("return-path", "sender", "from")
_RECIPIENTS = ("to", "cc", "bcc", "resent-to", "resent-cc")


def header_envelope(source: BinaryIO) -> Envelope:
    """Who seems to have sent the message in ``source``, which is read from its beginning, to whom.

    The sender is empty where no field names one.
    """
    source.seek(0)
    message = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(source.read(HEADER_CAP))
    fields: dict[str, list[str]] = {}
    for name, value in message.raw_items():
        fields.setdefault(name.lower(), []).append(_text(value))
    senders = (address for name in _SENDERS for address in _addresses(fields.get(name, [])))
    recipients = [address for name in _RECIPIENTS for address in _addresses(fields.get(name, []))]
    unique = tuple({address.text: address for address in recipients}.values())
    return Envelope(next(senders, Address("", "")), unique[:MOST_RECIPIENTS])


def sent_at(source: BinaryIO) -> datetime | None:
    """When the message says that it was sent; ``None`` where it does not say, or nothing that is a date."""
    source.seek(0)
    header = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(source.read(HEADER_CAP))
    date = next((_text(value) for name, value in header.raw_items() if name.lower() == "date"), "")
    try:
        when = email.utils.parsedate_to_datetime(date)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _text(value: object) -> str:
    """A field as text; what is not UTF-8 is replaced."""
    raw = str(value)[:FIELD_CAP].encode("utf-8", "surrogateescape")
    return " ".join(raw.decode("utf-8", "replace").split())


def _addresses(values: list[str]) -> list[Address]:
    found = []
    for _, text in email.utils.getaddresses(values):
        try:
            address = Address.parse(text)
        except BadAddress:
            continue
        if "@" in address.text and address.is_mailbox:
            found.append(address)
    return found
