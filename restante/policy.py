"""Policy: what makes a message sensitive and what then happens, as one frozen value.

Written in TOML as ``[[rule]]``, ``[[domain]]`` and ``[[lexicon]]`` tables.  First match wins among rules.  A file
that does not validate is refused whole, with file, line, field and remedy (:class:`restante.toml_source.BadFile`).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from restante.classify.finding import Confidence, Finding
from restante.envelope import Envelope
from restante.tls.evidence import Requirement
from restante.tls.mx import BadNextHop, NextHop
from restante.toml_source import load_model


class Action(StrEnum):
    """What a matching rule does.  ``protect`` is mandatory TLS with :class:`Otherwise` as the way out."""

    PROTECT = "protect"
    RELAY = "relay"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class Otherwise(StrEnum):
    """Where a recipient's copy goes when the domain cannot do TLS well enough."""

    PORTAL = "portal"
    QUARANTINE = "quarantine"
    REJECT = "reject"


class DomainMode(StrEnum):
    """What is agreed for mail to a domain.

    ``auto`` asks the evidence.  ``always`` sends everything over mandatory TLS, sensitive or not.  ``portal-only``, or
    ``never``, does not try TLS: sensitive mail takes the way out at once.  ``internal`` never leaves the site.
    """

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"
    PORTAL_ONLY = "portal-only"
    INTERNAL = "internal"


FORCED_RULE: Final = "domain-always"
"""The rule that stands for "all mail of this domain"; no rule of a file may have its name."""

FROM_TRANSPORT_MAPS: Final = "transport_maps"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _confidence(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Confidence[value.upper()]
    except KeyError:
        raise ValueError("must be low, medium or high") from None


Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
ConfidenceName = Annotated[Confidence, BeforeValidator(_confidence)]


class Condition(_Frozen):
    """One group of findings that a rule asks for: any of ``detectors``, at least ``count`` distinct values.

    A detector name ending in ``*`` matches by prefix ("lexicon:*").
    """

    detectors: tuple[str, ...] = Field(min_length=1)
    confidence: ConfidenceName = Confidence.HIGH
    count: int = Field(default=1, ge=1, le=10_000)

    def match(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """The findings that satisfy this condition; empty when there are fewer than ``count`` distinct ones."""
        hits = tuple(
            finding
            for finding in findings
            if finding.confidence >= self.confidence and any(_covers(name, finding.detector) for name in self.detectors)
        )
        distinct = {finding.value_digest or (finding.detector, finding.place, finding.match) for finding in hits}
        return hits if len(distinct) >= self.count else ()


def _covers(pattern: str, detector: str) -> bool:
    return detector.startswith(pattern[:-1]) if pattern.endswith("*") else detector == pattern


class Rule(_Frozen):
    """One rule.  It matches when any of its conditions does and the sender and recipient patterns fit.

    ``senders`` and ``recipient_domains`` are domains or addresses; empty means everyone.  ``expires_days`` bounds
    how long a held message waits.  ``deadline_hours`` bounds how long delivery over TLS is tried before the portal.
    ``always_code`` asks for an access code even where the notice went over TLS.  ``heal`` delivers a message that
    waits unopened after all, once its domain was seen with TLS twice; the worker can then open what so waits.
    """

    name: Name
    when: tuple[Condition, ...] = Field(min_length=1)
    action: Action = Action.PROTECT
    tls: Requirement = Requirement.ENCRYPTED
    otherwise: Otherwise = Otherwise.PORTAL
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    always_code: bool = False
    heal: bool = False
    expires_days: int = Field(default=14, ge=1, le=365)
    deadline_hours: float = Field(default=24, ge=0, le=120)

    def match(self, findings: tuple[Finding, ...], envelope: Envelope) -> tuple[Finding, ...] | None:
        """The findings that made the rule match, or ``None`` when it does not."""
        if self.senders and not _any_address(self.senders, (envelope.sender,)):
            return None
        if self.recipients and not _any_address(self.recipients, envelope.recipients):
            return None
        for condition in self.when:
            hits = condition.match(findings)
            if hits:
                return hits
        return None

    @property
    def expires_after(self) -> timedelta:
        """How long a held message waits for its recipient."""
        return timedelta(days=self.expires_days)


def _any_address(patterns: tuple[str, ...], addresses: tuple[object, ...]) -> bool:
    texts = [str(address).lower() for address in addresses]
    return any(
        text == pattern.lower() or text.rpartition("@")[2] == pattern.lower().lstrip("@")
        for pattern in patterns
        for text in texts
    )


def _domain_name(value: str) -> str:
    try:
        name = NextHop.parse(value)
    except BadNextHop as error:
        raise ValueError(str(error)) from error
    if name.direct or name.port is not None:
        raise ValueError("must be a name without brackets and port")
    return name.name


def _next_hop(value: str) -> str:
    """A next hop as Postfix and the evidence write it, or the table that knows it."""
    if value == "" or _is_table(value):
        return value
    try:
        hop = NextHop.parse(value)
    except BadNextHop as error:
        raise ValueError(str(error)) from error
    return str(hop)


def _is_table(next_hop: str) -> bool:
    """Whether a table of Postfix is named (``hash:/etc/postfix/transport``) in the place of a next hop."""
    return next_hop == FROM_TRANSPORT_MAPS or ":/" in next_hop


DomainName = Annotated[str, AfterValidator(_domain_name)]


class DomainPolicy(_Frozen):
    """What is agreed for one domain.

    ``tls`` raises what rules ask for; it never lowers it.  ``certificate_names``: the peer's certificate must carry
    one of them.  ``next_hop`` replaces the MX hosts: ``[mail.partner.example]:587``, or ``transport_maps`` or a table
    (``hash:/etc/postfix/transport``) for what Postfix itself would do.  ``otherwise`` and ``deadline_hours`` replace
    those of the rules.

    ``inbound_tls``: mail that claims to come from the domain must arrive over TLS; ``inbound_certificate``: and its
    client must show a trusted certificate with this subject name.
    """

    name: DomainName
    mode: DomainMode = DomainMode.AUTO
    tls: Requirement = Requirement.ENCRYPTED
    certificate_names: tuple[DomainName, ...] = Field(default=(), max_length=20)
    next_hop: Annotated[str, AfterValidator(_next_hop)] = ""
    otherwise: Otherwise | None = None
    deadline_hours: float | None = Field(default=None, ge=0, le=120)
    inbound_tls: bool = False
    inbound_certificate: str = Field(default="", max_length=253)

    @model_validator(mode="after")
    def _names_can_be_checked(self) -> Self:
        if self.certificate_names and self.next_hop.lstrip("[")[:1].isdigit():
            raise ValueError("certificate_names need a next_hop with a name: an address sends none to the peer")
        return self

    @property
    def reads_table(self) -> bool:
        """Whether the next hop is still to be read from a table of Postfix."""
        return _is_table(self.next_hop)

    @property
    def authenticated(self) -> bool:
        """Whether the peer must prove its name, whatever a rule says."""
        return bool(self.certificate_names) or self.tls is Requirement.AUTHENTICATED


class Lexicon(_Frozen):
    """A list of whole words or phrases, found in any case, reported as ``lexicon:NAME``."""

    name: Name
    words: tuple[Annotated[str, Field(min_length=2, max_length=200)], ...] = Field(min_length=1, max_length=10_000)
    confidence: ConfidenceName = Confidence.MEDIUM


class Triggers(_Frozen):
    """How senders themselves ask for protection: words in square brackets in the subject, and header values."""

    subject_tags: tuple[str, ...] = ("secure",)
    headers: tuple[str, ...] = ("X-Restante-Secure",)
    sensitivity: bool = True


class Policy(_Frozen):
    """The whole policy.  ``Policy.default()`` holds where there is no file."""

    rule: tuple[Rule, ...] = ()
    domain: tuple[DomainPolicy, ...] = ()
    lexicon: tuple[Lexicon, ...] = ()
    triggers: Triggers = Triggers()
    internal_domains: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for what, names in (
            ("rule", [rule.name for rule in self.rule]),
            ("domain", [domain.name for domain in self.domain]),
            ("lexicon", [lexicon.name for lexicon in self.lexicon]),
        ):
            twice = {name for name in names if names.count(name) > 1}
            if twice:
                raise ValueError(f"{what} {', '.join(sorted(twice))} is defined twice: rename or remove one")
        if any(rule.name == FORCED_RULE for rule in self.rule):
            raise ValueError(f"the rule name {FORCED_RULE} is Restante's own: choose another")
        return self

    @model_validator(mode="after")
    def _hops_agree(self) -> Self:
        agreed: dict[str, DomainPolicy] = {}
        for domain in self.domain:
            if not domain.next_hop or domain.reads_table:
                continue
            other = agreed.setdefault(domain.next_hop, domain)
            # Postfix asks by next hop: two domains behind one cannot ask different things of it.
            if (other.certificate_names, other.authenticated) != (domain.certificate_names, domain.authenticated):
                raise ValueError(f"{other.name} and {domain.name} ask different things of {domain.next_hop}")
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in the order of the file; the first that matches wins."""
        return self.rule

    @cached_property
    def _by_domain(self) -> dict[str, DomainPolicy]:
        return {domain.name: domain for domain in self.domain}

    @cached_property
    def _by_next_hop(self) -> dict[str, DomainPolicy]:
        return {domain.next_hop: domain for domain in self.domain if domain.next_hop}

    @cached_property
    def _forced(self) -> frozenset[str]:
        return frozenset(domain.name for domain in self.domain if domain.mode is DomainMode.ALWAYS)

    @cached_property
    def inbound(self) -> dict[str, DomainPolicy]:
        """The domains whose mail must prove something when it arrives here."""
        return {domain.name: domain for domain in self.domain if domain.inbound_tls or domain.inbound_certificate}

    def with_domains(self, domains: tuple[DomainPolicy, ...]) -> Self:
        """The same policy with other ``[[domain]]`` entries.

        Raises ``ValueError`` where two contradict each other.
        """
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | {"domain": domains})

    def domain_policy(self, domain: str) -> DomainPolicy | None:
        """What is agreed for ``domain``; ``None`` when nothing is."""
        return self._by_domain.get(domain)

    def destination_policy(self, destination: str) -> DomainPolicy | None:
        """What is agreed for a domain, or for who receives at a next hop as Postfix writes it."""
        return self._by_domain.get(destination) or self._by_next_hop.get(destination)

    def is_internal(self, domain: str) -> bool:
        """Whether mail for ``domain`` stays on this site."""
        known = self._by_domain.get(domain)
        return domain in self.internal_domains or (known is not None and known.mode is DomainMode.INTERNAL)

    def portal_only(self, domain: str) -> bool:
        """Whether sensitive mail for ``domain`` goes to the portal without a look at its TLS."""
        known = self._by_domain.get(domain)
        return known is not None and known.mode in {DomainMode.PORTAL_ONLY, DomainMode.NEVER}

    def forces_tls(self, domain: str) -> bool:
        """Whether all mail for ``domain`` goes by mandatory TLS."""
        return domain in self._forced and domain not in self.internal_domains

    def forced_rule(self, envelope: Envelope) -> Rule | None:
        """What holds where no rule matched: TLS for the domains that have it agreed.  ``None`` for all other mail."""
        if not self._forced or not any(self.forces_tls(recipient.domain) for recipient in envelope.recipients):
            return None
        return _forced_rule()

    def requirement(self, rule: Rule, domain: str) -> Requirement:
        """The stricter of what the rule and the domain's own entry ask for."""
        known = self._by_domain.get(domain)
        if rule.tls is Requirement.AUTHENTICATED or (known is not None and known.authenticated):
            return Requirement.AUTHENTICATED
        return Requirement.ENCRYPTED

    def otherwise(self, rule: Rule, domain: str) -> Otherwise:
        """The way out for a copy to ``domain``: the domain's own, or the rule's."""
        known = self._by_domain.get(domain)
        return known.otherwise if known is not None and known.otherwise is not None else rule.otherwise

    def deadline_hours(self, rule: Rule, domain: str) -> float:
        """How long delivery to ``domain`` over TLS is tried: the domain's own, or the rule's."""
        known = self._by_domain.get(domain)
        return known.deadline_hours if known is not None and known.deadline_hours is not None else rule.deadline_hours

    def next_hop(self, domain: str) -> str:
        """Where mail for ``domain`` is handed over instead of its MX hosts; empty for the MX hosts."""
        known = self._by_domain.get(domain)
        return known.next_hop if known is not None else ""

    def rule_named(self, name: str) -> Rule | None:
        """The rule called ``name``, or ``None`` when a reload has removed it."""
        if name == FORCED_RULE:
            return _forced_rule()
        return next((rule for rule in self.rule if rule.name == name), None)

    @classmethod
    def default(cls, internal_domains: frozenset[str] = frozenset()) -> Self:
        """What holds without a policy file: a sender's trigger, a high-confidence identifier or ambiguous MIME."""
        return cls(
            rule=(
                Rule(
                    name="default",
                    when=(
                        Condition(detectors=("trigger-*",)),
                        Condition(detectors=("id-*", "payment-card", "iban")),
                        Condition(detectors=("ambiguous-mime",)),
                    ),
                ),
            ),
            internal_domains=internal_domains,
        )


def _forced_rule() -> Rule:
    return Rule(name=FORCED_RULE, when=(Condition(detectors=("*",)),))


def load_policy(path: Path | None, internal_domains: frozenset[str] = frozenset()) -> Policy:
    """Read and validate the policy at ``path``; the default policy when ``path`` is ``None``.

    Raises :class:`restante.toml_source.BadFile`: keep the policy that is in force.
    """
    if path is None:
        return Policy.default(internal_domains)
    policy = load_model(path, Policy)
    return policy.model_copy(update={"internal_domains": policy.internal_domains | internal_domains})
