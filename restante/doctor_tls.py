"""What is wrong with what TLS evidence rests on: the resolver that DANE needs, the store of trusted certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from restante.doctor_finding import Finding
from restante.errors import RestanteError
from restante.settings import TlsSettings
from restante.tls.resolve import Resolver
from restante.tls.trust import ResolverTrust, Trust
from restante.tls.trust_mode import TrustAd


def tls_findings(tls: TlsSettings) -> Iterator[Finding]:
    """Asks the name servers two questions; none where DANE is off, or where the settings decide about trust."""
    if not tls.dane or tls.trust_ad is not TrustAd.AUTO:
        return
    try:
        trust = asyncio.run(_trust(tls))
    except RestanteError as error:
        yield Finding("resolver-missing", str(error), "name one in `nameservers` in [tls], or in /etc/resolv.conf")
        return
    if trust.trusted is None:
        yield Finding(
            "resolver-not-tested",
            f"{trust.reason}; until it can be, domains are of unknown TLS ability and their mail waits",
            "look why it does not answer for `dnssec_signed_name` in [tls], or set dane = false",
        )
    elif not trust.trusted:
        yield Finding(
            "resolver-not-validating",
            f"{trust.reason}: domains that publish DANE are judged without it",
            'run a validating resolver such as unbound on this host, vouch for yours with trust_ad = "yes" in [tls], '
            "or do without: dane = false",
        )


async def _trust(tls: TlsSettings) -> Trust:
    resolver = Resolver(tls.nameservers, tls.dns_seconds, 2)
    return await ResolverTrust(resolver, tls.trust_ad, tls.dnssec_signed_name, tls.dnssec_broken_name).ask()
