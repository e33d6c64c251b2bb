"""What mail that claims to come from a partner must prove when it arrives: TLS, and a certificate where one is agreed.

Judged by what the MTA tells of the session, never by the message.  Postfix gives ``{cert_subject}`` only for a
certificate whose chain it trusts (``smtpd_tls_ask_ccert = yes``); Sendmail says so in ``{verify}``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from email.utils import getaddresses
from typing import Final

from restante.envelope import BadAddress, domain_of
from restante.policy import DomainPolicy

_WRITTEN: Final = re.compile(r"@[^\s<>@\"(),;:]+")

MACROS: Final = ("{tls_version}", "{cert_subject}", "{verify}")


@dataclass(frozen=True, slots=True)
class Arrival:
    """The session's TLS as the MTA tells it; empty where there is none.

    ``verify`` is Sendmail's word for the client's certificate, and empty on Postfix.
    """

    tls_version: str = ""
    cert_subject: str = ""
    verify: str = ""

    def lacks(self, partner: DomainPolicy) -> str:
        """What the session lacks for mail of ``partner``, in words for the reply; empty when nothing does."""
        if not self.tls_version:
            return f"mail from {partner.name} is accepted only over TLS"
        wanted = partner.inbound_certificate
        if not wanted:
            return ""
        if self.verify not in {"", "OK"} or not _names(self.cert_subject, wanted):
            return f"mail from {partner.name} is accepted only with the agreed client certificate"
        return ""


def _names(subject: str, wanted: str) -> bool:
    """Whether the subject is ``wanted``: a common name (Postfix), or a distinguished name with it (Sendmail)."""
    names = [subject, *(part.removeprefix("CN=") for part in subject.split("/") if part.startswith("CN="))]
    return wanted.lower() in {name.strip().lower() for name in names}


def refusal(partners: Mapping[str, DomainPolicy], domains: Collection[str], arrival: Arrival) -> str:
    """Why mail that claims to come from ``domains`` is refused; empty when it is not."""
    for domain in domains:
        partner = partners.get(domain)
        lacking = arrival.lacks(partner) if partner is not None else ""
        if lacking:
            return lacking
    return ""


def claimed_domains(field: bytes | None) -> tuple[str, ...]:
    """The domains of a From field.  One that cannot be read strictly claims every domain that is written in it."""
    text = (field or b"").decode("utf-8", "replace")
    addresses = [address for _, address in getaddresses([text])]
    if not all(addresses):
        addresses = _WRITTEN.findall(text)
    found = []
    for address in addresses:
        try:
            found.append(domain_of(address.strip()))
        except BadAddress:
            continue
    return tuple(found)
