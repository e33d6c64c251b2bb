"""Secrets: one small file each, readable by their service alone.

Looked up in ``$CREDENTIALS_DIRECTORY`` (systemd's LoadCredential) first, then in the settings' ``credentials``
folder.  A file that others can read, that is short or that holds a default is refused.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from enum import StrEnum
from pathlib import Path

from restante.errors import RestanteError

SECRET_BYTES = 32


class Credential(StrEnum):
    """Each secret's file name, and who holds it."""

    VAULT = "vault.key"  # portal: opens what the milter sealed
    WORKER = "worker.key"  # worker: opens what was released to the MTA
    ROUTE = "route.key"  # milter and worker: authenticates X-Restante-* headers, keys fingerprints
    PORTAL = "portal.key"  # portal: signs forms


class BadCredential(RestanteError):
    """A secret that is missing, exposed or not a secret.  The service must not start; the text names the remedy."""


SMS_GATEWAY = "sms.token"
"""What the worker shows to the operator's SMS gateway: any text, in a file that the operator writes."""


def read_sms_token(folder: Path) -> str:
    """The gateway's token; empty where there is no such file.  Raises :class:`BadCredential`."""
    granted = os.environ.get("CREDENTIALS_DIRECTORY")
    if not any(place and (Path(place) / SMS_GATEWAY).exists() for place in (granted, folder)):
        return ""
    path, text = _read(folder, SMS_GATEWAY)
    token = text.decode("ascii", "replace").strip()
    if not token.isprintable() or not token.isascii() or not token:
        raise BadCredential(f"{path}: must hold one line of ASCII: write the token of the SMS gateway into it")
    return token


def read_credential(folder: Path, name: Credential) -> bytes:
    """The 32 bytes of the secret ``name``.  Raises :class:`BadCredential`."""
    path, text = _read(folder, name)
    try:
        secret = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise BadCredential(
            f"{path}: is not a base64 key. Run: restante init --directory DIR for a fresh set"
        ) from None
    if len(secret) != SECRET_BYTES or len(set(secret)) < 8:
        raise BadCredential(f"{path}: is not a fresh key. Run: restante init --directory DIR for a fresh set")
    return secret


def _read(folder: Path, name: str) -> tuple[Path, bytes]:
    granted = os.environ.get("CREDENTIALS_DIRECTORY")
    path = Path(granted) / name if granted and (Path(granted) / name).exists() else folder / name
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1024)
    except OSError as error:
        raise BadCredential(f"{path}: cannot be read: {error.strerror}. Run: restante init") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise BadCredential(
            f"{path}: others can read or change it (mode {stat.S_IMODE(mode):04o}). Run: chmod 0640 {path}"
        )
    return path, text


def write_credential(folder: Path, name: Credential, secret: bytes) -> None:
    """Create the secret's file, owner-only.  Raises ``FileExistsError`` rather than replace a key in use."""
    descriptor = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secret) + b"\n")
