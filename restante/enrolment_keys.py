"""What guards enrolments at rest: looking a recipient up without storing the address, and sealing what was set.

Portal and worker both have to find a recipient: the one who signs in, the other who writes the notice.  They share no
credential, but each has a private key whose public half the settings name, and from one's own private and the other's
public key both agree on the same secret (X25519), which the settings and the database together do not give away.  From
it come the keyed hash of an address and the key that seals address and greeting.

What proves the recipient (public keys of passkeys, hashes of passwords, keys of one-time codes) is sealed under a key
of the portal alone.  So the database shows none of it, and whoever can write to the database cannot enrol anybody.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field

from nacl import bindings
from nacl.exceptions import CryptoError

from restante.envelope import Address, BadAddress
from restante.vault import CannotOpen

_NONCE = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
LONGEST_ADDRESS = 320


def plain_address(address: str) -> str:
    """An address in the form it is looked up by: people do not tell upper from lower case.

    What is no address comes back as it is, in lower case: nobody is enrolled with it.
    """
    try:
        parsed = Address.parse(address)
    except BadAddress:
        return _lower(address)[:LONGEST_ADDRESS]
    local, at, _ = parsed.text.rpartition("@")
    return (f"{_lower(local)}@{parsed.domain}" if at else _lower(parsed.text))[:LONGEST_ADDRESS]


def _lower(text: str) -> str:
    """In lower case; but no letter becomes another script's, or two: ``straße@`` is not the mailbox ``strasse@``."""
    return "".join(c if not c.isascii() and c.lower().isascii() else c.lower() for c in text)


@dataclass(frozen=True, slots=True)
class RecordSeal:
    """Seals small records under one key; ``context`` says what a record is and whose, and must be the same to open."""

    key: bytes = field(repr=False)

    def seal(self, plain: bytes, context: str) -> bytes:
        """The record, sealed under a fresh nonce."""
        nonce = os.urandom(_NONCE)
        return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, context.encode(), nonce, self.key)

    def open(self, sealed: bytes, context: str) -> bytes:
        """Inverse of :meth:`seal`.  Raises :class:`restante.vault.CannotOpen`."""
        nonce, text = sealed[:_NONCE], sealed[_NONCE:]
        try:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(text, context.encode(), nonce, self.key)
        except (CryptoError, ValueError) as error:
            raise CannotOpen(f"the record {context.partition('/')[0]} does not authenticate") from error


@dataclass(frozen=True, slots=True)
class EnrolmentKeys:
    """What portal and worker have in common.  ``repr`` shows nothing of it."""

    lookup: bytes = field(repr=False)
    shared: RecordSeal

    @classmethod
    def agree(cls, private_key: bytes, public_key: bytes) -> EnrolmentKeys:
        """The keys that the holders of two pairs agree on, from one's private and the other's public key."""
        secret = bindings.crypto_box_beforenm(public_key, private_key)
        return cls(_derive(secret, "lookup"), RecordSeal(_derive(secret, "shared")))

    def address_hash(self, address: str) -> bytes:
        """What an enrolment is found by."""
        return hmac.digest(self.lookup, plain_address(address).encode("utf-8", "surrogatepass"), hashlib.sha256)


@dataclass(frozen=True, slots=True)
class PortalKeys:
    """What the portal has: the common keys, and ``proofs`` for what it alone may open."""

    common: EnrolmentKeys
    proofs: RecordSeal

    @classmethod
    def of(cls, vault_private: bytes, worker_public: bytes, portal_key: bytes) -> PortalKeys:
        """From the portal's credentials and the worker's public key."""
        return cls(EnrolmentKeys.agree(vault_private, worker_public), RecordSeal(_derive(portal_key, "proofs")))


def _derive(secret: bytes, purpose: str) -> bytes:
    return hmac.digest(secret, f"restante-enrolment/{purpose}".encode(), hashlib.sha256)
