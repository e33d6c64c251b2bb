r"""Wiring Restante to Sendmail: the lines for ``sendmail.mc``, and the address by which a recipient asks for TLS.

A recipient who must be reached over TLS gets a pseudo-domain at the end of the address:
``bob@example.com.encrypted.restante-tls``.  The milter exchanges the recipient, so the mark stands in Sendmail's own
queue file from the moment it takes the message; it follows the recipient when Sendmail splits an envelope or
changes a queue id, and needs no question to anybody.  ``LOCAL_RULE_0`` takes the mark off again and delivers by a
mailer of its own, whose host list ends with the worker's intake; ``tls_rcpt`` sees that list as ``$h``.

Fails closed: without these rules the marked domain does not exist, so the message bounces.  The mark on an address
that a client wrote only asks for TLS.
"""

from __future__ import annotations

from restante.settings import Settings
from restante.tls.evidence import Requirement

PSEUDO_DOMAIN = "restante-tls"
MAILER = "restante"
SUBMIT_DAEMON = "restante-submit"
SMTP_PORT = 25

_MC = """\
dnl Restante.  At the end of sendmail.mc, after the MAILER lines.
dnl 4xx when the milter does not answer.
INPUT_MAIL_FILTER(`restante', `S=unix:{socket}, F=T, T=C:30s;S:30s;R:{seconds}s;E:{seconds}s')dnl
dnl Our own notices and what reviewers released, without any milter.
DAEMON_OPTIONS(`{submit}, InputMailFilters=')dnl
dnl The names in a certificate are those of the latest handshake: no connection is kept for a later message.
define(`confMCI_CACHE_SIZE', `0')dnl
LOCAL_CONFIG
{config}
LOCAL_RULE_0
{rule_0}
MAILER_DEFINITIONS
{mailer}
LOCAL_TLS_RCPT
{tls_rcpt}
"""

_CONFIG = """\
# Recipients that need TLS.  A pseudo-domain is not looked up.
CP{pseudo}
# A host's name is looked for among the names in its certificate.
O SetCertAltnames=true
C{{restante_versions}}TLSv1.2 TLSv1.3
C{{restante_bits}}128 192 256"""

# The intake is named twice where the peer must prove its name: that is how tls_rcpt tells the levels apart.
_RULE_0 = """\
R$* < @ $+ . encrypted . {pseudo} . > $*	$#{mailer} $@ $2:[{intake}] $: $1 < @ $2 . > $3
R$* < @ $+ . authenticated . {pseudo} . > $*	$#{mailer} $@ $2:[{intake}]:[{intake}] $: $1 < @ $2 . > $3
R$* < @ $* {pseudo} . > $*	$#error $@ 5.1.2 $: "553 no such level of TLS\""""

_MAILER = """\
M{mailer},	P=[IPC], F=mDFMuXa8, S=EnvFromSMTP/HdrFromSMTP, R=EnvToSMTP, E=\\r\\n, L=990,
		T=DNS/RFC822/SMTP,
		A=TCP $h"""

# Not by the stock TLS_connection: without an access table it knows no requirement, and accepts.
_TLS_RCPT = """\
R$*	$: $&h
R$+:[{intake}]:[{intake}]	$: <authenticated> $&{{server_addr}}
R$+:[{intake}]	$: <encrypted> $&{{server_addr}}
R<$-> {intake}	$@ OK
R<$-> $*	$: <$1> $&{{tls_version}}
R<$-> $={{restante_versions}}	$: <$1> <good> $&{{cipher_bits}}
R<$-> <good> $={{restante_bits}}	$: <$1> <strong>
R<encrypted> <strong>	$@ OK
R<authenticated> <strong>	$: <verify> <$&{{verify}}> $&{{server_name}}
R<verify> <OK> $+ .	$: <verify> <OK> $1
R<verify> <OK> $={{cert_altnames}}	$@ OK
R<verify> <OK> $- . $+	$: <verify> <OK> * . $2
R<verify> <OK> $={{cert_altnames}}	$@ OK
R<verify> $*	$#error $@ 4.7.10 $: "451 the certificate does not prove the name of the host"
R<$-> $*	$#error $@ 4.7.10 $: "451 TLS 1.2 or later is required"
R$*	$@ OK"""


def secured(address: str, requirement: Requirement) -> str:
    """``address`` as the recipient that Sendmail delivers to under mandatory TLS of this level."""
    return f"{address}.{requirement}.{PSEUDO_DOMAIN}"


def is_secured(domain: str) -> bool:
    """Whether ``domain`` already ends as only Restante's own recipients do."""
    return domain.rstrip(".").lower().endswith(f".{PSEUDO_DOMAIN}")


def render(settings: Settings) -> str:
    """The lines for ``sendmail.mc`` that ``settings`` ask for."""
    host, port = settings.worker.submit
    family = "inet6" if ":" in host else "inet"
    return _MC.format(
        socket=settings.milter.socket,
        seconds=settings.milter.timeout_seconds,
        submit=f"Name={SUBMIT_DAEMON}, Family={family}, Addr={host}, Port={port}",
        **_parts(settings),
    )


def cf_sections(settings: Settings) -> tuple[tuple[str, ...], ...]:
    """The lines of ours that m4 copies into ``sendmail.cf``, by section, continuations joined, white space made one."""
    parts = _parts(settings)
    parts["tls_rcpt"] = "SLocal_tls_rcpt\n" + parts["tls_rcpt"]
    joined = (text.replace("\n\t\t", " ").splitlines() for text in parts.values())
    return tuple(tuple(" ".join(line.split()) for line in lines if not line.startswith("#")) for lines in joined)


def _parts(settings: Settings) -> dict[str, str]:
    names = {"pseudo": PSEUDO_DOMAIN, "mailer": MAILER, "intake": settings.worker.intake.host}
    templates = {"config": _CONFIG, "rule_0": _RULE_0, "mailer": _MAILER, "tls_rcpt": _TLS_RCPT}
    return {name: template.format(**names) for name, template in templates.items()}
