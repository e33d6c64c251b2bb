"""What a rule says of a message that is held under it, whoever holds it: the milter, or the intake in its stead."""

from __future__ import annotations

from typing import TypedDict

from restante.access import CodeWay, NoticeForm
from restante.policy import Rule
from restante.reply import ReplyTo


class Terms(TypedDict):
    """Fields of a :class:`restante.store.holding.HoldRequest`."""

    rule: str
    extend_until: float
    always_code: bool
    view_only: bool
    four_eyes: bool
    code_way: CodeWay
    enrolled: bool
    notice: NoticeForm
    reply: ReplyTo


def terms_of(rule: Rule, now: float) -> Terms:
    """The terms of ``rule`` for a message that is held ``now`` (Unix seconds)."""
    return {
        "rule": rule.name,
        "extend_until": now + rule.extended_after.total_seconds(),
        "always_code": rule.always_code,
        "view_only": rule.view_only,
        "four_eyes": rule.four_eyes,
        "code_way": rule.code,
        "enrolled": rule.enrolled,
        "notice": rule.notice,
        "reply": rule.reply,
    }
