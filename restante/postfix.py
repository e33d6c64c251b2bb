"""Wiring Restante to Postfix: what ``main.cf``, ``master.cf`` and the header checks must say.

Pure: settings and what is known of the site give text.  Everything here fails closed: a milter that does not answer
gives 4xx, a route header that nobody knows asks for the strictest transport, both transports refuse clear text, and
what they cannot deliver goes to the worker's intake over loopback and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from restante.policy import DomainMode, Policy
from restante.postconf import Postconf
from restante.settings import HostPort, Settings

TLS_TRANSPORT = "restante-tls"
AUTHENTICATED_TRANSPORT = "restante-auth"
CLEANUP = "restante-cleanup"
RETURN_TRANSPORT = "restante-return"
AUTHENTICATED_RETURN_TRANSPORT = "restante-return-auth"
RETURN_CLEANUP = "restante-returned"
PICKUP_CLEANUP = "restante-pickup"
# The daemons that write to a sender about a message, with the message or its headers.
REPORTERS = ("bounce", "defer", "trace")
CHECKS = ("header_checks", "nested_header_checks", "body_checks")
HOP_MAP = "hop"
HOP_AUTH_MAP = "hop-auth"
SYSTEM_CA_FILE = Path("/etc/ssl/certs/ca-certificates.crt")

HEADER_CHECKS = f"""\
# Seen only by headers that a milter added (milter_header_checks), so a sender cannot choose the way.
/^X-Restante-Route: tls level=authenticated/ FILTER {AUTHENTICATED_TRANSPORT}:
/^X-Restante-Route: tls level=encrypted/ FILTER {TLS_TRANSPORT}:
# A level that this file does not know asks for the strictest transport.
/^X-Restante-Route:/ FILTER {AUTHENTICATED_TRANSPORT}:
"""

RETURN_CHECKS = f"""\
# What was sent under mandatory TLS, within a report about it.
/^X-Restante-Route: tls level=encrypted/ FILTER {RETURN_TRANSPORT}:NEXT_HOP
/^X-Restante-Route:/ FILTER {AUTHENTICATED_RETURN_TRANSPORT}:NEXT_HOP
"""
# By this name a report says to the listener that its message went to a peer that proved its own.
_AUTHENTICATED_HELO = "authenticated.restante.invalid"


@dataclass(frozen=True, slots=True)
class Site:
    """What the wiring has to know of the Postfix at hand.  The defaults are Debian's.

    ``other_milters`` and ``other_non_smtpd_milters`` are the site's own, in order; ``smtpd_chrooted`` says whether
    smtpd sees only the queue directory.  ``other_checks`` are the site's own of :data:`CHECKS`.
    ``internal_domains`` are those of the policy beside those of the settings.
    """

    config_directory: Path = Path("/etc/postfix")
    queue_directory: Path = Path("/var/spool/postfix")
    version: tuple[int, ...] = (3, 7)
    smtpd_chrooted: bool = True
    other_milters: tuple[str, ...] = ()
    other_non_smtpd_milters: tuple[str, ...] = ()
    other_checks: Mapping[str, str] = field(default_factory=dict)
    internal_domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PostfixConfiguration:
    """The wiring.

    Parameters for ``main.cf``, lines to append to ``master.cf``, options for services that ``master.cf`` has already
    (as ``postconf -P`` takes them), and two files of checks.
    """

    main_cf: dict[str, str]
    master_cf: str
    master_options: dict[str, str]
    header_checks: str
    header_checks_path: Path
    return_checks: str
    return_checks_path: Path

    @property
    def main_cf_text(self) -> str:
        """``main_cf`` in the form of the file."""
        return "".join(f"{name} = {value}\n" for name, value in self.main_cf.items())

    @property
    def files(self) -> dict[Path, str]:
        """The files of checks, path to text."""
        return {self.header_checks_path: self.header_checks, self.return_checks_path: self.return_checks}


def site_of(postconf: Postconf, settings: Settings) -> Site:
    """What :func:`render` has to know, read from a Postfix.  Raises :class:`restante.postconf.NoPostfix`."""
    parameters = postconf.parameters
    smtpd = postconf.service("smtp", "inet")
    queue_directory = Path(parameters["queue_directory"])
    ours = {milter_address(settings.milter.socket, queue_directory), f"unix:{settings.milter.socket}"}
    ours.add(f"unix:/{milter_address(settings.milter.socket, queue_directory).removeprefix('unix:')}")
    return Site(
        config_directory=Path(parameters["config_directory"]),
        queue_directory=queue_directory,
        version=postconf.version,
        smtpd_chrooted=smtpd.chrooted if smtpd else True,
        other_milters=tuple(one for one in milters(parameters["smtpd_milters"]) if one not in ours),
        other_non_smtpd_milters=tuple(one for one in milters(parameters["non_smtpd_milters"]) if one not in ours),
        other_checks={name: parameters[name] for name in CHECKS},
    )


def internal_domains(settings: Settings, policy: Policy) -> tuple[str, ...]:
    """The domains whose mail stays on this site."""
    agreed = (domain.name for domain in policy.domain if domain.mode is DomainMode.INTERNAL)
    return tuple(dict.fromkeys((*settings.internal_domains, *agreed)))


def milters(value: str) -> tuple[str, ...]:
    """The entries of a milter list; ``{ address, option=value }`` stays one entry."""
    entries: list[str] = []
    depth, start = 0, 0
    padded = f"{value} "
    for place, character in enumerate(padded):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0 and (character.isspace() or character == ","):
            entries.append(padded[start:place].strip())
            start = place + 1
    return tuple(entry for entry in entries if entry)


def milter_address(socket: Path, queue_directory: Path) -> str:
    """How Postfix names the milter's socket.

    A path relative to the queue directory works with and without a chroot; a socket outside it only without.
    """
    if socket.is_relative_to(queue_directory):
        return f"unix:{socket.relative_to(queue_directory)}"
    return f"unix:{socket}"


def render(settings: Settings, site: Site | None = None) -> PostfixConfiguration:
    """The wiring that ``settings`` ask for on ``site`` (Debian's defaults when not given)."""
    site = site or Site()
    checks = site.config_directory / "restante_header_checks"
    return_checks = site.config_directory / "restante_return_checks"
    # Ours comes first, so that a milter that signs sees the message as it leaves, without its subject tag.
    ours = milter_address(settings.milter.socket, site.queue_directory)
    return PostfixConfiguration(
        main_cf={
            "smtpd_milters": ", ".join((ours, *site.other_milters)),
            # Mail that programs on this host hand to sendmail(1) is outgoing mail like any other.
            "non_smtpd_milters": ", ".join((ours, *site.other_non_smtpd_milters)),
            "milter_default_action": "tempfail",
            "milter_protocol": "6",
            "milter_connect_timeout": "30s",
            "milter_command_timeout": "30s",
            "milter_content_timeout": f"{settings.milter.timeout_seconds}s",
            "milter_header_checks": f"pcre:{checks}",
            # One domain without TLS must not fill the intake, which looks at each message as a whole, in memory.
            f"{TLS_TRANSPORT}_destination_concurrency_limit": "10",
            f"{AUTHENTICATED_TRANSPORT}_destination_concurrency_limit": "10",
        },
        master_cf=_master_cf(settings, site, checks, return_checks),
        master_options=_master_options(),
        header_checks=HEADER_CHECKS,
        header_checks_path=checks,
        return_checks=RETURN_CHECKS.replace("NEXT_HOP", _next_hop(settings.worker.submit)),
        return_checks_path=return_checks,
    )


def _master_options() -> dict[str, str]:
    """Reports pass a cleanup that looks for what they return, and what pickup queues one that finds our header again.

    ``postsuper -r`` hands a message to pickup and forgets its FILTER.
    """
    options = {"pickup/unix/cleanup_service_name": PICKUP_CLEANUP}
    for name in REPORTERS:
        options[f"{name}/unix/cleanup_service_name"] = RETURN_CLEANUP
        # Postfix's own mail passes no checks otherwise.
        options[f"{name}/unix/internal_mail_filter_classes"] = "bounce,notify"
    return options


def _master_cf(settings: Settings, site: Site, checks: Path, return_checks: Path) -> str:
    worker = settings.worker
    entries = (
        _transport(TLS_TRANSPORT, "encrypt", "policy", settings, site),
        _transport(AUTHENTICATED_TRANSPORT, "secure", "policy-auth", settings, site),
        _listener(worker.reinject_tls, f"{TLS_TRANSPORT}:", worker.socketmap, site),
        _listener(worker.reinject_authenticated, f"{AUTHENTICATED_TRANSPORT}:", worker.socketmap, site),
        _submission(settings, site),
        _cleanup(site),
        _return_transport(RETURN_TRANSPORT, "$myhostname"),
        _return_transport(AUTHENTICATED_RETURN_TRANSPORT, _AUTHENTICATED_HELO),
        _return_cleanup(site, return_checks),
        _pickup_cleanup(site, checks, return_checks),
    )
    return "\n".join(entries)


def _entry(comment: str, head: str, options: dict[str, str]) -> str:
    lines = [f"# {comment}", head, *(f"  -o {_option(name, value)}" for name, value in options.items())]
    return "\n".join(lines) + "\n"


def _option(name: str, value: str) -> str:
    """One ``-o``; master(5) splits at white space unless braces hold the setting together."""
    return f"{{ {name} = {value} }}" if any(character.isspace() for character in value) else f"{name}={value}"


def _transport(name: str, level: str, policy: str, settings: Settings, site: Site) -> str:
    """A transport that delivers under mandatory TLS or hands the message to the worker's intake."""
    options = {
        "syslog_name": f"postfix/{name}",
        "smtp_tls_security_level": level,
        "smtp_tls_policy_maps": f"socketmap:unix:{settings.worker.socketmap}:{policy}",
        # Without it "dane-only" could only defer; Postfix then looks up TLSA records itself, at delivery.
        "smtp_dns_support_level": "dnssec",
        # RFC 8996 retires TLS 1.0 and 1.1.
        "smtp_tls_mandatory_protocols": ">=TLSv1.2",
        "smtp_tls_mandatory_ciphers": "medium",
        "smtp_tls_mandatory_exclude_ciphers": "aNULL,eNULL,EXPORT,LOW,RC4,3DES,MD5,PSK,SRP",
        # Hosts of many domains choose their certificate by name; level encrypt sends none otherwise.
        "smtp_tls_servername": "hostname",
        "smtp_tls_CAfile": str(settings.tls.ca_file or SYSTEM_CA_FILE),
        "smtp_tls_wrappermode": "no",
        "smtp_tls_loglevel": "1",
        "smtp_fallback_relay": _next_hop(settings.worker.intake),
        # The intake is asked again for every message: its answer is about one message, not about a host.
        "smtp_connection_cache_on_demand": "no",
        # What a site strips for its own peers must not make the fallback or a TLS peer look as if it had no DSN.
        "smtp_discard_ehlo_keywords": "",
        "smtp_discard_ehlo_keyword_address_maps": "",
        # Never offer a relay host's password to someone else's MX.
        "smtp_sasl_auth_enable": "no",
    }
    if site.version >= (3, 10):
        # RFC 8689's "TLS-Required: no" would lower the level to "may".
        options["tls_required_enable"] = "no"
    # Not chrooted: the policy's socket and the certificate file are named by their full paths.
    return _entry(f"Mandatory TLS, level {level}.", f"{name} unix - - n - - smtp", options)


def _within(socket: Path, site: Site) -> str:
    """The socket as a chrooted smtpd reaches it: from the queue directory, in which every daemon of Postfix works."""
    return milter_address(socket, site.queue_directory)


def _listener(endpoint: HostPort, content_filter: str, socketmap: Path, site: Site) -> str:
    """A re-injection smtpd."""
    # Where a next hop is agreed for the recipient's domain, the worker says so, and FILTER replaces the MX hosts.
    hops = HOP_AUTH_MAP if content_filter == f"{AUTHENTICATED_TRANSPORT}:" else HOP_MAP
    table = f"socketmap:{_within(socketmap, site)}:{hops}"
    options = {
        **_listener_options(site),
        "syslog_name": "postfix/restante-reinject",
        "content_filter": content_filter,
        "smtpd_recipient_restrictions": f"check_recipient_access,{table},permit_mynetworks,reject",
        # The first smtpd has asked already; a recipient that has gone since is bounced, not refused.
        "receive_override_options": "no_unknown_recipient_checks",
    }
    return _smtpd(f"Re-injection towards {content_filter}.", endpoint, options, site)


def _submission(settings: Settings, site: Site) -> str:
    """Where our own notices come in, and reports about sensitive messages, by their empty sender.

    Reports to people of this site go the ordinary way, to anyone else under mandatory TLS.
    """
    own = dict.fromkeys((*settings.internal_domains, *site.internal_domains, settings.hostname))
    internal = " ".join(f"{domain}=OK" for domain in own)
    restrictions = (
        f"check_recipient_access inline:{{ {internal} }}",
        f"check_sender_access inline:{{ {{ <> = FILTER {TLS_TRANSPORT}: }} }}",
        # The last FILTER counts.
        f"check_helo_access inline:{{ {{ {_AUTHENTICATED_HELO} = FILTER {AUTHENTICATED_TRANSPORT}: }} }}",
        "permit_mynetworks",
        "reject",
    )
    options = {
        **_listener_options(site),
        "syslog_name": "postfix/restante-submit",
        "content_filter": "",
        "smtpd_recipient_restrictions": ", ".join(restrictions),
        # A domain below an internal one is none, as in the milter.
        "parent_domain_matches_subdomains": "",
        "smtpd_null_access_lookup_key": "<>",
    }
    return _smtpd("Our own notices, and reports about sensitive messages.", settings.worker.submit, options, site)


def _smtpd(comment: str, endpoint: HostPort, options: dict[str, str], site: Site) -> str:
    chroot = "y" if site.smtpd_chrooted else "n"
    return _entry(comment, f"{service_name(endpoint)} inet n - {chroot} - - smtpd", options)


def _listener_options(site: Site) -> dict[str, str]:
    """A loopback smtpd without our milter.  The site's other milters stay, so that what leaves is signed."""
    return {
        "cleanup_service_name": CLEANUP,
        "smtpd_milters": ",".join(site.other_milters),
        "mynetworks": "127.0.0.0/8,[::1]/128",
        "smtpd_client_restrictions": "permit_mynetworks,reject",
        "smtpd_helo_restrictions": "",
        "smtpd_sender_restrictions": "",
        "smtpd_relay_restrictions": "permit_mynetworks,reject",
        "smtpd_data_restrictions": "",
        "smtpd_end_of_data_restrictions": "",
        "smtpd_proxy_filter": "",
        "smtpd_upstream_proxy_protocol": "",
        "smtpd_sasl_auth_enable": "no",
        "smtpd_tls_security_level": "none",
        # DSN, SMTPUTF8 and 8BITMIME must be offered, whatever the site hides from strangers.
        "smtpd_discard_ehlo_keywords": "",
        "smtpd_discard_ehlo_keyword_address_maps": "",
        # Not XCLIENT: it would replace the address that permit_mynetworks looks at.
        "smtpd_authorized_xforward_hosts": "127.0.0.0/8,[::1]/128",
        "smtpd_soft_error_limit": "1001",
        "smtpd_hard_error_limit": "1000",
        # The message was within the limit when it came; our headers must not push it over.
        "message_size_limit": "0",
    }


def _cleanup(site: Site) -> str:
    """A cleanup for what Restante re-injects.

    No header checks: the message passed them, and a FILTER there would replace the mandatory transport.  No BCC:
    the original copy had them, and a notice holds a link.
    """
    options = {
        "header_checks": "",
        "mime_header_checks": "",
        "nested_header_checks": "",
        "body_checks": "",
        "milter_header_checks": "",
        "always_bcc": "",
        "sender_bcc_maps": "",
        "recipient_bcc_maps": "",
        "message_size_limit": "0",
    }
    return _cleanup_entry("Queues what comes over the listeners above.", CLEANUP, options, site)


def _cleanup_entry(comment: str, name: str, options: dict[str, str], site: Site) -> str:
    chroot = "y" if site.smtpd_chrooted else "n"
    return _entry(comment, f"{name} unix n - {chroot} - 0 cleanup", options)


def _return_transport(name: str, helo: str) -> str:
    """Brings a report about a sensitive message to the listener for it, over loopback and nowhere else."""
    options = {
        "syslog_name": f"postfix/{name}",
        "smtp_helo_name": helo,
        "smtp_tls_security_level": "none",
        "smtp_tls_policy_maps": "",
        "smtp_tls_wrappermode": "no",
        "smtp_fallback_relay": "",
        "smtp_sasl_auth_enable": "no",
        "smtp_discard_ehlo_keywords": "",
        "smtp_discard_ehlo_keyword_address_maps": "",
        "smtp_header_checks": "",
        "smtp_body_checks": "",
        # The listener takes loopback alone.
        "smtp_bind_address": "",
        "smtp_bind_address6": "",
    }
    return _entry("Reports about sensitive messages.", f"{name} unix - - n - - smtp", options)


def _return_cleanup(site: Site, return_checks: Path) -> str:
    """Queues bounces, warnings and success reports.  One that returns our header takes the transport for it.

    The header stands in a message/rfc822 part, or in the body of a text/rfc822-headers part.
    """
    options = {
        "header_checks": "",
        "mime_header_checks": "",
        "nested_header_checks": f"pcre:{return_checks}",
        "body_checks": f"pcre:{return_checks}",
        "body_checks_size_limit": "2147483647",
        "disable_mime_input_processing": "no",
        "milter_header_checks": "",
        "non_smtpd_milters": "",
    }
    return _cleanup_entry("Queues what Postfix reports to senders.", RETURN_CLEANUP, options, site)


def _pickup_cleanup(site: Site, checks: Path, return_checks: Path) -> str:
    """Queues what sendmail(1) takes, and what ``postsuper -r`` requeues, with the way that it had.

    A forged header gives a message mandatory TLS, and nothing else.
    """
    own = {"header_checks": checks, "nested_header_checks": return_checks, "body_checks": return_checks}
    options = {
        name: ",".join(filter(None, (f"pcre:{path}", site.other_checks.get(name, "")))) for name, path in own.items()
    }
    return _cleanup_entry("Queues what comes by pickup.", PICKUP_CLEANUP, options, site)


def service_name(endpoint: HostPort) -> str:
    """How master.cf names the smtpd that listens on ``endpoint``."""
    host = "127.0.0.1" if endpoint.host == "localhost" else endpoint.host
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"


def _next_hop(endpoint: HostPort) -> str:
    # Brackets: no MX lookup (postconf(5), smtp_fallback_relay).
    return f"[{endpoint.host}]:{endpoint.port}"
