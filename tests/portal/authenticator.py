"""An authenticator in software (WebAuthn level 2), which also lies when it is told to; and an authenticator app."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from webauthn.helpers import bytes_to_base64url as b64
from webauthn.helpers import encode_cbor

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    """One passkey.  Each attribute may be changed to lie."""

    origin: str
    rp_id: str
    flags: int = PRESENT | VERIFIED
    count: int = 0
    step: int = 1
    attestation: str = "none"
    handle: bytes = b""
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(24))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def create(self, options: dict[str, Any]) -> str:
        """What a browser says after ``navigator.credentials.create``."""
        self.handle = base64.urlsafe_b64decode(options["user"]["id"] + "==")
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = b"\0" * 16 + len(self.credential_id).to_bytes(2, "big") + self.credential_id + encode_cbor(cose)
        data = self._data(self.flags | ATTESTED) + attested
        made = encode_cbor({"fmt": self.attestation, "attStmt": {}, "authData": data})
        return self._answer({"attestationObject": b64(made)}, self._client("webauthn.create", options["challenge"]))

    def get(self, options: dict[str, Any]) -> str:
        """What a browser says after ``navigator.credentials.get``."""
        self.count += self.step
        client, data = self._client("webauthn.get", options["challenge"]), self._data(self.flags)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        said = {"authenticatorData": b64(data), "signature": b64(signature), "userHandle": b64(self.handle)}
        return self._answer(said, client)

    def _data(self, flags: int) -> bytes:
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        return json.dumps({"type": kind, "challenge": challenge, "origin": self.origin}).encode()

    def _answer(self, response: dict[str, str], client: bytes) -> str:
        name = b64(self.credential_id)
        said = {"id": name, "rawId": name, "type": "public-key", "response": response | {"clientDataJSON": b64(client)}}
        return json.dumps(said)


def app_code(key: str, now: float) -> str:
    """What an authenticator app shows at ``now`` for the key as the page writes it."""
    return TOTP(base64.b32decode(key.replace(" ", "")), 6, SHA1(), 30).generate(int(now)).decode()
