"""``restante policy check``: rules that no message reaches, and that what it says of them is true."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante.classify.finding import Classification, Confidence, Finding
from restante.cli import cli
from restante.envelope import Address, Envelope
from restante.init import Answers, initialise
from restante.policy import Circumstances, Condition, Facts, Policy
from restante.policy.logic import Claim, follows, terms_of_condition
from restante.policy.problems import problems
from restante.toml_source import BadFile

PREAMBLE = """\
[[rule]]
name = "unreadable"
when = [{ detectors = ["cannot-inspect", "ambiguous-mime"] }]
"""


def check(tmp_path: Path, rules: str) -> tuple[int, str]:
    path = tmp_path / "policy.toml"
    path.write_text(PREAMBLE + rules, encoding="utf-8")
    result = CliRunner().invoke(cli, ["policy", "check", str(path)])
    text = f"{result.output}{result.exception}" if isinstance(result.exception, BadFile) else result.output
    return result.exit_code, text.replace(str(path), "FILE")


@pytest.mark.behaviour("D6")
@pytest.mark.parametrize(
    ("rules", "line", "says"),
    [
        (
            (
                '[[rule]]\nname = "a"\nwhen = [{ detectors = ["payment-card"] }]\n'
                '[[rule]]\nname = "b"\nwhen = [{ detectors = ["payment-card"], count = 5, freemail = true }]\n'
            ),
            8,
            "rule b is never reached: a, before it",
        ),
        (
            (
                '[[rule]]\nname = "a"\nsenders = ["site.example"]\nwhen = [{ always = true }]\n'
                '[[rule]]\nname = "b"\nwhen = [{ senders = ["ann@site.example"], freemail = true }]\n'
            ),
            9,
            "rule b is never reached",
        ),
        (
            (
                '[[rule]]\nname = "a"\nwhen = [{ pack = "hipaa" }]\n'
                '[[rule]]\nname = "b"\nwhen = [{ pack = "hipaa", count = 10, direction = "outgoing" }]\n'
            ),
            8,
            "rule b is never reached",
        ),
        (
            '[[rule]]\nname = "a"\nsenders = ["a.example"]\nwhen = [{ senders = ["b.example"], always = true }]\n',
            7,
            "rule a can never match",
        ),
        (
            (
                '[[rule]]\nname = "a"\nwhen = [\n  { freemail = true },\n'
                '  { senders = ["ann@a.example"], not = { senders = ["a.example"] } },\n]\n'
            ),
            8,
            "condition 2 of rule a can never hold",
        ),
        ('[[rule]]\nname = "a"\nwhen = [{ min_size = "2 MB", max_size = "1 MB" }]\n', 6, "rule a can never match"),
        ('[[rule]]\nname = "a"\nwhen = [{ freemail = true, direction = "internal" }]\n', 6, "rule a can never match"),
        (
            '[[rule]]\nname = "a"\nwhen = [{ hours = { start = "08:00", end = "08:00" } }]\n',
            6,
            "rule a can never match",
        ),
        (
            '[[rule]]\nname = "a"\nwhen = [{ hours = { days = ["mon"] }, all = [{ hours = { days = ["tue"] } }] }]\n',
            6,
            "rule a can never match",
        ),
        (
            (
                '[[rule]]\nname = "a"\nwhen = [{ detectors = ["lexicon:own"], count = 3 }]\n'
                '[[lexicon]]\nname = "own"\nwords = ["one", "two"]\n'
            ),
            6,
            "only 2 different words",
        ),
        ('[[group]]\nname = "g"\nmembers = ["a.example"]\n', 5, "no rule speaks of the group g"),
        ('[[group]]\nname = "g"\n', 4, "has no members"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, rules: str, line: int, says: str) -> None:
    code, output = check(tmp_path, rules)
    assert code == 1
    assert f"FILE:{line}: " in output
    assert says in output


@pytest.mark.behaviour("D6")
def test_a_sound_policy_is_valid_and_what_it_leaves_open_is_a_hint(tmp_path: Path) -> None:
    rules = '[[rule]]\nname = "a"\nwhen = [{ pack = "pci-dss", count = 10 }]\n'
    rules += '[[rule]]\nname = "b"\nwhen = [{ pack = "pci-dss" }, { pack = "hipaa", freemail = true }]\n'
    assert check(tmp_path, rules) == (0, "The policy is valid: 3 rules, 0 domains.\n")
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nname = "a"\nwhen = [{ pack = "pci-dss" }]\n', encoding="utf-8")
    result = CliRunner().invoke(cli, ["policy", "check", str(path)])
    assert result.exit_code == 0
    assert "no rule asks for cannot-inspect" in result.output


@pytest.mark.behaviour("C5")
def test_first_contact_is_refused_where_nothing_is_remembered(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/restante.db"
    portal, sender = "https://pickup.site.example", "restante@site.example"
    initialise(tmp_path, Answers("mta.site.example", "Site", portal, sender, database=database))
    path = tmp_path / "policy.toml"
    path.write_text(PREAMBLE + '[[rule]]\nname = "a"\nwhen = [{ first_contact = true }]\n', encoding="utf-8")
    command = ["--settings", str(tmp_path / "restante.toml"), "policy", "check"]
    refused = CliRunner().invoke(cli, command).exception
    assert isinstance(refused, BadFile)
    assert (refused.line, refused.field) == (6, "rule.1.when.0.first_contact")
    assert "learn = true in [correspondents]" in refused.remedy


# A small world, so that generated rules and messages meet often.
DOMAINS = ("a.example", "b.example", "x.a.example", "gmail.com")
PATTERNS = st.lists(
    st.sampled_from([*DOMAINS, ".a.example", "one@a.example", "two@b.example", "group:g"]), min_size=1, max_size=2
)
DETECTORS = st.lists(
    st.sampled_from(["payment-card", "iban", "id-us-ssn", "*", "id-*", "cannot-inspect"]), min_size=1, max_size=2
)
HOURS = st.fixed_dictionaries(
    {"start": st.sampled_from(["00:00", "08:00", "20:00"]), "end": st.sampled_from(["08:00", "12:00", "24:00"])},
    optional={"days": st.sampled_from([["mon"], ["mon", "tue"]])},
)
FINDINGS: dict[str, Any] = {
    "confidence": st.sampled_from(["low", "medium", "high"]),
    "count": st.integers(1, 2),
    "places": st.sampled_from([["body"], ["attachment"], ["body", "attachment"]]),
    "quoted": st.booleans(),
}
ENVELOPE: dict[str, Any] = {
    "senders": PATTERNS,
    "recipients": PATTERNS,
    "only_recipients": PATTERNS,
    "direction": st.sampled_from([["outgoing"], ["internal"], ["inbound", "internal"]]),
    "freemail": st.booleans(),
    "first_contact": st.booleans(),
    "min_recipients": st.integers(1, 2),
    "max_recipients": st.integers(1, 2),
    "min_size": st.integers(0, 2),
    "max_size": st.integers(0, 2),
    "hours": HOURS,
    "attachment_names": st.sampled_from([["*.txt"], ["*.txt", "*.csv"]]),
}


def tables(depth: int) -> st.SearchStrategy[dict[str, Any]]:
    some = st.fixed_dictionaries({"detectors": DETECTORS}, optional=FINDINGS)
    pack = st.fixed_dictionaries({"pack": st.sampled_from(["pci-dss", "hipaa"])}, optional=FINDINGS)
    parts = [st.one_of(some, pack, NOTHING), st.one_of(ENVELOPES, NOTHING)]
    if depth:
        below = tables(depth - 1)
        several = st.lists(below, min_size=1, max_size=2)
        parts.append(st.fixed_dictionaries({}, optional={"any": several, "all": several, "not": below}))
    return st.tuples(*parts).map(lambda each: {key: value for part in each for key, value in part.items()}).filter(bool)


NOTHING = st.just(dict[str, Any]())
ONE_KEY = st.sampled_from(sorted(ENVELOPE)).flatmap(lambda key: st.fixed_dictionaries({key: ENVELOPE[key]}))
ENVELOPES = st.one_of(ONE_KEY, st.fixed_dictionaries({}, optional=ENVELOPE).filter(bool))


def neighbours(base: list[dict[str, Any]]) -> st.SearchStrategy[list[list[dict[str, Any]]]]:
    """A rule with ``base``, then rules that say nearly the same: those are where one may hide the other."""
    near = st.lists(st.builds(lambda table, more: {**table, **more}, st.sampled_from(base), ONE_KEY), min_size=1)
    return st.lists(st.one_of(near, st.lists(tables(1), min_size=1, max_size=2)), min_size=1, max_size=3).map(
        lambda others: [base, *others]
    )


POLICIES = st.lists(tables(1), min_size=1, max_size=2).flatmap(neighbours)


class Known:
    """Everybody was written to before, or nobody."""

    def __init__(self, *, known: bool) -> None:
        self._known = known

    def wrote(self, _sender: Address, _recipients: object) -> bool:
        return self._known

    def mistaken(self, _domains: object) -> frozenset[str]:
        return frozenset()


Messages = list[tuple[Classification, Envelope, Circumstances]]


@pytest.fixture(scope="module")
def messages() -> Messages:
    """Messages that differ in everything that the rules ask for."""
    dice = random.Random(20261122)

    def address() -> Address:
        return Address.parse(f"{dice.choice(['one', 'two'])}@{dice.choice(DOMAINS)}")

    def finding() -> Finding:
        name = dice.choice(["payment-card", "iban", "id-us-ssn", "cannot-inspect", "lexicon:medical-en"])
        place, reason = dice.choice(["body", "attachment:a.txt"]), dice.choice(["", "in a quoted reply"])
        return Finding(name, place, "", dice.choice(list(Confidence)), reason, dice.choice([b"1", b"2"]))

    return [
        (
            Classification(
                tuple(finding() for _ in range(dice.randrange(4))),
                size=dice.randrange(3),
                attachments=tuple(dice.sample(["a.txt", "b.csv"], dice.randrange(3))),
            ),
            Envelope(address(), tuple(address() for _ in range(dice.choice([1, 2])))),
            Circumstances(
                datetime(2026, 11, 16, tzinfo=UTC) + timedelta(hours=dice.randrange(48)),
                Known(known=dice.random() < 0.5),
            ),
        )
        for _ in range(1000)
    ]


@pytest.mark.behaviour("D6")
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(conditions=POLICIES)
def test_what_is_called_unreachable_is_never_reached(
    messages: Messages, conditions: list[list[dict[str, Any]]]
) -> None:
    policy = Policy.model_validate(
        {
            "rule": [{"name": f"r{number}", "when": when} for number, when in enumerate(conditions)],
            "group": [{"name": "g", "members": ["a.example"]}],
            "internal_domains": ["a.example"],
        }
    )
    found = [one for one in problems(policy) if not one.hint and one.location[0] == "rule"]
    dead = {one.location[1] for one in found if "never reached" in one.text or "never match" in one.text}
    void = {(one.location[1], one.location[3]) for one in found if "never hold" in one.text}
    for classification, envelope, circumstances in messages if dead or void else ():
        facts = Facts(classification, envelope, policy.context, circumstances)
        first = next((number for number, rule in enumerate(policy.rule) if rule.match(facts) is not None), None)
        assert first not in dead, (classification, envelope)
        for rule, number in void:
            assert policy.rule[int(rule)].when[int(number)].match(facts) is None


VALUES: dict[str, list[Any]] = {
    **{
        kind: [["a.example"], [".a.example"], ["one@a.example", "b.example"], ["group:g"], ["gmail.com", "a.example"]]
        for kind in ("senders", "recipients", "only_recipients")
    },
    "direction": [["outgoing"], ["internal"], ["internal", "inbound"]],
    "freemail": [True, False],
    "first_contact": [True, False],
    **{kind: [1, 2] for kind in ("min_recipients", "max_recipients")},
    **{kind: [0, 1, 2] for kind in ("min_size", "max_size")},
    "hours": [{"start": a, "end": b} for a in ("00:00", "08:00", "20:00") for b in ("08:00", "12:00", "24:00")],
    "attachment_names": [["*.txt"], ["*.csv"], ["*.txt", "*.csv"]],
    "pack": ["pci-dss", "hipaa", "financial"],
}


def single_tables() -> Iterator[dict[str, Any]]:
    for kind, values in VALUES.items():
        yield from ({kind: value} for value in values)
    for detectors in (["payment-card"], ["id-us-ssn", "payment-card"], ["id-*"], ["*"], ["cannot-inspect"]):
        for narrow in ({}, {"confidence": "low"}, {"count": 2}, {"places": ["body"]}, {"quoted": False}):
            yield {"detectors": detectors, **narrow}
    yield {"pack": "pci-dss", "count": 2}
    yield {"pack": "hipaa", "confidence": "high"}


@pytest.mark.behaviour("D6")
def test_what_is_said_to_follow_follows_for_every_pair_of_conditions(messages: Messages) -> None:
    context = Policy.model_validate(
        {"group": [{"name": "g", "members": ["a.example"]}], "internal_domains": ["a.example"]}
    ).context
    facts = [Facts(content, envelope, context, when) for content, envelope, when in messages]
    everything = (1 << len(facts)) - 1
    true: list[tuple[Claim, int, dict[str, Any]]] = []
    for table in single_tables():
        condition = Condition.model_validate(table)
        ((claim,),) = terms_of_condition(condition, context)
        fits = sum(1 << number for number, one in enumerate(facts) if condition.match(one) is not None)
        true += [(claim, fits, table), (claim.opposite(), everything ^ fits, {"not": table})]
    said = [(one, other) for one in true for other in true if follows(one[0], other[0])]
    assert [(one[2], other[2]) for one, other in said if one[1] & ~other[1]] == []
    assert len(said) > 500  # it does say something
