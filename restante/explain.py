"""Explaining a decision: findings, texts, rules, and each recipient's route, as JSON-ready values and as text.

Pure.  Nothing here holds a plain value: matches come masked from the classifier, and texts pass
:mod:`restante.masking`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from restante.alternatives import alternatives
from restante.classify.detector import mask
from restante.classify.finding import Classification, Finding
from restante.classify.recorder import TextRecorder
from restante.envelope import Envelope
from restante.excerpts import HEADER, LIMIT, ShownReading, readings_of, shown
from restante.masking import MOST_SOUGHT, masked, plain
from restante.policy import Circumstances, Policy
from restante.routing import Decision, RecipientDecision
from restante.rule_trial import Trial, trials


@dataclass(frozen=True, slots=True)
class Case:
    """One message under one policy: what was found, and what was decided.  ``recorder`` is what was looked at."""

    policy: Policy
    envelope: Envelope
    classification: Classification
    decision: Decision
    recorder: TextRecorder | None = None
    circumstances: Circumstances | None = None


def explain(case: Case, *, text_limit: int = LIMIT) -> dict[str, Any]:
    """The value that ``restante explain --json`` prints.

    ``findings`` lists detector, place, masked match, confidence, reason and readings, in the order of the message;
    ``texts`` what was read, by part and reading, at most ``text_limit`` characters of each; ``rules`` every rule with
    its outcome; ``recipients`` address, route, rule (``None`` when no rule matched), reason, evidence (``None`` when
    none was needed) and what would change the route.  ``texts_complete`` is false where there was more to show.
    """
    rule = case.decision.rule.name if case.decision.rule else None
    recorder = case.recorder
    readings = _by_mask(recorder) if recorder else {}
    within = _within_longer(recorder) if recorder else frozenset()
    return {
        "sender": case.envelope.sender.text,
        "rule": rule,
        "findings": [_finding(finding, readings, within) for finding in case.classification.findings],
        "texts": [_text(reading) for reading in shown(recorder, text_limit)] if recorder else [],
        "texts_complete": recorder.complete if recorder else True,
        "rules": [
            _trial(trial) for trial in trials(case.policy, case.classification, case.envelope, case.circumstances)
        ],
        "recipients": [_recipient(case, recipient, rule) for recipient in case.decision.recipients],
    }


def _by_mask(recorder: TextRecorder) -> dict[tuple[str, str, str], list[str]]:
    """The readings by what a finding shows of its value."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for (place, detector, value), names in readings_of(recorder).items():
        known = found.setdefault((place, detector, mask(value, detector)), [])
        known += [name for name in names if name not in known]
    return found


def _within_longer(recorder: TextRecorder) -> frozenset[str]:
    """Masked matches of values that lie within longer ones, and would show characters that those hide."""
    found = sorted(recorder.values().items(), key=lambda one: len(one[0]), reverse=True)[:MOST_SOUGHT]
    return frozenset(
        mask(value, detector)
        for number, (value, detector) in enumerate(found)
        if any(value in longer and not longer.endswith(value) for longer, _ in found[:number])
    )


def _finding(
    finding: Finding, readings: Mapping[tuple[str, str, str], list[str]], within: frozenset[str]
) -> dict[str, Any]:
    in_header = finding.place == "subject" or finding.place.startswith("header:")
    places = (finding.place, HEADER) if in_header else (finding.place,)
    names = dict.fromkeys(
        name for place in places for name in readings.get((place, finding.detector, finding.match), [])
    )
    hidden = finding.match in within
    return {
        "detector": finding.detector,
        "place": safe_name(finding.place),
        "match": "*" * len(finding.match) if hidden else finding.match or finding.reason,
        "confidence": str(finding.confidence),
        "reason": finding.reason,
        "readings": list(names),
    }


def _text(reading: ShownReading) -> dict[str, Any]:
    return {
        "place": safe_name(reading.place),
        "reading": reading.name,
        "bytes": reading.size,
        "matches": reading.matches,
        "excerpts": [
            {
                "cut": excerpt.cut,
                "segments": [{"text": each.text, "detector": each.detector} for each in excerpt.segments],
            }
            for excerpt in reading.excerpts
        ],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {"name": trial.rule, "outcome": str(trial.outcome), "reasons": list(trial.reasons)}


def _recipient(case: Case, recipient: RecipientDecision, rule: str | None) -> dict[str, Any]:
    return {
        "address": recipient.recipient.text,
        "route": str(recipient.route),
        "rule": rule,
        "reason": recipient.reason,
        "evidence": recipient.evidence.to_dict() if recipient.evidence else None,
        "changes": list(alternatives(case.policy, case.decision, case.envelope, recipient)),
    }


def safe_name(place: str) -> str:
    """A place without what might be an identifier in the name of an attachment."""
    return plain(masked(place))
