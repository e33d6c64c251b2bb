"""The operator's address book: which telephone an access code is sent to.

A text file, one recipient on each line: the address, white space, the number in international form (E.164); ``#``
begins a comment.  The operator keeps it, and no message can change it: a number that a message brought along would
let whoever writes in a sender's name have the code sent to themselves.

It is read again when it has changed.  A line that cannot be read spoils the whole file: rather no text message than
one to the wrong telephone.
"""

from __future__ import annotations

import re
from pathlib import Path

from restante.envelope import Address, BadAddress
from restante.errors import RestanteError

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
_LOOSE = str.maketrans("", "", " -./()\t")


class BadPhoneBook(RestanteError):
    """The address book cannot be read.  The text names file, line and remedy."""


class PhoneBook:
    """The address book at ``path``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] = (-1, -1)
        self._numbers: dict[str, str] = {}

    def number_of(self, recipient: str) -> str | None:
        """The recipient's number, such as ``+4930123456``; ``None`` for none.  Raises :class:`BadPhoneBook`."""
        try:
            found = self._path.stat()
            stamp = (found.st_mtime_ns, found.st_size)
            if stamp != self._stamp:
                self._numbers = self._read()
                self._stamp = stamp
        except OSError as error:
            remedy = "See sms.numbers in the settings"
            raise BadPhoneBook(f"{self._path}: cannot be read: {error.strerror}. {remedy}") from None
        return self._numbers.get(_key(recipient))

    def _read(self) -> dict[str, str]:
        numbers: dict[str, str] = {}
        for count, line in enumerate(self._path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            address, _, number = line.partition("#")[0].strip().partition(" ")
            if not address:
                continue
            plain = number.translate(_LOOSE)
            if "@" not in address or not _NUMBER.fullmatch(plain):
                raise BadPhoneBook(
                    f"{self._path}, line {count}: write an address, a space and a number with its country code,"
                    " such as rita@patients.example +49 30 123456"
                )
            if numbers.setdefault(_key(address), plain) != plain:
                raise BadPhoneBook(f"{self._path}, line {count}: {address} has another number above: remove one")
        return numbers


def _key(address: str) -> str:
    try:
        parsed = Address.parse(address)
    except BadAddress:
        return address.casefold()
    return f"{parsed.text.rpartition('@')[0].casefold()}@{parsed.domain}"
