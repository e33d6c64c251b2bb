"""TLSA records against a presented certificate chain (RFC 6698, RFC 7671, RFC 7672).  Pure: no clock, no network.

Guarantees: any bytes in records or certificates give an answer, never an exception, in bounded time; what cannot be
parsed does not match.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import ExtensionOID, NameOID

from restante.tls.resolve import Tlsa

DANE_TA: Final = 2
DANE_EE: Final = 3
MAX_RECORDS: Final = 64
MAX_CHAIN: Final = 10
MAX_CERTIFICATE: Final = 65_536

_DIGESTS: Final = {1: hashlib.sha256, 2: hashlib.sha512}
_LENGTHS: Final = {1: 32, 2: 64}
# Nobody should be believed for these any more; the key sizes are the handshake's business.
_BROKEN_HASHES: Final = (hashes.MD5, hashes.SHA1)
_UNUSABLE: Final = (ValueError, TypeError, KeyError, InvalidSignature, UnsupportedAlgorithm)
_BAD_CERTIFICATE: Final = (
    *_UNUSABLE,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Match:
    """Whether a chain satisfies a set of records, and why or why not."""

    matched: bool
    reason: str


def usable(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """The records a mail client may use: RFC 7672, section 3.1, leaves usages 2 and 3.

    Unknown parameters, digests of a wrong length and data that is no certificate or key are unusable (RFC 6698,
    section 4.1).  Of two digests for one usage and selector the stronger counts (RFC 7671, section 9).
    """
    sound = [record for record in list(records)[:MAX_RECORDS] if _sound(record)]
    strongest = {
        (usage, selector): max((r.matching for r in sound if (r.usage, r.selector) == (usage, selector)), default=0)
        for usage in (DANE_TA, DANE_EE)
        for selector in (0, 1)
    }
    return tuple(r for r in sound if r.matching in (0, strongest[r.usage, r.selector]))


def match(chain: Sequence[bytes], records: Sequence[Tlsa], names: Sequence[str], now: float) -> Match:
    """Whether ``chain`` (DER, the peer's own certificate first) satisfies one of the usable ``records``.

    ``names`` are the names that a certificate below a DANE-TA anchor may have; ``now`` is in Unix seconds.
    """
    if not chain or any(len(der) > MAX_CERTIFICATE for der in chain):
        return Match(False, "no certificate that could be compared")
    if any(record.usage == DANE_EE and _same(record, chain[0]) for record in records):
        # RFC 7672, section 3.1.1: neither names nor dates are looked at.
        return Match(True, "certificate matches a TLSA record (DANE-EE)")
    anchors = [record for record in records if record.usage == DANE_TA]
    if not anchors:
        return Match(False, "the certificate matches no TLSA record")
    try:
        return _by_anchor([x509.load_der_x509_certificate(der) for der in chain[:MAX_CHAIN]], anchors, names, now)
    except _BAD_CERTIFICATE as error:
        return Match(False, f"the certificate chain cannot be read ({type(error).__name__})")


def name_matches(pattern: str, name: str) -> bool:
    """Whether a certificate's DNS name covers ``name``; ``*`` stands for exactly the first label (RFC 6125)."""
    pattern, name = pattern.lower().rstrip("."), name.lower().rstrip(".")
    if not pattern.startswith("*."):
        return bool(name) and pattern == name
    first, dot, rest = name.partition(".")
    return bool(first and dot) and "*" not in rest and rest == pattern[2:] and "." in rest


def _sound(record: Tlsa) -> bool:
    if record.usage not in (DANE_TA, DANE_EE) or record.selector not in (0, 1):
        return False
    if record.matching in _LENGTHS:
        return len(record.data) == _LENGTHS[record.matching]
    if record.matching != 0 or not 0 < len(record.data) <= MAX_CERTIFICATE:
        return False
    try:
        if record.selector == 0:
            x509.load_der_x509_certificate(record.data)
        else:
            load_der_public_key(record.data)
    except _BAD_CERTIFICATE:
        return False
    return True


def _same(record: Tlsa, der: bytes) -> bool:
    try:
        selected = der if record.selector == 0 else public_key_info(der)
    except ValueError:
        return False
    digest = _DIGESTS.get(record.matching)
    return (digest(selected).digest() if digest else selected) == record.data


def public_key_info(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, byte for byte as it stands there, whatever its algorithm.

    Raises ``ValueError`` when there is none.
    """
    certificate, _ = _element(der, 0x30)
    rest, _ = _element(certificate, 0x30)
    if rest[:1] == b"\xa0":
        _, rest = _element(rest, 0xA0)  # version
    for tag in (0x02, 0x30, 0x30, 0x30, 0x30):  # serial, signature, issuer, validity, subject (RFC 5280, section 4.1)
        _, rest = _element(rest, tag)
    _, behind = _element(rest, 0x30)
    return rest[: len(rest) - len(behind)]


def _element(data: bytes, tag: int) -> tuple[bytes, bytes]:
    """The content of the DER element at the start of ``data``, and what follows it."""
    if len(data) < 2 or data[0] != tag:
        raise ValueError("not the expected DER element")
    length, start = data[1], 2
    if length & 0x80:
        size = length & 0x7F
        if not 1 <= size <= 4 or len(data) < 2 + size:
            raise ValueError("unusable DER length")
        length, start = int.from_bytes(data[2 : 2 + size], "big"), 2 + size
    if len(data) < start + length:
        raise ValueError("DER element is cut short")
    return data[start : start + length], data[start + length :]


def _by_anchor(chain: list[x509.Certificate], anchors: list[Tlsa], names: Sequence[str], now: float) -> Match:
    """DANE-TA (RFC 7672, section 3.1.2): a path from the peer's certificate to an anchor, valid now, and the name."""
    when = dt.datetime.fromtimestamp(now, dt.UTC)
    if not _names_one_of(chain[0], names):
        return Match(False, "the certificate is for another name")
    published = [
        x509.load_der_x509_certificate(record.data)
        for record in anchors
        if (record.selector, record.matching) == (0, 0)
    ]
    keys = [record.data for record in anchors if (record.selector, record.matching) == (1, 0)]
    current, others = chain[0], [*chain[1:], *published]
    for below in range(len(chain) + 1):
        if not current.not_valid_before_utc <= when <= current.not_valid_after_utc:
            return Match(False, "a certificate of the chain is not valid now")
        if below and any(_same(record, _der(current)) for record in anchors):
            return Match(True, "certificate chain ends at a TLSA record (DANE-TA)")
        if any(_signed_by_key(current, key) for key in keys):
            return Match(True, "certificate chain ends at a key in a TLSA record (DANE-TA)")
        issuer = next((other for other in others if _issued(other, current, below)), None)
        if issuer is None:
            break
        others.remove(issuer)
        current = issuer
    return Match(False, "the certificate chain leads to no TLSA record")


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _issued(issuer: x509.Certificate, subject: x509.Certificate, below: int) -> bool:
    """Whether ``issuer`` may sign certificates, ``below`` of them in a row, and signed this one."""
    if isinstance(subject.signature_hash_algorithm, _BROKEN_HASHES):
        return False
    try:
        subject.verify_directly_issued_by(issuer)
    except _BAD_CERTIFICATE:
        return False
    try:
        constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return False
    too_long = constraints.path_length is not None and below > constraints.path_length
    return constraints.ca and not too_long and _may_sign(issuer)


def _may_sign(issuer: x509.Certificate) -> bool:
    try:
        return issuer.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound:
        return True


def _signed_by_key(certificate: x509.Certificate, spki: bytes) -> bool:
    """Whether a bare key from the DNS signed ``certificate``."""
    algorithm = certificate.signature_hash_algorithm
    if isinstance(algorithm, _BROKEN_HASHES):
        return False
    signature, signed = certificate.signature, certificate.tbs_certificate_bytes
    try:
        key = load_der_public_key(spki)
        if isinstance(key, rsa.RSAPublicKey):
            scheme = certificate.signature_algorithm_parameters
            if algorithm is None or not isinstance(scheme, padding.PKCS1v15 | padding.PSS):
                return False
            key.verify(signature, signed, scheme, algorithm)
        elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
            key.verify(signature, signed, ec.ECDSA(algorithm))
        elif isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, signed)
        else:
            return False
    except _UNUSABLE:
        return False
    return True


def _names_one_of(certificate: x509.Certificate, names: Sequence[str]) -> bool:
    wanted = [name for name in names if not _is_address(name)]
    return any(name_matches(pattern, name) for pattern in _names_of(certificate) for name in wanted)


def _names_of(certificate: x509.Certificate) -> list[str]:
    """DNS names; the common name only where there are none (RFC 7672, section 3.2.2)."""
    try:
        extension = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)
    except x509.ExtensionNotFound:
        names: list[str] = []
    else:
        value = extension.value
        names = value.get_values_for_type(x509.DNSName) if isinstance(value, x509.SubjectAlternativeName) else []
    return names or [str(entry.value) for entry in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
