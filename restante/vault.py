"""Sealing: what the milter can write and only the holder of a private key can read.

A blob is cut into 64 KiB chunks, each sealed with XChaCha20-Poly1305 under a data key of its own; the nonce is the
chunk's index, the associated data names blob, index and whether it is the last, so that chunks cannot be moved,
dropped or cut off, and any offset can be read alone.  The data key is sealed to an X25519 public key (libsodium's
sealed box) together with the blob's id, so that it opens that blob and no other.

What is sealed to that key is, once the data key was locked, not the data key but its XOR with a random *share*.  The
share is sealed to the public key of an epoch, whose private key lies in the key ring (:mod:`restante.store.ring`) and
nowhere else.  Whoever lacks either half has a random number.  So one share, destroyed, shuts all that was ever sealed
of the data key: for the portal, for the worker, in the database and in each backup of it.

Everything raises :class:`CannotOpen` for what does not authenticate; nothing unauthenticated is ever returned.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from nacl import bindings
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

CHUNK = 65_536
OVERHEAD = bindings.crypto_aead_xchacha20poly1305_ietf_ABYTES
SEALED_CHUNK = CHUNK + OVERHEAD
_NONCE = bindings.crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
_KEY = bindings.crypto_aead_xchacha20poly1305_ietf_KEYBYTES
_LOCKED = b"epoch/1\0"
_EPOCH_BYTES, _LENGTH_BYTES = 16, 2


class CannotOpen(Exception):
    """The data is damaged, is for another key, or its data key was destroyed.  Nothing was used up."""


@dataclass(frozen=True, slots=True, repr=False)
class Lock:
    """What a data key was locked with: the share, and the same sealed to the public key of the epoch ``epoch_id``.

    ``epoch_id`` is 32 hexadecimal digits.
    """

    epoch_id: str
    sealed_share: bytes
    share: bytes


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key that seals one blob.  Never stored as it is; ``repr`` shows nothing of it.

    Where it has a ``lock``, what is sealed of it opens together with the lock's share only.
    """

    blob_id: str
    secret: bytes
    lock: Lock | None = None

    @classmethod
    def fresh(cls, blob_id: str) -> DataKey:
        """A new key for the blob ``blob_id``."""
        return cls(blob_id, secrets.token_bytes(_KEY))

    def __repr__(self) -> str:
        return f"DataKey({self.blob_id!r})"

    def locked(self, epoch_id: str, public_key: bytes) -> DataKey:
        """The same key, locked with a fresh share that is sealed to the epoch's ``public_key``."""
        share = secrets.token_bytes(_KEY)
        sealed = SealedBox(PublicKey(public_key)).encrypt(self.blob_id.encode() + b"\0" + share)
        return replace(self, lock=Lock(epoch_id, sealed, share))

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
        """The data key, sealed; a locked one with its sealed share in front."""
        if key.lock is None:
            return self._seal(key.blob_id, key.secret)
        sealed_share = key.lock.sealed_share
        length = len(sealed_share).to_bytes(_LENGTH_BYTES, "big")
        head = _LOCKED + bytes.fromhex(key.lock.epoch_id) + length + sealed_share
        return head + self._seal(key.blob_id, _xor(key.secret, key.lock.share))

    def _seal(self, blob_id: str, secret: bytes) -> bytes:
        return self._box.encrypt(blob_id.encode() + b"\0" + secret)


class Shares(Protocol):
    """Where shares are kept: the key ring."""

    def share(self, epoch_id: str, blob_id: str, sealed_share: bytes) -> bytes:
        """The share of ``blob_id``.  Raises :class:`CannotOpen` when it was erased."""
        ...


class Opener:
    """Opens data keys that were sealed to this private key; locked ones with the help of ``shares``."""

    def __init__(self, private_key: bytes, shares: Shares | None = None) -> None:
        self._box = SealedBox(PrivateKey(private_key))
        self._shares = shares

    def unwrap(self, blob_id: str, sealed: bytes | None) -> DataKey:
        """The data key of ``blob_id``.

        Raises :class:`CannotOpen`, also where the key or its share was destroyed, and what ``shares`` raises when they
        cannot be asked.
        """
        if sealed is None:
            raise CannotOpen(f"the data key of blob {blob_id} was destroyed")
        parts = split_locked(sealed)
        if parts is None:
            return DataKey(blob_id, open_sealed(self._box, blob_id, sealed))
        epoch_id, sealed_share, masked = parts
        half = open_sealed(self._box, blob_id, masked)
        if self._shares is None:
            raise CannotOpen(f"the data key of blob {blob_id} opens with the key ring only")
        share = self._shares.share(epoch_id, blob_id, sealed_share)
        return DataKey(blob_id, _xor(half, share), Lock(epoch_id, sealed_share, share))


def split_locked(sealed: bytes) -> tuple[str, bytes, bytes] | None:
    """Epoch, sealed share and sealed rest of what :meth:`Sealer.wrap` made of a locked key; ``None`` for any other."""
    if not sealed.startswith(_LOCKED):
        return None
    at = len(_LOCKED) + _EPOCH_BYTES
    epoch_id, length = sealed[len(_LOCKED) : at].hex(), int.from_bytes(sealed[at : at + _LENGTH_BYTES], "big")
    at += _LENGTH_BYTES
    return epoch_id, sealed[at : at + length], sealed[at + length :]


def open_share(private_key: bytes, blob_id: str, sealed_share: bytes) -> bytes:
    """The share of ``blob_id``, with its epoch's private key.  Raises :class:`CannotOpen`."""
    return open_sealed(SealedBox(PrivateKey(private_key)), blob_id, sealed_share)


def open_sealed(box: SealedBox[PrivateKey], blob_id: str, sealed: bytes) -> bytes:
    """The 32 bytes that were sealed for ``blob_id``.  Raises :class:`CannotOpen`."""
    try:
        found_id, _, secret = box.decrypt(sealed).partition(b"\0")
    except (CryptoError, ValueError) as error:
        raise CannotOpen(f"the data key of blob {blob_id} is sealed to another key") from error
    if found_id != blob_id.encode() or len(secret) != _KEY:
        raise CannotOpen(f"the data key belongs to another blob than {blob_id}")
    return secret


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


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
