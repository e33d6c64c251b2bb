"""Tokens, numbers of notices, access codes and phrases: minted here, stored only as hashes.

A token is 256 bits and random, so a plain SHA-256 of it is safe to store.  An access code is short enough to read
out over a telephone, so it is stored with Argon2id, and so is a phrase.  A number is no secret to who has the notice:
typed, it tells a person who reads it from a program that follows the link.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

TOKEN_BYTES = 32
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # nothing that sounds or looks like another
CODE_LENGTH = 8
NUMBER_DIGITS = 6
REFERENCE_DIGITS = 12
SHORTEST_PHRASE = 12


class SlowHasher:
    """Argon2id, for at most ``at_once`` callers together; others wait.

    Each hash takes 64 MiB: a crowd that types wrong codes waits, instead of taking the process's memory.
    """

    def __init__(self, hasher: PasswordHasher, at_once: int) -> None:
        self._hasher = hasher
        self._seats = threading.BoundedSemaphore(at_once)

    def hash(self, secret: str) -> str:
        """What to store of ``secret``."""
        with self._seats:
            return self._hasher.hash(secret)

    def matches(self, stored: str, secret: str) -> bool:
        """Whether ``secret`` is the one behind ``stored``; false for a stored value that is no hash."""
        try:
            with self._seats:
                return self._hasher.verify(stored, secret)
        except (VerificationError, InvalidHashError):
            return False


# One for the process: what it bounds is the process's memory.
_hasher = SlowHasher(PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY), at_once=2)


def mint_token() -> str:
    """A fresh token, URL-safe, 43 characters."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(b"restante-token/" + token.encode("utf-8", "replace")).digest()


def mint_code() -> str:
    """A fresh access code, such as ``7KQM-3XRT``: 39 bits, for a limited number of tries."""
    letters = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def mint_number() -> str:
    """The number of a notice with a link, such as ``482 913``: typed to show that a person reads the notice.

    Its halves stand apart, so that no word of the notice is the number.
    """
    return _grouped(secrets.randbelow(10**NUMBER_DIGITS), NUMBER_DIGITS)


def mint_reference() -> str:
    """The number of a notice without a link, such as ``482 913 507 216``: 40 bits, which name the message."""
    return _grouped(secrets.randbelow(10**REFERENCE_DIGITS), REFERENCE_DIGITS)


def _grouped(number: int, digits: int) -> str:
    text = f"{number:0{digits}d}"
    return " ".join(text[at : at + 3] for at in range(0, digits, 3))


def plain_number(typed: str) -> str:
    """A number as typed, in plain digits: of any script (Arabic-Indic, say), with or without spaces and dashes.

    Empty where anything else stands in it.
    """
    digits = [unicodedata.decimal(c, None) for c in typed if not (c.isspace() or unicodedata.category(c) in _LOOSE)]
    return "".join(map(str, digits)) if None not in digits else ""


# Dashes, full stops, and the marks of direction that come along when a number is copied.
_LOOSE = frozenset({"Pd", "Po", "Cf"})


def number_hash(token: str, number: str) -> bytes:
    """What is stored of a notice's number: bound to its link's token, without which nobody can search for it."""
    return hashlib.sha256(b"restante-number/" + token_hash(token) + plain_number(number).encode()).digest()


def _plain_code(code: str) -> str:
    """A code as typed, in the form it is hashed: case, spaces and dashes do not matter."""
    return "".join(character for character in code.upper() if character in CODE_ALPHABET)


def code_hash(code: str) -> str:
    """What is stored of an access code."""
    return _hasher.hash(_plain_code(code))


def code_matches(stored: str, code: str) -> bool:
    """Whether ``code``, as typed, is the one behind ``stored``."""
    return password_matches(stored, _plain_code(code))


def plain_phrase(phrase: str) -> str:
    """A phrase as typed, in the form it is hashed: case, width and the amount of space do not matter."""
    return " ".join(unicodedata.normalize("NFKC", phrase).casefold().split())


def phrase_hash(phrase: str) -> str:
    """What is stored of a phrase."""
    return _hasher.hash(plain_phrase(phrase))


def phrase_matches(stored: str, phrase: str) -> bool:
    """Whether ``phrase``, as typed, is the one behind ``stored``."""
    return password_matches(stored, plain_phrase(phrase))


@cache
def nobodys_hash() -> str:
    """The hash of a secret that nobody knows: to compare with where there is nothing, for as much work."""
    return password_hash(secrets.token_urlsafe())


def password_hash(password: str) -> str:
    """What is stored of an administrator's password."""
    return _hasher.hash(password)


def password_matches(stored: str, password: str) -> bool:
    """Whether ``password`` is the one behind ``stored``; false for a stored value that is no hash."""
    return _hasher.matches(stored, password)
