"""Certificates of the lab's peers: one CA that everybody trusts, and the ways in which a certificate is wrong."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

YEAR = dt.timedelta(days=365)


class CertificateKind(StrEnum):
    """What a peer shows.  Only ``VALID`` verifies, and only for the peer's own host name."""

    VALID = "valid"
    SELF_SIGNED = "self-signed"
    EXPIRED = "expired"
    WRONG_NAME = "wrong-name"
    NO_INTERMEDIATE = "no-intermediate"


class CertificateAuthority:
    """The lab's CA.  ``bundle`` is a PEM file with its certificate, for ``smtp_tls_CAfile``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._authority = trustme.CA(organization_name="Restante lab")
        self._intermediate = self._authority.create_child_ca()
        self.bundle = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.bundle))

    def issue(self, kind: CertificateKind, name: str, directory: Path) -> Path:
        """Write ``KIND.pem`` (key, then chain) for the host ``name`` into ``directory`` and return its path."""
        path = directory / f"{kind}.pem"
        now = dt.datetime.now(dt.UTC)
        if kind is CertificateKind.SELF_SIGNED:
            path.write_bytes(_self_signed(name, now))
        elif kind is CertificateKind.EXPIRED:
            leaf = self._authority.issue_cert(name, not_before=now - YEAR, not_after=now - YEAR / 2)
            leaf.private_key_and_cert_chain_pem.write_to_path(str(path))
        elif kind is CertificateKind.NO_INTERMEDIATE:
            leaf = self._intermediate.issue_cert(name)
            path.write_bytes(leaf.private_key_pem.bytes() + leaf.cert_chain_pems[0].bytes())
        else:
            shown = "wrong.invalid" if kind is CertificateKind.WRONG_NAME else name
            self._authority.issue_cert(shown).private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
        return path

    def issue_named(self, name: str, path: Path, *, trusted: bool = True) -> Path:
        """Write key and chain with ``name`` as common name into ``path``, from this CA or from one nobody trusts."""
        authority = self._authority if trusted else trustme.CA(organization_name="Somebody else")
        authority.issue_cert(name, common_name=name).private_key_and_cert_chain_pem.write_to_path(str(path))
        path.chmod(0o600)
        return path


def _self_signed(name: str, now: dt.datetime) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - YEAR)
        .not_valid_after(now + YEAR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem + certificate.public_bytes(serialization.Encoding.PEM)
