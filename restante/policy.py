"""Policy: what makes a message sensitive and what then happens, as one frozen value.

Written in TOML as ``[[rule]]``, ``[[domain]]`` and ``[[lexicon]]`` tables.  First match wins among rules.  A file
that does not validate is refused whole, with file, line, field and remedy (:class:`restante.toml_source.BadFile`).
"""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from restante.classify.finding import Confidence, Finding
from restante.envelope import BadAddress, Envelope, a_label
from restante.tls.evidence import Requirement
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
    """``auto`` asks the evidence; ``portal-only`` never tries TLS; ``internal`` never leaves the site."""

    AUTO = "auto"
    PORTAL_ONLY = "portal-only"
    INTERNAL = "internal"


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
    ``always_code`` asks for an access code even where the notice went over TLS.
    """

    name: Name
    when: tuple[Condition, ...] = Field(min_length=1)
    action: Action = Action.PROTECT
    tls: Requirement = Requirement.ENCRYPTED
    otherwise: Otherwise = Otherwise.PORTAL
    senders: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    always_code: bool = False
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


class DomainPolicy(_Frozen):
    """What is agreed for one recipient domain.  ``tls`` raises what rules ask for; it never lowers it."""

    name: str = Field(min_length=1)
    mode: DomainMode = DomainMode.AUTO
    tls: Requirement = Requirement.ENCRYPTED

    @field_validator("name")
    @classmethod
    def _normal(cls, value: str) -> str:
        try:
            return a_label(value)
        except BadAddress as error:
            raise ValueError(str(error)) from error


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
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in the order of the file; the first that matches wins."""
        return self.rule

    @cached_property
    def _by_domain(self) -> dict[str, DomainPolicy]:
        return {domain.name: domain for domain in self.domain}

    def is_internal(self, domain: str) -> bool:
        """Whether mail for ``domain`` stays on this site."""
        known = self._by_domain.get(domain)
        return domain in self.internal_domains or (known is not None and known.mode is DomainMode.INTERNAL)

    def portal_only(self, domain: str) -> bool:
        """Whether sensitive mail for ``domain`` goes to the portal without a look at its TLS."""
        known = self._by_domain.get(domain)
        return known is not None and known.mode is DomainMode.PORTAL_ONLY

    def requirement(self, rule: Rule, domain: str) -> Requirement:
        """The stricter of what the rule and the domain's own entry ask for."""
        known = self._by_domain.get(domain)
        asked = {rule.tls, known.tls if known else rule.tls}
        return Requirement.AUTHENTICATED if Requirement.AUTHENTICATED in asked else Requirement.ENCRYPTED

    def rule_named(self, name: str) -> Rule | None:
        """The rule called ``name``, or ``None`` when a reload has removed it."""
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


def load_policy(path: Path | None, internal_domains: frozenset[str] = frozenset()) -> Policy:
    """Read and validate the policy at ``path``; the default policy when ``path`` is ``None``.

    Raises :class:`restante.toml_source.BadFile`: keep the policy that is in force.
    """
    if path is None:
        return Policy.default(internal_domains)
    policy = load_model(path, Policy)
    return policy.model_copy(update={"internal_domains": policy.internal_domains | internal_domains})
