"""The per-MX rule, lifetimes and the report: pure values."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.tls import verdict
from restante.tls.evidence import Ability, Evidence, Level, MxEvidence, Requirement
from restante.tls.mx import MxAnswer, NextHop, Outcome
from restante.tls.probe import HostLook
from restante.tls.report import describe

NOW = 1_800_000_000.0
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def look(kind: str, number: int = 1) -> HostLook:
    """``kind`` is a level, ``once`` for a no that is not confirmed, or ``dead`` for a host that does not answer."""
    level = {"once": Level.NONE, "dead": Level.UNKNOWN}.get(kind) or Level(kind)
    host = MxEvidence(f"mx{number}.test", number, level, f"is {kind}", reachable=kind != "dead")
    return HostLook(host, NOW, confirmed=kind == "none")


def judge(*kinds: str, previous: Evidence | None = None) -> Evidence:
    return verdict.judge("d.test", [look(kind, n) for n, kind in enumerate(kinds, 1)], NOW, previous)


def earlier(level: Level, count: int = 1, age: float = DAY) -> Evidence:
    then = NOW - age
    return Evidence("d.test", level, "seen before", then, then + DAY, then + 7 * DAY, count)


RULE = [
    (("pkix",), Level.PKIX),
    (("encrypted", "pkix"), Level.PKIX),
    (("pkix", "none"), Level.PKIX),
    (("none", "encrypted"), Level.ENCRYPTED),
    (("dead", "encrypted"), Level.ENCRYPTED),
    (("unknown", "encrypted"), Level.ENCRYPTED),
    (("none",), Level.NONE),
    (("none", "none"), Level.NONE),
    (("dead", "none"), Level.NONE),
    (("once",), Level.UNKNOWN),
    (("none", "once"), Level.UNKNOWN),
    (("unknown", "none"), Level.UNKNOWN),
    (("unknown",), Level.UNKNOWN),
    (("dead", "dead"), Level.UNKNOWN),
    ((), Level.UNKNOWN),
]


@pytest.mark.parametrize(
    ("kinds", "level"), RULE, ids=lambda value: "+".join(value) if isinstance(value, tuple) else value
)
def test_one_host_that_can_suffices_and_all_must_refuse(kinds: tuple[str, ...], level: Level) -> None:
    assert judge(*kinds).level is level


@given(st.lists(st.sampled_from(["pkix", "encrypted", "none", "once", "unknown", "dead"]), max_size=8))
def test_no_is_only_said_when_every_reachable_host_said_it_twice(kinds: list[str]) -> None:
    level = judge(*kinds).level
    reached = [kind for kind in kinds if kind != "dead"]
    assert (level is Level.NONE) == (bool(reached) and set(reached) == {"none"})
    assert (level in verdict.POSITIVE_LEVELS) == bool({"pkix", "encrypted"} & set(kinds))


def test_a_single_no_says_so() -> None:
    assert judge("once").reason.startswith("one negative answer proves nothing yet")


def test_a_dead_first_host_leaves_the_rest_decided() -> None:
    assert judge("dead", "encrypted").ability(Requirement.AUTHENTICATED) is Ability.NO
    assert judge("unknown", "encrypted").ability(Requirement.AUTHENTICATED) is Ability.UNKNOWN


LIFETIMES = [
    ("pkix", None, DAY, 7 * DAY),
    ("encrypted", None, DAY, 7 * DAY),
    ("none", None, HOUR, HOUR),
    ("none", earlier(Level.NONE), DAY, DAY),
    ("none", earlier(Level.PKIX, 9), HOUR, HOUR),
    ("unknown", None, 5 * MINUTE, 5 * MINUTE),
    ("unknown", earlier(Level.UNKNOWN, 1), 10 * MINUTE, 10 * MINUTE),
    ("unknown", earlier(Level.UNKNOWN, 3), 40 * MINUTE, 40 * MINUTE),
    ("unknown", earlier(Level.UNKNOWN, 5000), HOUR, HOUR),
]


@pytest.mark.parametrize(("kind", "previous", "fresh", "stale"), LIFETIMES)
def test_lifetimes_follow_from_level_and_repetition(
    kind: str, previous: Evidence | None, fresh: float, stale: float
) -> None:
    evidence = judge(kind, previous=previous)
    assert (evidence.fresh_until - NOW, evidence.stale_until - NOW) == (fresh, stale)


@pytest.mark.parametrize(("ttl", "lifetime"), [(60, 60.0), (900, 900.0), (86_400, HOUR)])
def test_no_mail_lasts_as_long_as_its_ttl_within_bounds(ttl: int, lifetime: float) -> None:
    answer = MxAnswer(NextHop("d.test"), Outcome.NO_MAIL, "null", ttl=ttl)
    evidence = verdict.without_hosts("d.test", answer, NOW)
    assert evidence is not None
    assert (evidence.level, evidence.fresh_until - NOW) == (Level.NO_MAIL, lifetime)


def test_a_failed_look_does_not_undo_what_was_seen() -> None:
    kept = verdict.to_remember(earlier(Level.PKIX), judge("unknown"))
    assert kept.level is Level.PKIX
    assert kept.fresh_until == NOW + 5 * MINUTE
    assert kept.stale_until == earlier(Level.PKIX).stale_until


@pytest.mark.parametrize(
    ("previous", "found"),
    [
        (earlier(Level.PKIX, age=8 * DAY), judge("unknown")),
        (earlier(Level.PKIX), judge("once")),
        (earlier(Level.PKIX), judge("encrypted")),
        (earlier(Level.NONE), judge("unknown")),
        (None, judge("unknown")),
    ],
)
def test_otherwise_the_latest_look_counts(previous: Evidence | None, found: Evidence) -> None:
    assert verdict.to_remember(previous, found) is found


def test_only_a_domain_lately_seen_with_tls_gets_the_benefit_of_the_doubt() -> None:
    doubted = [level for level in Level if not verdict.must_confirm(earlier(level))]
    assert set(doubted) == verdict.POSITIVE_LEVELS
    assert verdict.must_confirm(None)


def test_evidence_survives_its_json_form() -> None:
    evidence = judge("pkix", "dead", "none")
    assert Evidence.from_dict(evidence.to_dict()) == evidence


def test_the_report_names_each_host_and_what_would_happen() -> None:
    evidence = judge("encrypted", "dead")
    host = dataclasses.replace(
        evidence.hosts[0], tls_version="TLSv1.3", cipher="X", certificate="expired", address="::1"
    )
    text = describe(dataclasses.replace(evidence, hosts=(host, evidence.hosts[1])), NOW + 120)
    assert "mx1.test [::1]: TLS, certificate not verified" in text
    assert "TLSv1.3, X" in text
    assert "certificate: expired" in text
    assert "not reachable" in text
    assert "2 minutes ago" in text
    assert "for 24 hours, then for 6 days while it is refreshed" in text
    assert "where any TLS suffices           sent over mandatory TLS" in text
    assert "where the peer must be verified  not sent by SMTP" in text


@pytest.mark.parametrize("level", list(Level))
def test_every_level_has_words(level: Level) -> None:
    text = describe(earlier(level), NOW)
    assert str(level) in text
    assert "A sensitive message now" in text
