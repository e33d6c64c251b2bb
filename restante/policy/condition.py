"""What a rule asks for: a table whose keys must all hold, with tables nested by ``any``, ``all`` and ``not``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Final, Self

import re2
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from restante.classify.finding import Classification, Confidence, Finding
from restante.policy.addresses import AddressPattern, AddressSet
from restante.policy.clock import Hours
from restante.policy.facts import Direction, Facts
from restante.policy.fields import ConfidenceName, Frozen, Name
from restante.policy.packs import covers, distinct

CERTAIN: Final = frozenset({"cannot-inspect"})
"""Findings without degrees of certainty: a condition that asks for high confidence means them too."""

NARROWING: Final = frozenset({"confidence", "count", "places", "reasons", "quoted"})
"""Keys that say which findings count, and nothing by themselves."""

PLACES: Final = ("subject", "header", "body", "html", "attachment", "structure")

_UNITS: Final = {"": 1, "B": 1, "KB": 1000, "MB": 1_000_000, "GB": 1_000_000_000, "KIB": 1 << 10, "MIB": 1 << 20}
_SIZE: Final = re.compile(r"\s*(\d{1,12})\s*([A-Za-z]{0,3})\s*")


def _size(value: object) -> object:
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value)
    if match is None or match.group(2).upper() not in _UNITS:
        raise ValueError('must be bytes, or a number with kB, MB, GB, KiB or MiB, such as "10 MB"')
    return int(match.group(1)) * _UNITS[match.group(2).upper()]


def _place(value: str) -> str:
    if value.partition(":")[0] not in PLACES:
        raise ValueError(f"must be one of {', '.join(PLACES)}")
    return value


def _expression(value: str) -> str:
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(value, options)
    except re2.error as error:
        text = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise ValueError(f"is no regular expression of RE2: {text}") from None
    return value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Size = Annotated[int, BeforeValidator(_size), Field(ge=0)]
Patterns = tuple[AddressPattern, ...]
Text = Annotated[str, Field(min_length=1, max_length=500)]
Directions = Annotated[tuple[Direction, ...], BeforeValidator(_one_or_more), Field(min_length=1)]


class HeaderCondition(Frozen):
    """A header field that is there, in any case; ``contains`` a text in any case, or ``matches`` RE2."""

    name: Annotated[str, Field(pattern=r"^[!-9;-~]{1,100}$")]
    contains: str = Field(default="", max_length=500)
    matches: Annotated[str, AfterValidator(_expression)] = Field(default="", max_length=1000)

    @cached_property
    def _search(self) -> re2._Regexp:
        return re2.compile(self.matches)

    def holds(self, headers: Iterable[tuple[str, str]]) -> bool:
        """Whether one of ``headers``, names in lower case, fits."""
        name = self.name.lower()
        return any(
            field == name
            and (not self.contains or self.contains.casefold() in value.casefold())
            and (not self.matches or self._search.search(value) is not None)
            for field, value in headers
        )


class Condition(Frozen):
    """Every key that is given must hold; docs/policy.md says what each one asks.

    ``detectors``, ``tags`` and ``pack`` ask for findings, which ``confidence``, ``count``, ``places``, ``reasons``
    and ``quoted`` narrow; a name that ends in ``*`` matches by prefix ("lexicon:*").
    """

    model_config = ConfigDict(populate_by_name=True)

    any_of: tuple[Condition, ...] = Field(default=(), alias="any", max_length=100)
    all_of: tuple[Condition, ...] = Field(default=(), alias="all", max_length=100)
    none_of: Condition | None = Field(default=None, alias="not")

    detectors: tuple[Annotated[str, Field(min_length=1, max_length=100)], ...] = ()
    tags: tuple[Name, ...] = ()
    pack: Name | None = None
    confidence: ConfidenceName | None = None
    count: int = Field(default=1, ge=1, le=10_000)
    places: tuple[Annotated[str, AfterValidator(_place)], ...] = ()
    reasons: tuple[Text, ...] = ()
    quoted: bool | None = None

    senders: Patterns = ()
    users: tuple[Text, ...] = ()
    recipients: Patterns = ()
    only_recipients: Patterns = ()
    direction: Directions | None = None
    freemail: bool | None = None
    lookalike: bool | None = None
    first_contact: bool | None = None
    min_recipients: int | None = Field(default=None, ge=1)
    max_recipients: int | None = Field(default=None, ge=1)
    min_size: Size | None = None
    max_size: Size | None = None
    attachment_names: tuple[Text, ...] = ()
    attachment_types: tuple[Text, ...] = ()
    header: HeaderCondition | None = None
    subject_tags: tuple[Text, ...] = ()
    hours: Hours | None = None
    always: bool = False

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        narrowing = self.model_fields_set & NARROWING
        if not self.model_fields_set - NARROWING:
            raise ValueError("asks for nothing: name detectors, a pack or what else must hold, or write always = true")
        if narrowing and not self.asks_for_findings:
            raise ValueError(f"{', '.join(sorted(narrowing))} only narrow detectors, tags or a pack: add one of them")
        if self.pack is not None and (self.detectors or self.tags):
            raise ValueError("a pack says itself what it looks for: put detectors and tags in a condition of their own")
        for name in self.model_fields_set:
            if getattr(self, name) in ((), False) and name in _NEEDS_MEMBERS:
                raise ValueError(f"{name} is empty: remove it, or name what it asks for")
        return self

    @cached_property
    def asks_for_findings(self) -> bool:
        """Whether it looks at what was found in the message."""
        return bool(self.detectors or self.tags or self.pack)

    @cached_property
    def _only_findings(self) -> bool:
        return self.asks_for_findings and self.model_fields_set <= NARROWING | {"detectors", "tags", "pack"}

    @property
    def least(self) -> Confidence | None:
        """The confidence that findings need; ``None`` where a pack says it."""
        return self.confidence if self.confidence is not None else None if self.pack else Confidence.HIGH

    @property
    def nested(self) -> tuple[Condition, ...]:
        """The conditions within."""
        return (*self.any_of, *self.all_of, *((self.none_of,) if self.none_of else ()))

    @cached_property
    def sender_set(self) -> AddressSet:
        """``senders``, for a quick look."""
        return AddressSet.of(self.senders)

    @cached_property
    def recipient_set(self) -> AddressSet:
        """``recipients``, for a quick look."""
        return AddressSet.of(self.recipients)

    @cached_property
    def only_set(self) -> AddressSet:
        """``only_recipients``, for a quick look."""
        return AddressSet.of(self.only_recipients)

    def match(self, facts: Facts) -> tuple[Finding, ...] | None:
        """The findings that made it hold, none where it asks for none; ``None`` when it does not hold."""
        if self.asks_for_findings and not facts.classification.findings:
            return None  # nearly all mail: what follows is for the rest
        if self._only_findings:
            return self._findings(facts)
        if not (self._fits_envelope(facts) and self._fits_message(facts)):
            return None
        hits = self._findings(facts) if self.asks_for_findings else ()
        if hits is None:
            return None
        nested = self._nested(facts)
        # Last, because it may ask the store.
        if nested is None or not self._fits_acquaintance(facts):
            return None
        return tuple(dict.fromkeys((*hits, *nested)))

    def _nested(self, facts: Facts) -> tuple[Finding, ...] | None:
        hits: list[Finding] = []
        for one in self.all_of:
            found = one.match(facts)
            if found is None:
                return None
            hits += found
        if self.any_of:
            found = next((each for one in self.any_of if (each := one.match(facts)) is not None), None)
            if found is None:
                return None
            hits += found
        if self.none_of is not None and self.none_of.match(facts) is not None:
            return None
        return tuple(hits)

    def _findings(self, facts: Facts) -> tuple[Finding, ...] | None:
        if self.pack is not None:
            return self._of_pack(facts)
        named = facts.context.named
        tagged = frozenset().union(*(named.tags.get(tag, ()) for tag in self.tags)) if self.tags else ()
        hits = tuple(
            finding
            for finding in facts.classification.findings
            if self._counts(finding, Confidence.HIGH)
            and (finding.detector in tagged or any(covers(name, finding.detector) for name in self.detectors))
        )
        return hits if hits and (self.count == 1 or distinct(hits) >= self.count) else None

    def _of_pack(self, facts: Facts) -> tuple[Finding, ...] | None:
        """Some finding of every group; ``count`` counts the values of the first."""
        purpose = facts.context.named.purposes.get(self.pack or "")
        if purpose is None or not facts.classification.findings:
            return None
        met: list[Finding] = []
        for number, group in enumerate(purpose.groups):
            hits = [
                finding
                for finding in facts.classification.findings
                if finding.detector in group and self._counts(finding, purpose.confidence)
            ]
            if not hits or (number == 0 and distinct(hits) < self.count):
                return None
            met += hits
        return tuple(met)

    def _counts(self, finding: Finding, least: Confidence) -> bool:
        """Whether ``finding`` is certain enough, stands where it must, and has a reason that is asked for."""
        if self.confidence is not None:
            least = self.confidence
        if finding.confidence < least and finding.detector not in CERTAIN:
            return False
        if self.places and not any(_stands(place, finding.place) for place in self.places):
            return False
        if self.quoted is not None and finding.quoted is not self.quoted:
            return False
        return not self.reasons or any(reason.casefold() in finding.reason.casefold() for reason in self.reasons)

    def _fits_addresses(self, facts: Facts) -> bool:
        envelope, groups = facts.envelope, facts.context.groups
        if self.senders and not self.sender_set.holds(envelope.sender, groups):
            return False
        if self.users and envelope.user.casefold() not in {user.casefold() for user in self.users}:
            return False
        if self.recipients and not any(self.recipient_set.holds(one, groups) for one in envelope.recipients):
            return False
        return not self.only_recipients or all(self.only_set.holds(one, groups) for one in envelope.recipients)

    def _fits_envelope(self, facts: Facts) -> bool:
        if not (self._fits_addresses(facts) and _within(self.min_recipients, facts.recipients, self.max_recipients)):
            return False
        if self.direction is not None and facts.direction not in self.direction:
            return False
        return self.freemail is None or facts.to_freemail is self.freemail

    def _fits_message(self, facts: Facts) -> bool:
        message = facts.classification
        if not (_within(self.min_size, message.size, self.max_size) and self._fits_attachments(message)):
            return False
        if self.header is not None and not self.header.holds(message.headers):
            return False
        if self.subject_tags and not _tagged(self.subject_tags, message.findings):
            return False
        return self.hours is None or self.hours.hold(facts.circumstances.at)

    def _fits_attachments(self, message: Classification) -> bool:
        if self.attachment_names and not _globbed(self.attachment_names, message.attachments):
            return False
        return not self.attachment_types or _globbed(self.attachment_types, message.attachment_types)

    def _fits_acquaintance(self, facts: Facts) -> bool:
        if self.lookalike is not None and facts.to_lookalike is not self.lookalike:
            return False
        return self.first_contact is None or facts.first_contact is self.first_contact


_NEEDS_MEMBERS: Final = frozenset(
    {
        "any_of", "all_of", "detectors", "tags", "places", "reasons", "senders", "users", "recipients",
        "only_recipients", "attachment_names", "attachment_types", "subject_tags", "always",
    }
)  # fmt: skip


def _within(least: int | None, value: int, most: int | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _stands(place: str, where: str) -> bool:
    return where == place or where.startswith(f"{place}:")


def _globbed(patterns: Iterable[str], names: Iterable[str]) -> bool:
    folded = [pattern.casefold() for pattern in patterns]
    return any(fnmatchcase(name.casefold(), pattern) for name in names for pattern in folded)


def tag_word(tag: str) -> str:
    """A subject tag without its brackets, in one case."""
    return tag.strip().strip("[]").strip().casefold()


def _tagged(tags: Iterable[str], findings: Iterable[Finding]) -> bool:
    wanted = {tag_word(tag) for tag in tags}
    return any(one.detector in {"trigger-subject", "subject-tag"} and tag_word(one.match) in wanted for one in findings)
