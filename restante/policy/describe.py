"""Conditions as one line of words, for lists and pages."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from restante.policy.clock import Hours
from restante.policy.condition import NARROWING, Condition


def describe(condition: Condition) -> str:
    """What ``condition`` asks for, its keys joined by "and"."""
    parts = [_findings(condition)] if condition.asks_for_findings else []
    skipped = {"detectors", "tags", "pack", *NARROWING, "any_of", "all_of", "none_of"}
    written = [key for key in type(condition).model_fields if key in condition.model_fields_set - skipped]
    parts += [_key(key, getattr(condition, key)) for key in written]
    parts += [describe(one) for one in condition.all_of]
    if condition.any_of:
        parts.append(f"({' or '.join(describe(one) for one in condition.any_of)})")
    if condition.none_of is not None:
        parts.append(f"not ({describe(condition.none_of)})")
    return " and ".join(parts)


def _findings(condition: Condition) -> str:
    text = ", ".join((*condition.detectors, *(f"tag {tag}" for tag in condition.tags)))
    text = text or f"pack {condition.pack}"
    text += f" at {condition.confidence}" if condition.confidence is not None else ""
    text += f", {condition.count} different" if condition.count > 1 else ""
    text += f" in {', '.join(condition.places)}" if condition.places else ""
    if condition.quoted is not None:
        text += " in quoted replies" if condition.quoted else " not in quoted replies"
    return text + (f" because {', '.join(condition.reasons)}" if condition.reasons else "")


def _key(key: str, value: Any) -> str:
    words = key.replace("_", " ")
    if value is True:
        return words
    if value is False:
        return f"no {words}"
    if isinstance(value, Hours):
        return f"hours {','.join(value.days)} {_clock(value.start)}-{_clock(value.end)} {value.zone}"
    if isinstance(value, BaseModel):
        return f"{words} {' '.join(str(each) for each in value.model_dump(exclude_defaults=True).values())}"
    return f"{words} {', '.join(map(str, value)) if isinstance(value, tuple) else value}"


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"
