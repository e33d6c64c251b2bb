"""The whole policy as one frozen value, read from TOML.

Written as ``[[rule]]``, ``[[domain]]`` and ``[[group]]`` tables and those of packs (:mod:`restante.classify.tables`).
First match wins among rules.  A file that does not validate is refused whole, with file, line, field and remedy
(:class:`restante.toml_source.BadFile`).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, Self

from pydantic import model_validator

from restante.classify.pack_loader import Catalogue, built_in, check_own
from restante.classify.tables import DetectorTable, DictionaryTable, PackFile, PackTable
from restante.envelope import Envelope
from restante.policy.addresses import AddressSet, Group
from restante.policy.condition import Condition, tag_word
from restante.policy.domain import DomainMode, DomainPolicy
from restante.policy.facts import Context
from restante.policy.fields import Frozen
from restante.policy.packs import Named, built_in_names
from restante.policy.problems import grave_problem
from restante.policy.rule import Otherwise, Rule
from restante.policy.words import Lexicon, Triggers
from restante.tls.evidence import Requirement
from restante.toml_source import BadFile, line_of, load_model, read_text

FORCED_RULE: Final = "domain-always"
"""The rule that stands for "all mail of this domain"; no rule of a file may have its name."""


class Policy(Frozen):
    """The whole policy.  ``Policy.default()`` holds where there is no file."""

    rule: tuple[Rule, ...] = ()
    domain: tuple[DomainPolicy, ...] = ()
    lexicon: tuple[Lexicon, ...] = ()
    detector: tuple[DetectorTable, ...] = ()
    pack: tuple[PackTable, ...] = ()
    dictionary: tuple[DictionaryTable, ...] = ()
    group: tuple[Group, ...] = ()
    triggers: Triggers = Triggers()
    internal_domains: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _names_once(self) -> Self:
        for what, names in (
            ("rule", [rule.name for rule in self.rule]),
            ("domain", [domain.name for domain in self.domain]),
            ("lexicon", [lexicon.name for lexicon in self.lexicon]),
            ("group", [group.name for group in self.group]),
            ("dictionary", [dictionary.name for dictionary in self.dictionary]),
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

    @cached_property
    def conditions(self) -> tuple[Condition, ...]:
        """Every condition of every rule, nested ones included."""
        return tuple(one for rule in self.rule for top in rule.when for one in _with_nested(top))

    @cached_property
    def own_tags(self) -> frozenset[str]:
        """Subject tags that single rules ask for, beside the triggers."""
        known = {tag_word(tag) for tag in self.triggers.subject_tags}
        return frozenset(tag for one in self.conditions for tag in one.subject_tags if tag_word(tag) not in known)

    @cached_property
    def asked_headers(self) -> frozenset[str]:
        """Header fields, in lower case, that rules look into."""
        return frozenset(one.header.name.lower() for one in self.conditions if one.header is not None)

    @cached_property
    def context(self) -> Context:
        """What rules need to know of the policy when they look at a message."""
        internal = {domain.name for domain in self.domain if domain.mode is DomainMode.INTERNAL}
        return Context(
            built_in_names() if self.tables == PackFile() else Named.of(self.catalogue),
            {group.name: AddressSet.of(group.members) for group in self.group},
            self.internal_domains | internal,
            frozenset(domain.name for domain in self.domain),
        )

    @property
    def tables(self) -> PackFile:
        """The policy's own detectors, lexicons and packs."""
        return PackFile(detector=self.detector, lexicon=self.lexicon, pack=self.pack, dictionary=self.dictionary)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The detectors, lexicons and packs that come with Restante, and the policy's own."""
        return built_in() + self.tables

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
        """What holds without a policy file: the packs on by default, a sender's trigger, and what cannot be read."""
        packs = (pack.name for pack in built_in().packs if pack.default)
        when = (
            Condition(detectors=("trigger-*",)),
            Condition(detectors=("ambiguous-mime", "cannot-inspect")),
            *(Condition(pack=name) for name in packs),
        )
        return cls(rule=(Rule(name="default", when=when),), internal_domains=internal_domains)


def _forced_rule() -> Rule:
    return Rule(name=FORCED_RULE, when=(Condition(detectors=("*",)),))


def load_policy(path: Path | None, internal_domains: frozenset[str] = frozenset()) -> Policy:
    """Read and validate the policy at ``path``; the default policy when ``path`` is ``None``.

    Raises :class:`restante.toml_source.BadFile`: keep the policy that is in force.
    """
    if path is None:
        return Policy.default(internal_domains)
    policy = load_model(path, Policy)
    check_own(path, policy.tables)
    groups = tuple(group.read(path.absolute().parent) for group in policy.group)
    folder = path.absolute().parent
    dictionaries = tuple(one.model_copy(update={"path": folder / one.path}) for one in policy.dictionary)
    changes = {
        "group": groups,
        "dictionary": dictionaries,
        "internal_domains": policy.internal_domains | internal_domains,
    }
    policy = policy.model_copy(update=changes)
    grave = grave_problem(policy)
    if grave is not None:
        line = line_of(read_text(path), grave.location)
        raise BadFile(path, line, ".".join(map(str, grave.location)), grave.text, grave.remedy)
    return policy


def _with_nested(condition: Condition) -> Iterator[Condition]:
    yield condition
    for one in condition.nested:
        yield from _with_nested(one)
