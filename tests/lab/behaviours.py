"""What a peer does, as data.  A new way of misbehaving is a new entry here, or a new step of one of the enums.

A behaviour travels as JSON: the name of an entry of :data:`BEHAVIOURS` and the fields that differ from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from tests.lab.certificates import CertificateKind


class Ehlo(StrEnum):
    """The answer to EHLO: whole; cut off after its first lines; refused with 502; STARTTLS overwritten with X's."""

    FULL = "full"
    TRUNCATED = "truncated"
    REFUSED = "refused"
    MANGLED = "mangled"


class StartTls(StrEnum):
    """What follows STARTTLS: nothing is offered; a handshake; a fatal alert; noise instead of a handshake; a second
    reply in clear behind the 220, then a handshake; a 454; a 502; the end of the connection."""

    ABSENT = "absent"
    HANDSHAKE = "handshake"
    ALERT = "alert"
    GARBAGE = "garbage"
    INJECTION = "injection"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CLOSED = "closed"


class TlsKind(StrEnum):
    """What the handshake offers: TLS 1.2 and 1.3; one old version alone; ciphers without a certificate alone; what
    is modern, for those who show a certificate."""

    MODERN = "modern"
    ONLY_1_0 = "1.0"
    ONLY_1_1 = "1.1"
    ANONYMOUS = "anonymous"
    CLIENT_CERTIFICATE = "client-certificate"


class Greeting(StrEnum):
    """What a new connection gets: 220, 421, or nothing at all."""

    READY = "ready"
    TOO_BUSY = "too-busy"
    SILENT = "silent"


@dataclasses.dataclass(frozen=True, slots=True)
class Behaviour:
    """One peer's conduct.  Times are seconds.

    ``strip_after``: STARTTLS is offered to this many connections and to none after (an attacker who waits for the
    prober to leave).  ``greylist_attempts`` and ``greylist_seconds``: each pair of sender and recipient gets 451 this
    many times, or for this long after its first attempt.  ``busy_after``: this many connections are served and 421 is
    the greeting of all others.  ``drip``: the pause between two bytes of the greeting.
    ``data_code``: the reply at the end of DATA; a message is recorded only under 250.
    """

    listens: bool = True
    greeting: Greeting = Greeting.READY
    greeting_delay: float = 0
    ehlo: Ehlo = Ehlo.FULL
    starttls: StartTls = StartTls.HANDSHAKE
    strip_after: int | None = None
    certificate: CertificateKind = CertificateKind.VALID
    tls_kind: TlsKind = TlsKind.MODERN
    busy_after: int | None = None
    drip: float = 0
    greylist_attempts: int = 0
    greylist_seconds: float = 0
    rcpt_code: int = 250
    data_code: int = 250


BEHAVIOURS: Mapping[str, Behaviour] = MappingProxyType(
    {
        "tls": Behaviour(),
        "clear": Behaviour(starttls=StartTls.ABSENT),
        "self-signed": Behaviour(certificate=CertificateKind.SELF_SIGNED),
        "expired": Behaviour(certificate=CertificateKind.EXPIRED),
        "wrong-name": Behaviour(certificate=CertificateKind.WRONG_NAME),
        "drops-tls": Behaviour(strip_after=1),
        "handshake-fails": Behaviour(starttls=StartTls.ALERT),
        "starttls-garbage": Behaviour(starttls=StartTls.GARBAGE),
        "starttls-injection": Behaviour(starttls=StartTls.INJECTION),
        "starttls-refused": Behaviour(starttls=StartTls.REFUSED),
        "truncated-ehlo": Behaviour(ehlo=Ehlo.TRUNCATED),
        "refused-ehlo": Behaviour(ehlo=Ehlo.REFUSED),
        "mangled-ehlo": Behaviour(ehlo=Ehlo.MANGLED),
        "starttls-unknown": Behaviour(starttls=StartTls.UNKNOWN),
        "starttls-closed": Behaviour(starttls=StartTls.CLOSED),
        "no-intermediate": Behaviour(certificate=CertificateKind.NO_INTERMEDIATE),
        "tls1.0-only": Behaviour(tls_kind=TlsKind.ONLY_1_0),
        "tls1.1-only": Behaviour(tls_kind=TlsKind.ONLY_1_1),
        "anonymous-ciphers": Behaviour(tls_kind=TlsKind.ANONYMOUS),
        "client-certificate": Behaviour(tls_kind=TlsKind.CLIENT_CERTIFICATE),
        "drip-banner": Behaviour(drip=0.1),
        "busy-after-one": Behaviour(busy_after=1),
        "greylist": Behaviour(greylist_attempts=1),
        "tempfail-421": Behaviour(greeting=Greeting.TOO_BUSY),
        "rcpt-550": Behaviour(rcpt_code=550),
        "data-451": Behaviour(data_code=451),
        "closed": Behaviour(listens=False),
        "silent": Behaviour(greeting=Greeting.SILENT),
        "slow-banner": Behaviour(greeting_delay=3),
    }
)


def behaviour(name: str, changes: Mapping[str, Any] | None = None) -> Behaviour:
    """The behaviour ``name`` with the fields in ``changes`` replaced.

    Raises ``KeyError`` for an unknown name and ``TypeError`` or ``ValueError`` for a field that cannot be.
    """
    changed = dict(changes or {})
    for field, kind in (
        ("greeting", Greeting),
        ("ehlo", Ehlo),
        ("starttls", StartTls),
        ("certificate", CertificateKind),
        ("tls_kind", TlsKind),
    ):
        if field in changed:
            changed[field] = kind(changed[field])
    return dataclasses.replace(BEHAVIOURS[name], **changed)
