"""Passkeys (WebAuthn level 2): what a browser is asked, and whether its answer is right.

A challenge names its purpose, its end and the browser that it was made for, and says so under the portal's key; so
showing a page writes nothing.  It is used up in the store before the answer is looked at, and counts once.  The user is
verified by the authenticator (fingerprint, face, PIN), and passkeys are discoverable: nobody types an address, and no
page tells whether one is enrolled.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import secrets
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import webauthn
from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import (
    base64url_to_bytes,
    encode_cbor,
    options_to_json,
    parse_attestation_object,
    parse_client_data_json,
)
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from restante.store import recipient_sessions, spent
from restante.store.enrolments import NewPasskey
from restante.store.recipient_sessions import PasskeyWay
from restante_portal.context import Portal, browser_id

CHALLENGE_SECONDS = 600
LONGEST_ANSWER = 16_384
_NONCE, _TIME, _MAC = 16, 8, 32
# What browsers leave of an attestation that nobody asked for.  The others bring certificates, which we do not read.
_ATTESTATIONS = frozenset({"none", "packed"})


class BadAnswer(Exception):
    """The answer does not prove what it should: wrong, out of date, used, for another place, or no answer at all."""


def rp_id(here: Portal) -> str:
    """What a passkey is bound to: the portal's host name (section 5.1.2)."""
    return urlsplit(here.settings.portal.url).hostname or ""


def origin(here: Portal) -> str:
    """The portal's origin as browsers write it (RFC 6454, section 6.2)."""
    parts = urlsplit(here.settings.portal.url)
    default = {"https": 443, "http": 80}[parts.scheme]
    port = "" if parts.port in {None, default} else f":{parts.port}"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _mac(here: Portal, purpose: str, head: bytes) -> bytes:
    return base64.urlsafe_b64decode(here.derive("challenge", purpose, browser_id(), head.hex()) + "=")


def _challenge(here: Portal, purpose: str) -> bytes:
    ends_at = int(here.clock() + CHALLENGE_SECONDS)
    head = secrets.token_bytes(_NONCE) + ends_at.to_bytes(_TIME, "big")
    return head + _mac(here, purpose, head)


def _use_challenge(here: Portal, purpose: str, answer: str) -> bytes:
    """The challenge that ``answer`` is for, used up.  Raises :class:`BadAnswer`."""
    try:
        told = json.loads(answer[:LONGEST_ANSWER])["response"]["clientDataJSON"]
        data = parse_client_data_json(base64url_to_bytes(told))
    # A boundary: hostile bytes in a foreign parser, whose errors are of many kinds.
    except Exception:  # noqa: BLE001
        raise BadAnswer from None
    head, mac = data.challenge[: _NONCE + _TIME], data.challenge[_NONCE + _TIME :]
    ends_at, now = int.from_bytes(head[_NONCE:], "big"), here.clock()
    if not hmac.compare_digest(mac, _mac(here, purpose, head)) or ends_at <= now or data.cross_origin:
        raise BadAnswer
    if not spent.spend(here.store, data.challenge, ends_at=ends_at, now=now):
        raise BadAnswer
    return data.challenge


def handle_of(here: Portal, challenge: bytes) -> bytes:
    """What a new passkey calls its owner: random, and to be found again from the challenge."""
    return base64.urlsafe_b64decode(here.derive("handle", challenge.hex()) + "=")


def to_register(here: Portal, address: str, purpose: str, *, handle: bytes | None = None) -> str:
    """What a browser is asked that is to make a passkey, as JSON.  ``handle`` is that of who has one already."""
    challenge = _challenge(here, purpose)
    options = webauthn.generate_registration_options(
        rp_id=rp_id(here),
        rp_name=here.settings.organisation,
        user_id=handle or handle_of(here, challenge),
        user_name=address,
        user_display_name=address,
        challenge=challenge,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            require_resident_key=True,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
        timeout=CHALLENGE_SECONDS * 1000,
    )
    return options_to_json(options)


def registered(here: Portal, answer: str, purpose: str) -> tuple[NewPasskey, bytes]:
    """The passkey that was made, and the handle that a new enrolment has.  Raises :class:`BadAnswer`."""
    challenge = _use_challenge(here, purpose, answer)
    if _attestation(answer) not in _ATTESTATIONS:
        raise BadAnswer
    try:
        made = webauthn.verify_registration_response(
            credential=answer,
            expected_challenge=challenge,
            expected_rp_id=rp_id(here),
            expected_origin=origin(here),
            require_user_verification=True,
        )
    # A boundary: hostile bytes in a foreign parser, whose errors are of many kinds.
    except Exception:  # noqa: BLE001
        raise BadAnswer from None
    passkey = NewPasskey(made.credential_id, made.credential_public_key, made.sign_count)
    return passkey, handle_of(here, challenge)


def _attestation(answer: str) -> str:
    try:
        told = json.loads(answer)["response"]["attestationObject"]
        return str(parse_attestation_object(base64url_to_bytes(told)).fmt)
    # A boundary: hostile bytes in a foreign parser, whose errors are of many kinds.
    except Exception:  # noqa: BLE001
        raise BadAnswer from None


def to_sign_in(here: Portal) -> str:
    """What a browser is asked that is to sign in, as JSON: any passkey that it has for this place."""
    nobody: list[PublicKeyCredentialDescriptor] = []
    options = webauthn.generate_authentication_options(
        rp_id=rp_id(here),
        challenge=_challenge(here, "sign-in"),
        allow_credentials=nobody,
        user_verification=UserVerificationRequirement.REQUIRED,
        timeout=CHALLENGE_SECONDS * 1000,
    )
    return options_to_json(options)


def asserted(here: Portal, answer: str) -> tuple[PasskeyWay, int]:
    """Whose passkey answered, and what it counts.  Raises :class:`BadAnswer`; an unknown one is the same work."""
    challenge = _use_challenge(here, "sign-in", answer)
    told = _parsed(answer)
    way = recipient_sessions.passkey_way(here.store, here.people, told["raw_id"])
    try:
        seen = webauthn.verify_authentication_response(
            credential=told["credential"],
            expected_challenge=challenge,
            expected_rp_id=rp_id(here),
            expected_origin=origin(here),
            credential_public_key=way.public_key if way is not None else _nobodys_key(),
            credential_current_sign_count=way.sign_count if way is not None else 0,
            require_user_verification=True,
        )
    # A boundary: hostile bytes in a foreign parser, whose errors are of many kinds.
    except Exception:  # noqa: BLE001
        raise BadAnswer from None
    if way is None or not hmac.compare_digest(told["user_handle"], way.user_handle):
        raise BadAnswer
    return way, seen.new_sign_count


def _parsed(answer: str) -> dict[str, Any]:
    try:
        credential = json.loads(answer)
        response = credential["response"]
        return {
            "credential": credential,
            "raw_id": base64url_to_bytes(credential["rawId"]),
            "user_handle": base64url_to_bytes(response.get("userHandle") or ""),
        }
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise BadAnswer from None


@cache
def _nobodys_key() -> bytes:
    """The public key (COSE, RFC 9053) of a passkey that nobody has: to verify with where there is none."""
    numbers = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()
    return encode_cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
