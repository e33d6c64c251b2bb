"""How the settings file asks for probes to be made, in the terms of :mod:`restante.tls.probe`."""

from __future__ import annotations

from restante.settings import Settings
from restante.tls.probe import ProbeSettings


def probe_settings(settings: Settings) -> ProbeSettings:
    """The ``[tls]`` section, with this host's name for EHLO."""
    tls = settings.tls
    return ProbeSettings(
        ehlo_name=settings.hostname,
        dns_timeout=tls.dns_seconds,
        connect_timeout=tls.connect_seconds,
        banner_timeout=tls.banner_seconds,
        total_timeout=tls.total_seconds,
        port=tls.port,
        ca_file=tls.ca_file,
        nameservers=tls.nameservers,
        max_probes=tls.max_probes,
        source_address=tls.source_address,
        confirm_pause=tls.confirm_pause_seconds,
    )
