"""The doctor's questions about Sendmail: what ``sendmail.cf`` must say, each mistake by its name.

Reads the file that m4 made, since that is what Sendmail obeys.  A broken rule would let mail go in clear: the rules
must be there word for word.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from restante.doctor_finding import Finding
from restante.policy import Policy
from restante.sendmail import SMTP_PORT, SUBMIT_DAEMON, cf_sections
from restante.settings import Settings

SENDMAIL_CF = Path("/etc/mail/sendmail.cf")
_SEE = "put what `restante sendmail` prints at the end of sendmail.mc, and make sendmail.cf again"


def sendmail_findings(settings: Settings, policy: Policy, cf: Path | None = None) -> list[Finding]:
    """What is wrong with the Sendmail whose configuration is ``cf`` (Debian's place when not given)."""
    path = cf or SENDMAIL_CF
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return [Finding("sendmail-missing", f"{path}: {error.strerror}", "set mta in the settings, or install it")]
    lines = _lines(text)
    return [
        *_milter(settings, lines),
        *_daemons(settings, lines),
        *_rules(settings, lines),
        *_authority(lines),
        *_agreements(policy),
    ]


def _agreements(policy: Policy) -> Iterator[Finding]:
    """What may be agreed with a domain and only Postfix can keep."""
    for domain in policy.domain:
        if domain.certificate_names or domain.next_hop:
            yield Finding(
                "agreement-not-kept",
                f"{domain.name}: certificate_names and next_hop have no effect at delivery by Sendmail",
                'remove them; mode = "portal-only" where the agreement must hold',
            )


def _lines(text: str) -> list[str]:
    """The lines in force: without comments, continuations joined, white space made one."""
    joined = re.sub(r"\n[ \t]+", " ", text)
    return [" ".join(line.split()) for line in joined.splitlines() if line and not line.startswith("#")]


def _options(value: str) -> dict[str, str]:
    """``Name=MTA, Addr=::1`` as a mapping; names in lower case."""
    pairs = (part.partition("=") for part in value.split(","))
    return {name.strip().lower(): text.strip() for name, _, text in pairs}


def _values(lines: Sequence[str], option: str) -> list[str]:
    head = f"O {option}="
    return [line[len(head) :] for line in lines if line.startswith(head)]


def _milter(settings: Settings, lines: Sequence[str]) -> Iterator[Finding]:
    filters = {line[1:].partition(",")[0].strip(): line.partition(",")[2] for line in lines if line.startswith("X")}
    ours = {name: _options(value) for name, value in filters.items() if _leads_to(value, settings.milter.socket)}
    if not ours:
        yield Finding("milter-not-attached", f"no filter leads to {settings.milter.socket}", _SEE)
        return
    for name, options in ours.items():
        if options.get("f") != "T":
            yield Finding(
                "milter-default-action", f"filter {name} lets mail through when the milter does not answer", "F=T"
            )
    in_force = {name.strip() for value in _values(lines, "InputMailFilters") for name in value.split(",")}
    if not in_force & set(ours):
        yield Finding("milter-not-attached", "InputMailFilters does not name the filter", _SEE)


def _leads_to(value: str, socket: Path) -> bool:
    kind, _, path = _options(value).get("s", "").partition(":")
    return kind in {"unix", "local"} and os.path.realpath(path) == os.path.realpath(socket)


def _daemons(settings: Settings, lines: Sequence[str]) -> Iterator[Finding]:
    daemons = [_options(value) for value in _values(lines, "DaemonPortOptions")]
    submit, intake = settings.worker.submit, settings.worker.intake
    ours = [one for one in daemons if one.get("name") == SUBMIT_DAEMON]
    if not any(one.get("addr") == submit.host and one.get("port") == str(submit.port) for one in ours):
        yield Finding("submit-missing", f"no daemon {SUBMIT_DAEMON} listens on {submit}: no notice can be sent", _SEE)
    for one in daemons:
        mine = one.get("name") == SUBMIT_DAEMON
        if mine and one.get("inputmailfilters", "unset") != "":
            yield Finding("submit-asks-milter", f"daemon {SUBMIT_DAEMON} has filters", "InputMailFilters= (empty)")
        if not mine and "inputmailfilters" in one:
            yield Finding(
                "milter-bypassed",
                f"daemon {one.get('name', '?')} has filters of its own: {one['inputmailfilters'] or 'none'}",
                "remove InputMailFilters= from it, unless nobody outside can reach it",
            )
        if one.get("port", "smtp") in {"smtp", str(SMTP_PORT)} and one.get("addr", intake.host) in {
            intake.host,
            "0.0.0.0",  # noqa: S104  compared, not bound
        }:
            yield Finding(
                "intake-port-taken",
                f"daemon {one.get('name', '?')} listens on every address, and the worker's intake needs {intake}",
                "give the daemon the addresses it is for: Addr=",
            )


def _rules(settings: Settings, lines: Sequence[str]) -> Iterator[Finding]:
    text = "\n" + "\n".join(lines) + "\n"
    for section in cf_sections(settings):
        if "\n" + "\n".join(section) + "\n" not in text:
            yield Finding("rules-wrong", f"the lines that begin with {section[0]!r} are not as they must be", _SEE)
    if _values(lines, "ConnectionCacheSize")[-1:] != ["0"]:
        yield Finding(
            "connections-kept",
            "Sendmail keeps connections, so one host's certificate could stand for another host's connection",
            "define(`confMCI_CACHE_SIZE', `0')",
        )
    if lines.count("SLocal_tls_rcpt") > 1:
        yield Finding("rules-wrong", "there are two rule sets Local_tls_rcpt", "keep ours alone, or join them by hand")


def _authority(lines: Sequence[str]) -> Iterator[Finding]:
    if not (_values(lines, "CACertFile") or _values(lines, "CACertPath")):
        yield Finding(
            "ca-file-missing",
            "Sendmail knows no certificate authority, so no peer can prove its name",
            "define(`confCACERT', `/etc/ssl/certs/ca-certificates.crt') and confCACERT_PATH",
        )
