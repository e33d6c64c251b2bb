"""Tokens and access codes: minted here, stored only as hashes.

A token is 256 bits and random, so a plain SHA-256 of it is safe to store.  An access code is short enough to read
out over a telephone, so it is stored with Argon2id.
"""

from __future__ import annotations

import hashlib
import secrets
import threading

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

TOKEN_BYTES = 32
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # nothing that sounds or looks like another
CODE_LENGTH = 8



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


def _plain_code(code: str) -> str:
    """A code as typed, in the form it is hashed: case, spaces and dashes do not matter."""
    return "".join(character for character in code.upper() if character in CODE_ALPHABET)


def code_hash(code: str) -> str:
    """What is stored of an access code."""
    return _hasher.hash(_plain_code(code))


def code_matches(stored: str, code: str) -> bool:
    """Whether ``code``, as typed, is the one behind ``stored``."""
    return password_matches(stored, _plain_code(code))


def password_hash(password: str) -> str:
    """What is stored of an administrator's password."""
    return _hasher.hash(password)


def password_matches(stored: str, password: str) -> bool:
    """Whether ``password`` is the one behind ``stored``; false for a stored value that is no hash."""
    return _hasher.matches(stored, password)
