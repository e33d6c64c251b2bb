"""Sealing: what the milter can write and only the holder of a private key can read.

A blob is cut into 64 KiB chunks, each sealed with XChaCha20-Poly1305 under a data key of its own; the nonce is the
chunk's index, the associated data names blob, index and whether it is the last, so that chunks cannot be moved,
dropped or cut off, and any offset can be read alone.  The data key is sealed to an X25519 public key (libsodium's
sealed box) together with the blob's id, so that it opens that blob and no other.

Everything raises :class:`CannotOpen` for what does not authenticate; nothing unauthenticated is ever returned.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

CHUNK = 65_536
OVERHEAD = bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES
SEALED_CHUNK = CHUNK + OVERHEAD
_NONCE = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_KEY = bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES


class CannotOpen(Exception):
    """The data is damaged, is for another key, or its data key was destroyed.  Nothing was used up."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key that seals one blob.  Never stored as it is; ``repr`` shows nothing of it."""

    blob_id: str
    secret: bytes

    @classmethod
    def fresh(cls, blob_id: str) -> DataKey:
        """A new key for the blob ``blob_id``."""
        return cls(blob_id, secrets.token_bytes(_KEY))

    def __repr__(self) -> str:
        return f"DataKey({self.blob_id!r})"

    def seal_chunk(self, plain: bytes, index: int, *, last: bool) -> bytes:
        """Seal chunk ``index``; every chunk but the last must be exactly :data:`CHUNK` bytes."""
        return bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(
            plain, self._context(index, last=last), index.to_bytes(_NONCE, "big"), self.secret
        )

    def open_chunk(self, sealed: bytes, index: int, *, last: bool) -> bytes:
        """Inverse of :meth:`seal_chunk`.  Raises :class:`CannotOpen`."""
        try:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed, self._context(index, last=last), index.to_bytes(_NONCE, "big"), self.secret
            )
        except (CryptoError, ValueError) as error:
            raise CannotOpen(f"chunk {index} of blob {self.blob_id} does not authenticate") from error

    def _context(self, index: int, *, last: bool) -> bytes:
        return f"restante-blob/{self.blob_id}/{index}/{int(last)}".encode()

    def seal_note(self, plain: bytes, purpose: str) -> bytes:
        """Seal a small value that belongs to the blob (its summary, say) under the same key."""
        nonce = os.urandom(_NONCE)
        context = f"restante-note/{self.blob_id}/{purpose}".encode()
        return nonce + bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, context, nonce, self.secret)

    def open_note(self, sealed: bytes, purpose: str) -> bytes:
        """Inverse of :meth:`seal_note`.  Raises :class:`CannotOpen`."""
        context = f"restante-note/{self.blob_id}/{purpose}".encode()
        try:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                sealed[_NONCE:], context, sealed[:_NONCE], self.secret
            )
        except (CryptoError, ValueError) as error:
            raise CannotOpen(f"the {purpose} of blob {self.blob_id} does not authenticate") from error


class Sealer:
    """Seals data keys to one public key.  Holds nothing that opens them."""

    def __init__(self, key_id: str, public_key: bytes) -> None:
        self.key_id = key_id
        self._box = SealedBox(PublicKey(public_key))

    def wrap(self, key: DataKey) -> bytes:
        """The data key, sealed."""
        return self._box.encrypt(key.blob_id.encode() + b"\0" + key.secret)


class Opener:
    """Opens data keys that were sealed to this private key."""

    def __init__(self, private_key: bytes) -> None:
        self._box = SealedBox(PrivateKey(private_key))

    def unwrap(self, blob_id: str, sealed: bytes | None) -> DataKey:
        """The data key of ``blob_id``.  Raises :class:`CannotOpen`, also where the key was destroyed."""
        if sealed is None:
            raise CannotOpen(f"the data key of blob {blob_id} was destroyed")
        try:
            found_id, _, secret = self._box.decrypt(sealed).partition(b"\0")
        except CryptoError as error:
            raise CannotOpen(f"the data key of blob {blob_id} is sealed to another key") from error
        if found_id != blob_id.encode() or len(secret) != _KEY:
            raise CannotOpen(f"the data key belongs to another blob than {blob_id}")
        return DataKey(blob_id, secret)


def seal_stream(key: DataKey, plain: Iterable[bytes]) -> Iterator[bytes]:
    """Seal ``plain``, in pieces of any size, into sealed chunks.  An empty stream gives one empty last chunk."""
    buffer = bytearray()
    index = 0
    for piece in plain:
        buffer += piece
        while len(buffer) > CHUNK:
            yield key.seal_chunk(bytes(buffer[:CHUNK]), index, last=False)
            del buffer[:CHUNK]
            index += 1
    yield key.seal_chunk(bytes(buffer), index, last=True)


def chunk_count(size: int) -> int:
    """How many chunks a blob of ``size`` plain bytes has."""
    return max(1, -(-size // CHUNK))


def generate_keypair() -> tuple[bytes, bytes]:
    """A fresh X25519 pair: private, public."""
    private = PrivateKey.generate()
    return bytes(private), bytes(private.public_key)
