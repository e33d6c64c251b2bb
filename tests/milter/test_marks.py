"""The marks that travel in header fields: ours verify however they were folded, nobody else's ever does."""

from __future__ import annotations

import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8, EmailPolicy, compat32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.marks import NOTICE_HEADER, ROUTE_HEADER, BadMark, NoticeMark, RouteMark, derive
from restante.tls.evidence import Requirement
from restante_milter.intake import _without_marks

SECRET = bytes(range(32))
OTHER = bytes(range(1, 33))
ROUTE = RouteMark.fresh(Requirement.AUTHENTICATED, "portal", "some-rule", 1_800_000_000.25)
NOTICE = NoticeMark("a" * 32, "b" * 32)


def test_a_route_mark_comes_back_as_it_was_signed() -> None:
    assert RouteMark.verify(SECRET, ROUTE.sign(SECRET)) == ROUTE


def test_a_route_mark_begins_as_the_header_checks_of_postfix_expect() -> None:
    assert ROUTE.sign(SECRET).startswith("tls level=authenticated ")


@pytest.mark.parametrize("policy", [SMTP, SMTPUTF8])
def test_a_notice_mark_survives_the_email_package(policy: EmailPolicy) -> None:
    notice = EmailMessage(policy=policy)
    notice[NOTICE_HEADER] = NOTICE.sign(SECRET)
    notice.set_content("text")
    raw = message_from_bytes(notice.as_bytes(), policy=compat32)
    assert NoticeMark.verify(SECRET, str(raw[NOTICE_HEADER])) == NOTICE


def test_marks_show_nothing_of_what_they_say() -> None:
    for text in (ROUTE.sign(SECRET), NOTICE.sign(SECRET)):
        for secret in ("some-rule", "portal", "a" * 32, ROUTE.route_id):
            assert secret not in text


def test_a_mark_of_another_secret_or_another_purpose_does_not_verify() -> None:
    with pytest.raises(BadMark):
        RouteMark.verify(OTHER, ROUTE.sign(SECRET))
    with pytest.raises(BadMark):
        NoticeMark.verify(OTHER, NOTICE.sign(SECRET))
    with pytest.raises(BadMark):
        RouteMark.verify(SECRET, "tls level=encrypted " + NOTICE.sign(SECRET))
    with pytest.raises(BadMark):
        NoticeMark.verify(SECRET, ROUTE.sign(SECRET).split()[-1])


@given(st.text())
def test_what_anyone_writes_does_not_verify(value: str) -> None:
    for verify in (RouteMark.verify, NoticeMark.verify):
        with pytest.raises(BadMark):
            verify(SECRET, value)


@given(st.data())
def test_a_mark_with_one_character_changed_does_not_verify(data: st.DataObject) -> None:
    signed = ROUTE.sign(SECRET)
    at = data.draw(st.integers(len("tls level=authenticated "), len(signed) - 3))
    drawn = data.draw(st.sampled_from("ABCDEFGHabcdefgh0123-_"))
    # Not by a filter: each signature is another, and so would be the draws.
    other = drawn if drawn != signed[at] else "z"
    with pytest.raises(BadMark):
        RouteMark.verify(SECRET, signed[:at] + other + signed[at + 1 :])


def test_two_marks_for_the_same_thing_differ() -> None:
    assert ROUTE.sign(SECRET) != ROUTE.sign(SECRET)
    first, second = (RouteMark.fresh(Requirement.ENCRYPTED, "portal", "r", time.time()) for _ in range(2))
    assert first.route_id != second.route_id


def test_derived_keys_differ_by_purpose_and_by_secret() -> None:
    assert len({derive(SECRET, "one"), derive(SECRET, "two"), derive(OTHER, "one"), SECRET}) == 4


def test_the_names_of_the_fields_are_what_the_configuration_of_postfix_names() -> None:
    assert (ROUTE_HEADER, NOTICE_HEADER) == ("X-Restante-Route", "X-Restante-Notice")


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_intake_takes_the_mark_out_of_the_head_and_nothing_out_of_the_body(end: bytes) -> None:
    mark = end.join([b"X-Restante-Route: tls level=encrypted aaaa", b" bbbb"])
    body = end.join([b"X-Restante-Route: said the letter", b"", b"Bye"])
    for lines in ([b"From: a", mark, b"To: b"], [mark, b"From: a", b"To: b"], [b"From: a", b"To: b", mark]):
        message = end.join([*lines, b"", body])
        assert _without_marks(message) == end.join([b"From: a", b"To: b", b"", body])
