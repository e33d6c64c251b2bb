"""Explaining a decision: findings, and each recipient's route with rule and reason, as JSON-ready values and as text.

Pure.  Matches come masked from the classifier; nothing here holds content that it did not already show.
"""

from __future__ import annotations

from typing import Any

from restante.classify.finding import Classification, Finding
from restante.routing import Decision, RecipientDecision


def explain(classification: Classification, decision: Decision) -> dict[str, Any]:
    """The value that ``restante explain --json`` prints.

    ``findings`` lists detector, place, masked match and confidence in the order of the message; ``recipients`` lists
    address, route, rule (``None`` when no rule matched), reason and evidence (``None`` when none was needed).
    """
    rule = decision.rule.name if decision.rule else None
    return {
        "findings": [_finding(finding) for finding in classification.findings],
        "recipients": [_recipient(recipient, rule) for recipient in decision.recipients],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {
        "detector": finding.detector,
        "place": finding.place,
        "match": finding.match or finding.reason,
        "confidence": str(finding.confidence),
    }


def _recipient(recipient: RecipientDecision, rule: str | None) -> dict[str, Any]:
    return {
        "address": recipient.recipient.text,
        "route": str(recipient.route),
        "rule": rule,
        "reason": recipient.reason,
        "evidence": recipient.evidence.to_dict() if recipient.evidence else None,
    }


def render(explanation: dict[str, Any]) -> str:
    """The value of :func:`explain` as lines for a terminal, without a trailing line feed."""
    lines = ["Findings:"]
    lines += [
        f"  {_plain(finding['detector'])} in {_plain(finding['place'])}: {_plain(finding['match'])}"
        f" ({finding['confidence']})"
        for finding in explanation["findings"]
    ] or ["  none"]
    lines.append("Recipients:")
    for recipient in explanation["recipients"]:
        rule = recipient["rule"] or "none"
        way = f"{recipient['route']} (rule {rule}): {_plain(recipient['reason'])}"
        lines.append(f"  {_plain(recipient['address'])} -> {way}")
        evidence = recipient["evidence"]
        if evidence:
            lines.append(f"    evidence: {evidence['domain']} {evidence['level']}: {_plain(evidence['reason'])}")
            lines += [
                f"      MX {host['preference']} {_plain(host['host'])}: {host['level']}, {_plain(host['reason'])}"
                for host in evidence["hosts"]
            ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """``text`` without control characters: a file name must not steer the reader's terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
