"""What rules can ask for: each key of a condition, with a message that fits and one that does not."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from restante.classify.finding import Classification, Confidence, Finding
from restante.envelope import Address, Envelope
from restante.policy import Circumstances, Facts, Policy, load_policy
from restante.policy.lookalike import resembles, skeleton
from restante.toml_source import BadFile

CARD = Finding("payment-card", "body", "…9015", Confidence.HIGH, value_digest=b"1")
OTHER_CARD = Finding("payment-card", "attachment:cards.csv", "…1111", Confidence.MEDIUM, value_digest=b"2")
TERM = Finding("lexicon:medical-en", "subject", "diagnosis", Confidence.MEDIUM, value_digest=b"3")
QUOTED_CARD = Finding("payment-card", "body", "…9015", Confidence.HIGH, "in a quoted reply", b"1")
LOCKED = Finding("cannot-inspect", "attachment:a.zip", "", Confidence.MEDIUM, "encrypted ZIP archive")
TAG = Finding("subject-tag", "subject", "[ Intern ]", Confidence.HIGH)


class Met:
    """Somebody has written to bob@a.example alone, and clinic-partner.example is frequent."""

    def wrote(self, _sender: Address, recipients: Any) -> bool:
        return all(one.text == "bob@a.example" for one in recipients)

    def mistaken(self, domains: Any) -> frozenset[str]:
        return frozenset(domain for domain in domains if resembles(domain, ["clinic-partner.example"]))


def matches(
    condition: str,
    *findings: Finding,
    to: str = "bob@a.example",
    sender: str = "ann@site.example",
    at: str = "2026-11-20T10:30",
    **more: Any,
) -> bool:
    """Whether a rule with ``condition``, one inline table, matches."""
    policy = parsed(f'[[rule]]\nname = "r"\nwhen = [{condition}]')
    recipients = tuple(Address.parse(one) for one in to.split())
    envelope = Envelope(Address.parse(sender), recipients, user=more.pop("user", ""))
    circumstances = Circumstances(datetime.fromisoformat(at).replace(tzinfo=UTC), Met())
    facts = Facts(Classification(findings, **more), envelope, policy.context, circumstances)
    return policy.rules[0].match(facts) is not None


def parsed(text: str) -> Policy:
    head = 'group = [{ name = "ward", members = ["ann@site.example", ".lab.example"] }]\n'
    head += 'domain = [{ name = "Bücher-Freunde.example" }]\ninternal_domains = ["site.example"]\n'
    return Policy.model_validate(tomllib.loads(head + text))


@pytest.mark.behaviour("C3")
@pytest.mark.parametrize(
    ("condition", "fits", "does_not"),
    [
        ('{ detectors = ["payment-card"] }', [CARD], [OTHER_CARD]),
        ('{ detectors = ["payment-card"], confidence = "medium" }', [OTHER_CARD], [TERM]),
        ('{ detectors = ["payment-card"], confidence = "medium", count = 2 }', [CARD, OTHER_CARD], [CARD, QUOTED_CARD]),
        ('{ detectors = ["payment-card"], confidence = "low", places = ["attachment"] }', [OTHER_CARD], [CARD]),
        ('{ detectors = ["payment-card"], quoted = false }', [CARD], [QUOTED_CARD]),
        ('{ detectors = ["cannot-inspect"], reasons = ["encrypted"] }', [LOCKED], [CARD]),
        ('{ detectors = ["cannot-inspect"], reasons = ["damaged"] }', None, [LOCKED]),
        ('{ tags = ["health-term"], confidence = "medium" }', [TERM], [CARD]),
        ('{ pack = "hipaa" }', [CARD, TERM], [CARD]),
        ('{ pack = "hipaa" }', [OTHER_CARD, TERM], [TERM]),
        ('{ pack = "hipaa", count = 2 }', [CARD, OTHER_CARD, TERM], [CARD, TERM]),
        ('{ pack = "hipaa", confidence = "high" }', None, [CARD, TERM]),
        ('{ all = [{ detectors = ["payment-card"] }, { detectors = ["cannot-inspect"] }] }', [CARD, LOCKED], [CARD]),
        ('{ any = [{ detectors = ["payment-card"] }, { detectors = ["cannot-inspect"] }] }', [LOCKED], [TERM]),
        ('{ detectors = ["*"], not = { detectors = ["payment-card"] } }', [LOCKED], [LOCKED, CARD]),
        ('{ not = { any = [{ detectors = ["*"] }, { freemail = true }] } }', [], [CARD]),
        ('{ subject_tags = ["intern"] }', [TAG], [CARD]),
    ],
)
def test_findings(condition: str, fits: list[Finding] | None, does_not: list[Finding]) -> None:
    assert fits is None or matches(condition, *fits)
    assert not matches(condition, *does_not)


@pytest.mark.behaviour("C3")
@pytest.mark.parametrize(
    ("condition", "fits", "does_not"),
    [
        ('{ senders = ["group:ward"] }', {"sender": "Ann@Site.Example"}, {"sender": "eve@site.example"}),
        ('{ senders = ["group:ward"] }', {"sender": "x@a.lab.example"}, {"sender": "x@lab.example"}),
        ('{ senders = ["site.example"] }', {"sender": "x@site.example"}, {"sender": "x@not-site.example"}),
        ('{ users = ["ann"] }', {"user": "Ann"}, {"user": ""}),
        ('{ recipients = [".a.example"] }', {"to": "x@b.a.example"}, {"to": "x@a.example"}),
        ('{ recipients = ["bücher.example"] }', {"to": "x@xn--bcher-kva.example"}, {"to": "x@b.example"}),
        ('{ only_recipients = ["a.example"] }', {"to": "x@a.example y@a.example"}, {"to": "x@a.example y@b.example"}),
        ('{ direction = "outgoing" }', {"to": "x@site.example y@b.example"}, {"to": "x@site.example"}),
        ('{ direction = ["internal"] }', {"to": "x@site.example"}, {"to": "x@site.example", "sender": "x@b.example"}),
        ('{ direction = "inbound" }', {"to": "x@site.example", "sender": "x@b.example"}, {"sender": "x@b.example"}),
        ("{ freemail = true }", {"to": "x@b.example y@Gmail.com"}, {"to": "x@gmail.com.b.example"}),
        ("{ freemail = false }", {"to": "x@b.example"}, {"to": "y@web.de"}),
        ("{ min_recipients = 2 }", {"to": "x@b.example y@b.example"}, {"to": "x@b.example"}),
        ("{ max_recipients = 1 }", {"to": "x@b.example"}, {"to": "x@b.example y@b.example"}),
        ('{ min_size = "1 MB" }', {"size": 1_000_000}, {"size": 999_999}),
        ("{ max_size = 10 }", {"size": 10}, {"size": 11}),
        ('{ attachment_names = ["*.xls?"] }', {"attachments": ("A.XLSX",)}, {"attachments": ("a.xls",)}),
        (
            '{ attachment_types = ["application/vnd.*"] }',
            {"attachment_types": ("application/vnd.ms-excel",)},
            {"attachment_types": ("image/png",)},
        ),
        (
            '{ header = { name = "X-Class", contains = "Secret" } }',
            {"headers": (("x-class", "top secret"),)},
            {"headers": (("x-other", "top secret"),)},
        ),
        ('{ header = { name = "X-Class" } }', {"headers": (("x-class", ""),)}, {}),
        ('{ hours = { days = ["fri"], start = "08:00", end = "18:00" } }', {}, {"at": "2026-11-20T18:00"}),
        (
            '{ hours = { start = "22:00", end = "06:00", days = ["thu"], zone = "Europe/Berlin" } }',
            {"at": "2026-11-20T04:30"},
            {"at": "2026-11-20T05:30"},
        ),
        ("{ first_contact = true }", {"to": "bob@a.example eve@a.example"}, {"to": "bob@a.example"}),
        ("{ first_contact = true }", {"to": "eve@a.example"}, {"to": "eve@site.example"}),
        ("{ lookalike = true }", {"to": "x@clinic-patner.example"}, {"to": "x@clinic-partner.example"}),
        ("{ lookalike = true }", {"to": "x@bücher-freund.example"}, {"to": "x@bücher-freunde.example"}),
        ("{ lookalike = true }", {"to": "x@slte.example"}, {"to": "x@suite.example"}),
        ("{ always = true, not = { recipients = ['a.example'] } }", {"to": "x@b.example"}, {"to": "x@a.example"}),
    ],
)
def test_envelope_and_circumstances(condition: str, fits: dict[str, Any], does_not: dict[str, Any]) -> None:
    assert matches(condition, **fits)
    assert not matches(condition, **does_not)


@pytest.mark.behaviour("C5")
@pytest.mark.parametrize(
    ("domain", "known", "alike"),
    [
        ("rnicrosoft.com", "microsoft.com", True),
        ("micr0s0ft.com", "microsoft.com", True),
        ("p\u0430ypal.com", "paypal.com", True),
        ("paypa1.com", "paypal.com", True),
        ("dl.example", "d1.example", True),  # however short: nobody sees the difference
        ("partnre.example", "partner.example", True),
        ("parner.example", "partner.example", True),
        ("northern-hospitall-trust.example", "northern-hospital-trsut.example", True),  # two slips in a long name
        ("partner.example", "partner.example", False),
        ("mail.partner.example", "partner.example", False),
        ("bmw.example", "bmx.example", False),  # too short for a slip
        ("partner.com", "partner.org", False),
        ("gardener.example", "partner.example", False),
    ],
)
def test_what_resembles_what(domain: str, known: str, alike: bool) -> None:  # noqa: FBT001
    written = Address.parse(f"x@{domain}").domain
    assert bool(resembles(written, [known])) == alike


def test_a_skeleton_shows_what_a_reader_sees() -> None:
    assert skeleton(Address.parse("x@\u0440\u0430\u0443\u0440\u0430\u04cf.com").domain) == skeleton("paypal.com")


@pytest.mark.behaviour("D6")
@pytest.mark.parametrize(
    ("condition", "field", "says"),
    [
        ("{ }", "when", "asks for nothing"),
        ('{ confidence = "high" }', "when", "asks for nothing"),
        ('{ freemail = true, places = ["body"] }', "when", "only narrow"),
        ('{ detectors = ["*"], places = ["bottom"] }', "places", "must be one of"),
        ('{ min_size = "ten MB" }', "min_size", "10 MB"),
        ('{ hours = { zone = "Mars/Olympus" } }', "zone", "time zone"),
        ('{ hours = { days = ["someday"] } }', "days", "must be one of"),
        ('{ hours = { start = "8 o\'clock" } }', "start", "time of day"),
        ('{ header = { name = "X", matches = "(" } }', "matches", "RE2"),
        ('{ senders = ["*@site.example"] }', "senders", "must be an address"),
        ('{ detectors = ["*"], not = { freemial = true } }', "not.freemial", "Extra inputs"),
        ('{ pack = "hippa" }', "pack", 'no pack "hippa"'),
        ('{ tags = ["healthterm"] }', "tags", 'no detector has the tag "healthterm"'),
        ('{ detectors = ["payment-cards"] }', "detectors", 'no detector is called "payment-cards"'),
        ('{ any = [{ recipients = ["group:nurses"] }] }', "any.0.recipients", 'no group "nurses"'),
        ("{ detectors = [] }", "when", "is empty"),
    ],
)
def test_a_mistake_is_refused_with_file_line_and_field(tmp_path: Path, condition: str, field: str, says: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(f'# first\n[[rule]]\nname = "r"\naction = "relay"\nwhen = [{condition}]\n', encoding="utf-8")
    with pytest.raises(BadFile) as refused:
        load_policy(path)
    assert (refused.value.path, refused.value.line) == (path, 5)
    assert field in refused.value.field
    assert says in refused.value.problem
    assert refused.value.remedy


@pytest.mark.behaviour("D6")
def test_members_of_a_group_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    rule = '[[rule]]\nname = "r"\nwhen = [{ senders = ["group:ward"] }]\n'
    path.write_text(f'[[group]]\nname = "ward"\nfile = "ward.txt"\n{rule}', encoding="utf-8")
    with pytest.raises(BadFile, match="does not exist"):
        load_policy(path)
    members = tmp_path / "ward.txt"
    members.write_text("# nurses\nann@site.example # on nights\n\n.lab.example\n", encoding="utf-8")
    assert load_policy(path).group[0].members == ("ann@site.example", ".lab.example")
    members.write_text("ann@site.example\nbob@*.example\n", encoding="utf-8")
    with pytest.raises(BadFile) as refused:
        load_policy(path)
    assert (refused.value.path, refused.value.line) == (members, 2)
    members.write_text("# nobody yet\n", encoding="utf-8")
    with pytest.raises(BadFile, match="holds no members"):
        load_policy(path)
