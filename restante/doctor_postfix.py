"""The doctor's look at Postfix: everything through which a sensitive message could leave in clear, or get lost."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from restante.doctor_finding import Finding
from restante.marks import ROUTE_HEADER, RouteMark
from restante.policy import Policy
from restante.postconf import NoPostfix, Postconf, Service
from restante.postfix import (
    AUTHENTICATED_RETURN_TRANSPORT,
    AUTHENTICATED_TRANSPORT,
    CLEANUP,
    PICKUP_CLEANUP,
    REPORTERS,
    RETURN_CLEANUP,
    RETURN_TRANSPORT,
    TLS_TRANSPORT,
    internal_domains,
    milter_address,
    milters,
    service_name,
)
from restante.settings import HostPort, Settings
from restante.tls.evidence import Requirement

_OLDEST = (3, 6)  # the first that reads ">=TLSv1.2"; servername= came with 3.4
_SEE = "see: restante postfix"
_WAYS = ((Requirement.ENCRYPTED, TLS_TRANSPORT), (Requirement.AUTHENTICATED, AUTHENTICATED_TRANSPORT))
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def postfix_findings(settings: Settings, policy: Policy, directory: Path | None) -> list[Finding]:
    """What is wrong with the Postfix configured in ``directory`` (its compiled-in default when ``None``)."""
    postconf = Postconf(directory)
    try:
        look = _Look(postconf, settings, policy)
        return [finding for part in look.parts() for finding in part]
    except NoPostfix as error:
        return [Finding("postfix-missing", str(error), "install Postfix, or name its folder with --config-directory")]


class _Look:
    """One look at one configuration; each method is one subject."""

    def __init__(self, postconf: Postconf, settings: Settings, policy: Policy) -> None:
        self._postfix = postconf
        self._main = postconf.parameters
        self._settings = settings
        self._policy = policy
        self._queue = Path(self._main["queue_directory"])

    def parts(self) -> Iterator[Iterator[Finding]]:
        """Every subject, in the order in which an operator would mend them."""
        yield self._program()
        yield self._milter()
        yield self._header_checks()
        worker = self._settings.worker
        yield self._transport(TLS_TRANSPORT, "policy", {"encrypt", "verify", "secure", "dane-only", "fingerprint"})
        yield self._transport(AUTHENTICATED_TRANSPORT, "policy-auth", {"secure", "dane-only"})
        yield self._listener(worker.reinject_tls, f"{TLS_TRANSPORT}:")
        yield self._listener(worker.reinject_authenticated, f"{AUTHENTICATED_TRANSPORT}:")
        yield self._listener(worker.submit, "")
        yield self._cleanup()
        yield self._reports()
        yield self._requeued()
        yield self._conflicts()

    def _program(self) -> Iterator[Finding]:
        if self._postfix.version < _OLDEST:
            yield Finding("postfix-too-old", f"this is Postfix {self._main['mail_version']}", "use 3.6 or newer")
        for kind, package in (("pcre", "postfix-pcre"), ("socketmap", "postfix")):
            if kind not in self._postfix.map_types:
                yield Finding(f"{kind}-missing", f"this Postfix cannot read {kind} tables", f"install {package}")

    # -- the milter -------------------------------------------------------------------------------------------

    def _milter(self) -> Iterator[Finding]:
        ours = {service_name(endpoint) for endpoint in self._listeners()}
        public = [
            service
            for service in self._postfix.services
            if service.command.split()[0] == "smtpd" and service.name not in ours
        ]
        if not public:
            yield Finding("milter-not-attached", "master.cf has no smtpd that mail could come in by", _SEE)
        for service in public:
            yield from self._attached(service)
        wanted = milter_address(self._settings.milter.socket, self._queue)
        local = milters(self._main["non_smtpd_milters"])
        if not any(self._reaches(one, self._settings.milter.socket, chrooted=False) for one in local):
            yield Finding(
                "local-mail-bypasses",
                "what programs on this host hand to sendmail(1) does not pass Restante",
                f"non_smtpd_milters = {wanted}",
            )

    def _attached(self, service: Service) -> Iterator[Finding]:
        socket = self._settings.milter.socket
        where = f"smtpd {service.name}"
        entries = milters(self._postfix.in_force(service, "smtpd_milters"))
        entry = next((one for one in entries if self._reaches(one, socket, chrooted=service.chrooted)), None)
        if entry is None and any(self._reaches(one, socket, chrooted=False) for one in entries):
            yield Finding(
                "socket-outside-chroot",
                f"{where} is chrooted to {self._queue} and cannot reach {socket}",
                f"put milter.socket below {self._queue}",
            )
        elif entry is None:
            wanted = milter_address(socket, self._queue)
            yield Finding("milter-not-attached", f"{where} does not ask Restante", f"smtpd_milters = {wanted}")
        if "no_milters" in self._postfix.in_force(service, "receive_override_options"):
            yield Finding("milter-bypassed", f"{where} has receive_override_options=no_milters", "remove no_milters")
        action = self._postfix.in_force(service, "milter_default_action")
        if entry and (own := re.search(r"default_action\s*=\s*(\w+)", entry)):
            action = own.group(1)
        if action != "tempfail":
            yield Finding(
                "milter-default-action",
                f"{where} does {action!r} when the milter does not answer, so mail could leave unseen",
                "milter_default_action = tempfail",
            )

    def _reaches(self, entry: str, socket: Path, *, chrooted: bool) -> bool:
        """Whether the address of a milter list's entry leads to ``socket``."""
        kind, _, path = entry.strip("{} ").split(",")[0].split()[0].partition(":")
        if kind not in {"unix", "local"}:
            return False
        # In the chroot, "/" is the queue directory; without it, relative paths start there.
        found = self._queue / path.lstrip("/") if chrooted else self._queue / path
        return os.path.realpath(found) == os.path.realpath(socket)

    def _header_checks(self) -> Iterator[Finding]:
        cleanup = self._postfix.service("cleanup", "unix")
        main = self._main["milter_header_checks"]
        value = self._postfix.in_force(cleanup, "milter_header_checks") if cleanup else main
        if not value:
            yield Finding("header-checks-missing", "milter_header_checks is empty: nothing takes mandatory TLS", _SEE)
            return
        for requirement, transport in _WAYS:
            answer = self._answer(value, requirement)
            if answer != f"FILTER {transport}:":
                yield Finding(
                    "header-checks-wrong",
                    f"{value} says {answer or 'nothing'} to a message that needs {requirement} TLS",
                    f"let it say: FILTER {transport}:",
                )

    def _answer(self, value: str, requirement: Requirement) -> str | None:
        """What the tables of a parameter say to a message that needs TLS; the first that knows it decides."""
        line = f"{ROUTE_HEADER}: {RouteMark.fresh(requirement, 'portal', 'doctor', 0).sign(b'doctor')}"
        tables = [table for table in re.split(r"[,\s]+", value) if table]
        return next((one for table in tables if (one := self._postfix.lookup(table, line))), None)

    # -- the transports ---------------------------------------------------------------------------------------

    def _transport(self, name: str, policy_map: str, levels: set[str]) -> Iterator[Finding]:
        service = self._postfix.service(name, "unix")
        if service is None:
            yield Finding("transport-missing", f"master.cf has no {name}: sensitive mail would be deferred", _SEE)
            return

        def value(parameter: str) -> str:
            return self._postfix.in_force(service, parameter)

        level = value("smtp_tls_security_level")
        if level not in levels or value("smtp_tls_wrappermode") == "yes":
            yield Finding(
                "transport-without-mandatory-tls",
                f"{name} has smtp_tls_security_level={level or 'nothing'}",
                f"one of: {', '.join(sorted(levels))}",
            )
        if not _modern(value("smtp_tls_mandatory_protocols")):
            yield Finding(
                "transport-with-old-tls",
                f"{name} allows protocols before TLS 1.2",
                "smtp_tls_mandatory_protocols = >=TLSv1.2",
            )
        wanted = f"socketmap:unix:{self._settings.worker.socketmap}:{policy_map}"
        if value("smtp_tls_policy_maps") != wanted:
            yield Finding(
                "policy-maps-foreign",
                f"{name} asks {value('smtp_tls_policy_maps') or 'nobody'}, which may allow clear text",
                f"smtp_tls_policy_maps = {wanted}",
            )
        yield from self._fallback(name, value("smtp_fallback_relay"))
        if self._postfix.version >= (3, 10) and value("tls_required_enable") != "no":
            yield Finding(
                "tls-required-honoured",
                f"{name} lets a sender's TLS-Required: no lower the level",
                "tls_required_enable = no",
            )

    def _fallback(self, name: str, value: str) -> Iterator[Finding]:
        intake = self._settings.worker.intake
        wanted = f"[{intake.host}]:{intake.port}"
        if value == "$fallback_relay":
            value = self._main.get("fallback_relay", "")
        if not value:
            yield Finding(
                "fallback-missing",
                f"{name} has no smtp_fallback_relay: what TLS cannot deliver would bounce",
                f"smtp_fallback_relay = {wanted}",
            )
        elif value != wanted:
            yield Finding(
                "fallback-foreign",
                f"{name} hands what TLS cannot deliver to {value}, which is not our intake",
                f"smtp_fallback_relay = {wanted}",
            )

    # -- the listeners ----------------------------------------------------------------------------------------

    def _listeners(self) -> tuple[HostPort, HostPort, HostPort]:
        worker = self._settings.worker
        return worker.reinject_tls, worker.reinject_authenticated, worker.submit

    def _listener(self, endpoint: HostPort, content_filter: str) -> Iterator[Finding]:
        name = service_name(endpoint)
        service = self._postfix.service(name, "inet")
        if service is None:
            yield Finding("listener-missing", f"master.cf has no smtpd on {name}", _SEE)
            return
        found = self._postfix.in_force(service, "content_filter")
        if found != content_filter:
            yield Finding(
                "listener-filter",
                f"smtpd {name} has content_filter={found}, so what is re-injected takes another way",
                f"content_filter={content_filter}",
            )
        entries = milters(self._postfix.in_force(service, "smtpd_milters"))
        if any(
            self._reaches(entry, self._settings.milter.socket, chrooted=chrooted)
            for entry in entries
            for chrooted in (True, False)
        ):
            yield Finding("listener-with-milter", f"smtpd {name} asks Restante again: mail would go in circles", _SEE)
        if self._postfix.in_force(service, "cleanup_service_name") != CLEANUP:
            yield Finding(
                "listener-cleanup",
                f"smtpd {name} does not use {CLEANUP}: header checks or BCC of the site could divert what it queues",
                f"cleanup_service_name={CLEANUP}",
            )

    def _cleanup(self) -> Iterator[Finding]:
        service = self._postfix.service(CLEANUP, "unix")
        if service is None:
            yield Finding("cleanup-missing", f"master.cf has no {CLEANUP}", _SEE)
            return
        for parameter in ("header_checks", "mime_header_checks", "nested_header_checks", "body_checks", "always_bcc"):
            if found := self._postfix.in_force(service, parameter):
                yield Finding("cleanup-wrong", f"{CLEANUP} has {parameter}={found}", f"{parameter}=")

    # -- what Postfix writes itself, and what it queues again ------------------------------------------------------

    def _reports(self) -> Iterator[Finding]:
        """A bounce holds the message, a warning its subject: to a sender elsewhere only under TLS."""
        for name in REPORTERS:
            service = self._postfix.service(name, "unix")
            if service is None:
                continue
            if self._postfix.in_force(service, "cleanup_service_name") != RETURN_CLEANUP:
                yield Finding(
                    "report-in-clear",
                    f"what {name} reports to a sender elsewhere would bring a sensitive message there in clear",
                    f"postconf -P {name}/unix/cleanup_service_name={RETURN_CLEANUP}",
                )
            if "bounce" not in self._postfix.in_force(service, "internal_mail_filter_classes"):
                yield Finding(
                    "report-in-clear",
                    f"what {name} reports passes no checks",
                    f"postconf -P {name}/unix/internal_mail_filter_classes=bounce,notify",
                )
        endpoint = self._settings.worker.submit
        transports = (RETURN_TRANSPORT, AUTHENTICATED_RETURN_TRANSPORT)
        plain, proven = (f"FILTER {name}:[{endpoint.host}]:{endpoint.port}" for name in transports)
        yield from self._finds_mark(RETURN_CLEANUP, ("nested_header_checks", "body_checks"), (plain, proven))
        for name in transports:
            if self._postfix.service(name, "unix") is None:
                yield Finding("transport-missing", f"master.cf has no {name}: bounces would be deferred", _SEE)
        listener = self._postfix.service(service_name(endpoint), "inet")
        if listener is None:
            return
        restrictions = self._postfix.in_force(listener, "smtpd_recipient_restrictions")
        if not re.search(rf"check_sender_access\s.*<>\s*=\s*FILTER {TLS_TRANSPORT}:", restrictions):
            yield Finding(
                "report-in-clear", f"smtpd {listener.name} does not send reports elsewhere under mandatory TLS", _SEE
            )
        known = set(re.findall(r"(\S+?)=OK", restrictions))
        if missing := [one for one in internal_domains(self._settings, self._policy) if one not in known]:
            yield Finding(
                "report-misrouted",
                f"smtpd {listener.name} takes {', '.join(missing)} for outside: its people would miss bounces",
                _SEE,
            )

    def _requeued(self) -> Iterator[Finding]:
        """``postsuper -r`` hands a message to pickup and forgets its FILTER."""
        pickup = self._postfix.service("pickup", "unix")
        if pickup and self._postfix.in_force(pickup, "cleanup_service_name") != PICKUP_CLEANUP:
            yield Finding(
                "requeued-in-clear",
                "a sensitive message that is requeued (postsuper -r) would go out in the ordinary way",
                f"postconf -P pickup/unix/cleanup_service_name={PICKUP_CLEANUP}",
            )
        ways = (f"FILTER {TLS_TRANSPORT}:", f"FILTER {AUTHENTICATED_TRANSPORT}:")
        yield from self._finds_mark(PICKUP_CLEANUP, ("header_checks",), ways)

    def _finds_mark(self, cleanup: str, parameters: tuple[str, ...], ways: tuple[str, str]) -> Iterator[Finding]:
        """Whether the checks of ``cleanup`` send what carries our header ``ways``, for each level."""
        service = self._postfix.service(cleanup, "unix")
        if service is None:
            yield Finding("cleanup-missing", f"master.cf has no {cleanup}", _SEE)
            return
        for parameter in parameters:
            value = self._postfix.in_force(service, parameter)
            if tuple(self._answer(value, requirement) for requirement, _ in _WAYS) != ways:
                yield Finding(
                    "cleanup-wrong", f"{cleanup} has {parameter}={value}, which does not see our header", _SEE
                )

    # -- what else in this Postfix would send mail elsewhere -----------------------------------------------------

    def _conflicts(self) -> Iterator[Finding]:
        main = self._main
        if main["relayhost"]:
            yield Finding(
                "relayhost-set",
                f"relayhost = {main['relayhost']}: sensitive mail would go past it, straight to the MX hosts",
                "let Restante run on the host that delivers, and leave relayhost empty here",
            )
        if main["content_filter"]:
            yield Finding(
                "content-filter-set",
                f"content_filter = {main['content_filter']}: FILTER replaces it for sensitive mail",
                "attach Restante to the smtpd behind the filter",
            )
        for parameter in ("header_checks", "mime_header_checks"):
            for table in re.findall(r"(?:pcre|regexp):(\S+)", main[parameter]):
                if _filters(Path(table)):
                    yield Finding(
                        "content-filter-set",
                        f"{parameter} has a FILTER in {table}, which would replace the mandatory transport",
                        "move it to content_filter on an earlier smtpd",
                    )
        for parameter in ("always_bcc", "sender_bcc_maps", "recipient_bcc_maps"):
            if main[parameter]:
                yield Finding(
                    "bcc-set",
                    f"{parameter} = {main[parameter]}: a copy made here goes out in clear where the message also has "
                    "recipients who get theirs in the ordinary way, such as those of this site",
                    "send copies to an internal domain, which never leaves this site, or archive elsewhere",
                )
        yield from self._mapped()
        yield from self._lifetime()

    def _mapped(self) -> Iterator[Finding]:
        policy = self._policy
        for table in re.split(r"[,\s]+", self._main["transport_maps"]):
            for domain, entry in self._postfix.entries(table).items() if table else ():
                known = policy.is_internal(domain) or policy.portal_only(domain) or policy.next_hop(domain)
                if "@" not in domain and entry.partition(":")[2] and not known:
                    yield Finding(
                        "transport-bypassed",
                        f"{table} maps {domain} to {entry}: its sensitive mail would go past that, to the MX hosts",
                        'next_hop = "transport_maps" in its [[domain]] of the policy, or internal_domains',
                    )

    def _lifetime(self) -> Iterator[Finding]:
        lifetime = _seconds(self._main["maximal_queue_lifetime"])
        longest = max((rule.deadline_hours for rule in self._policy.rules), default=0)
        if lifetime is not None and lifetime < timedelta(hours=longest).total_seconds():
            yield Finding(
                "queue-lifetime-short",
                f"Postfix gives up after {self._main['maximal_queue_lifetime']}, a rule only after {longest:g} hours: "
                "mail would bounce instead of reaching the portal",
                "lengthen maximal_queue_lifetime or lower deadline_hours",
            )


def _modern(protocols: str) -> bool:
    """Whether a list of protocols begins with TLS 1.2 (RFC 8996)."""
    if re.fullmatch(r">=\s*TLSv1\.[23]", protocols.strip()):
        return True
    refused = {part.strip().lower() for part in re.split(r"[,\s:]+", protocols)}
    return {"!sslv3", "!tlsv1", "!tlsv1.1"} <= refused


def _filters(path: Path) -> bool:
    try:
        return bool(re.search(r"^[^#\n]*\sFILTER\s", path.read_text(errors="replace"), re.MULTILINE))
    except OSError:
        return False


def _seconds(text: str) -> float | None:
    """A time as postconf(5) writes it; days when it has no unit, as this parameter has it."""
    found = re.fullmatch(r"(\d+)\s*([smhdw]?)", text.strip())
    return int(found.group(1)) * _UNITS[found.group(2) or "d"] if found else None
