"""What the portal shows beside a held message: subject, names of attachments, findings.  Stored only sealed."""

from __future__ import annotations

import json
from collections.abc import Sequence

from restante.classify.finding import Classification, Finding

MAX_FINDINGS = 200


def encode_summary(classification: Classification, matched: Sequence[Finding], author: bytes, date: bytes) -> bytes:
    """The summary as JSON bytes; ``author`` and ``date`` are the values of From and Date as they came."""
    return json.dumps(
        {
            "subject": classification.subject,
            "attachments": list(classification.attachments),
            "from": one_line(author),
            "date": one_line(date),
            "findings": [
                {
                    "detector": finding.detector,
                    "place": finding.place,
                    "match": finding.match,
                    "confidence": str(finding.confidence),
                    "reason": finding.reason,
                }
                for finding in matched[:MAX_FINDINGS]
            ],
        }
    ).encode()


def one_line(value: bytes | None) -> str:
    """A header field's value as one line of text, whatever bytes it had, at most 1,000 characters."""
    return " ".join((value or b"").decode("utf-8", "replace").replace("\0", "").split())[:1000]
