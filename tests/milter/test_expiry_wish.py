"""``X-Restante-Expire``: a sender shortens how long a message waits, or lengthens it within what the rule allows."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from restante.credentials import Credential, read_credential
from restante.expiry_wish import LEAST_SECONDS, BadWish, seconds_kept, wished_seconds
from restante.marks import ROUTE_HEADER, RouteMark, _seal
from restante.policy import Rule
from restante.store.models import Delivery, Message
from restante.tls.evidence import Requirement
from tests.milter.client import ACCEPT, DISCARD, REPLY
from tests.milter.conftest import Installation, install
from tests.milter.test_rules import letter

DAY = 86_400.0
POLICY = """
[[rule]]
name = "plain"
when = [{ subject_tags = ["plain"] }]
action = "relay"

[[rule]]
name = "short"
when = [{ detectors = ["trigger-*"] }]
expires_days = 10
extend_days = 4

[[domain]]
name = "portal-only.example"
mode = "portal-only"
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Installation]:
    for installation in install({"milter.processes": "1", "milter.verdict_seconds": "0.2"}):
        installation.policy.write_text(POLICY, encoding="utf-8")
        installation.start()
        yield installation


def kept(site: Installation, recipient: str) -> float:
    with site.store.read() as session:
        query = select(Message.expires_at - Message.created_at).join(Delivery).where(Delivery.recipient == recipient)
        return float(session.execute(query).scalar_one())


@pytest.mark.behaviour("P10")
@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("3d", 3 * DAY),
        (" 36 H ", 1.5 * DAY),
        ("1w", 7 * DAY),
        ("12d", 12 * DAY),  # longer than the rule's own, but not than what the sender could have it extended to
        ("52w", 14 * DAY),
        ("9999w", 14 * DAY),
        ("1h", LEAST_SECONDS),
        (None, 10 * DAY),
    ],
)
def test_a_message_waits_as_long_as_its_sender_wishes_within_the_rule(
    site: Installation, written: str | None, seconds: float
) -> None:
    recipient = f"r{abs(hash(written))}@portal-only.example"
    head = f"X-Restante-Expire: {written}\r\n" if written else ""
    assert site.ask(letter(subject="[secure] a", head=head, number=recipient), recipient).letter == DISCARD
    assert kept(site, recipient) == pytest.approx(seconds, abs=1)


@pytest.mark.behaviour("P10")
@pytest.mark.parametrize(
    "head",
    [
        *(
            f"X-Restante-Expire: {bad}\r\n"
            for bad in ("soon", "3", "0d", "-1d", "1.5d", "3 days", "3d 4d", "99999d", "")
        ),
        "X-Restante-Expire: 3d\r\nx-restante-EXPIRE: 4d\r\n",
    ],
)
def test_a_wish_that_says_nothing_is_refused_and_says_how_to_write_it(site: Installation, head: str) -> None:
    answer = site.ask(letter(subject="[secure] a", head=head, number=head), "bad@portal-only.example")
    assert answer.letter == REPLY
    assert answer.text.startswith("550 5.6.0 Sensitive message not sent: ")
    assert "X-Restante-Expire" in answer.text
    assert not any("bad@" in held for held in site.held())


@pytest.mark.parametrize("subject", ["news", "[plain] news"])
def test_an_ordinary_message_loses_the_field_and_nothing_else(site: Installation, subject: str) -> None:
    head = "X-Restante-Expire: soon\r\nX-Other: 1\r\nX-Restante-Expire: 3d\r\n"
    answer = site.ask(letter(subject=subject, head=head, number=subject), "b@elsewhere.example")
    assert answer.letter == ACCEPT
    assert [pair for pair in answer.changed if pair[0] != "Subject"] == [("x-restante-expire", "")] * 2
    assert answer.deleted == []


@pytest.mark.behaviour("P10")
def test_a_message_under_mandatory_tls_carries_the_wish_for_later_and_not_the_field(site: Installation) -> None:
    head = "X-Restante-Expire: 2d\r\n"
    answer = site.ask(letter(subject="[secure] a", head=head, number="tls"), "b@elsewhere.example")
    assert answer.letter == ACCEPT
    assert ("x-restante-expire", "") in answer.changed
    [value] = [value for name, value in answer.added if name == ROUTE_HEADER]
    secret = read_credential(site.credentials, Credential.ROUTE)
    assert RouteMark.verify(secret, value).kept_seconds == 2 * DAY


def test_a_mark_of_before_an_upgrade_still_verifies() -> None:
    fields: dict[str, str | float] = {
        "route_id": "r",
        "requirement": "encrypted",
        "otherwise": "portal",
        "rule": "x",
        "deadline": time.time(),
    }
    mark = RouteMark.verify(b"k" * 32, f"tls level=encrypted {_seal(b'k' * 32, 'route', fields)}")
    assert (mark.requirement, mark.kept_seconds) == (Requirement.ENCRYPTED, 0.0)


RULE = Rule.model_validate({"name": "x", "when": [{"detectors": ["*"]}], "expires_days": 2, "extend_days": 0})


@given(st.binary(max_size=40))
def test_no_bytes_break_the_reader_or_go_past_the_limits(value: bytes) -> None:
    try:
        wish = wished_seconds([value])
    except BadWish:
        return
    assert LEAST_SECONDS <= seconds_kept(RULE, wish) <= 2 * DAY
