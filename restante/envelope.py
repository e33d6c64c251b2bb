"""The SMTP envelope as values (RFC 5321, section 2.3.1).

Addresses are text: UTF-8 as RFC 6531 has it.  The milter refuses anything else before it gets here, and keeps
the exact bytes of each RCPT beside it, because that is what deleting a recipient needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# RFC 5321, section 4.1.2, with RFC 6531's characters; dots are left where people put them.
_ATOMS = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u0080-\U0010ffff-]+"
_QUOTED = r'"(?:[^"\\\x00-\x1f\x7f]|\\[\x20-\x7e])*"'
_DOMAIN = r"(?:[A-Za-z0-9._\u0080-\U0010ffff-]+|\[[A-Za-z0-9:.]+\])"
_MAILBOX = re.compile(rf"(?:{_ATOMS}|{_QUOTED})(?:@{_DOMAIN})?")


class BadAddress(ValueError):
    """An address that no MTA could deliver to.  The caller refuses the command with 5.1.3 or 5.1.7."""


@dataclass(frozen=True, slots=True)
class Address:
    """One mailbox without angle brackets.  ``domain`` is lower-case and in A-labels; ``text`` is as given."""

    text: str
    domain: str

    @classmethod
    def parse(cls, raw: bytes | str) -> Address:
        """Read a path as MAIL or RCPT carries it, with or without ``<>``; ``<>`` gives an empty address.

        Raises :class:`BadAddress` when it is not UTF-8, holds a control character or has a domain that IDNA refuses.
        """
        try:
            text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        except UnicodeDecodeError as error:
            raise BadAddress("address is not valid UTF-8") from error
        text = text.strip()
        if text.startswith("<") and text.endswith(">"):
            text = text[1:-1]
        if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
            raise BadAddress("address holds a control character")
        return cls(text, domain_of(text))

    @property
    def is_routed(self) -> bool:
        """Whether the local part holds a routing operator (``%``, ``!``, ``@``: RFC 5321, appendix F.2).

        An MTA may rewrite ``bob%there.example@here.example`` to ``bob@there.example``, so that ``domain`` does not
        tell where the message goes.
        """
        local = self.text.rpartition("@")[0] if "@" in self.text else self.text
        return any(operator in local for operator in "%!@")

    @property
    def is_mailbox(self) -> bool:
        """Whether this is one plain mailbox, and nothing that an MTA would rewrite before it looks at it.

        Source routes, groups, comments and doubled brackets are not: Postfix reduces them to a mailbox, and then does
        not find them again when a milter asks to delete them.
        """
        return _MAILBOX.fullmatch(self.text) is not None

    def stays_here(self, is_internal: Callable[[str], bool]) -> bool:
        """Whether the MTA keeps this mailbox on its site; an address with routing operators is not believed."""
        return not self.is_routed and (not self.domain or is_internal(self.domain))

    def __str__(self) -> str:
        return self.text


def domain_of(address: str) -> str:
    """The part after the last ``@``, lower-case, without a trailing dot, in A-labels; empty when there is none.

    Raises :class:`BadAddress` for a domain that cannot be written in A-labels.
    """
    _, at, domain = address.rpartition("@")
    if not at:
        return ""
    return a_label(domain)


def a_label(domain: str) -> str:
    """``domain`` in the form that DNS and Postfix use (RFC 5890): lower-case A-labels, no trailing dot."""
    domain = domain.rstrip(".").lower()
    if domain.isascii():
        return domain
    import idna

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise BadAddress(f"domain cannot be written in A-labels: {error}") from error


@dataclass(frozen=True, slots=True)
class Envelope:
    """Who sends to whom, and what the client said beside it.

    ``sender.text`` is empty for a bounce (RFC 5321, section 4.5.5).  ``client_id`` names the MTA's queue file;
    ``user`` is who signed in at the MTA (RFC 4954), if anybody did.
    """

    sender: Address
    recipients: tuple[Address, ...]
    client_id: str = ""
    user: str = ""
