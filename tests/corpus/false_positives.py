"""How often each pack cries wolf on real mail: ``python -m tests.corpus.false_positives``.

Prints, for each pack, the share of ham that meets it, and every message that does, with its matches masked.
"""

from __future__ import annotations

import argparse
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from restante.classify.engine import Classifier
from restante.classify.finding import Confidence, Finding
from restante.policy import Policy
from tests.corpus.purposes import Met, Packs
from tests.corpus.spam_assassin import HAM, SPAM, Mail, fetch, mails

LIMIT = 0.005
"""The share of ham that a pack which is on by default may hit."""


@dataclass
class Tally:
    """What was hit in one group of messages."""

    messages: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    lines: dict[str, list[str]] = field(default_factory=dict)
    detectors: Counter[str] = field(default_factory=Counter)

    def add(self, mail: Mail, findings: tuple[Finding, ...], met: Iterable[Met], confidence: Confidence) -> None:
        """Count one message."""
        self.messages += 1
        self.detectors.update({one.detector for one in findings if one.confidence >= confidence})
        for pack in met:
            self.hits[pack.pack] += 1
            said = "; ".join(f"{one.detector} {one.match!r} {one.confidence} {one.place}" for one in pack.findings)
            self.lines.setdefault(pack.pack, []).append(f"{mail.name}  {said}")

    def share(self, pack: str) -> float:
        """The share of messages that met ``pack``."""
        return self.hits[pack] / self.messages if self.messages else 0.0


def count(messages: Iterable[Mail], classifier: Classifier, packs: Packs, confidence: Confidence) -> Tally:
    """Classify ``messages`` and count which packs they meet with findings of ``confidence`` or more."""
    tally = Tally()
    for mail in messages:
        findings = classifier.classify(io.BytesIO(mail.content)).findings
        tally.add(mail, findings, packs.met(findings, confidence), confidence)
    return tally


def table(packs: Packs, tally: Tally) -> str:
    """The table of docs/classification.md."""
    rows = ["| pack | on by default | messages | share |", "|---|---|---:|---:|"]
    rows += [
        f"| {pack.name} | {'yes' if pack.default else 'no'} | {tally.hits[pack.name]} | {tally.share(pack.name):.2%} |"
        for pack in packs.tables
    ]
    return "\n".join(rows)


def main() -> int:
    """Measure, print, and fail when a pack that is on by default is over the limit."""
    parser = argparse.ArgumentParser(description="False positives of the packs on SpamAssassin's public corpus")
    parser.add_argument("--data", type=Path, help="the package's data folder, when it is unpacked already")
    parser.add_argument("--confidence", choices=("low", "medium", "high"), default="medium")
    parser.add_argument("--spam", action="store_true", help="look at the spam instead of the ham")
    parser.add_argument("--every", type=int, default=1, help="only every Nth message")
    parser.add_argument("--detectors", action="store_true", help="count messages for each detector, too")
    arguments = parser.parse_args()
    policy = Policy.default()
    packs = Packs(policy.catalogue)
    confidence = Confidence[arguments.confidence.upper()]
    chosen = list(mails(arguments.data or fetch(), SPAM if arguments.spam else HAM))[:: arguments.every]
    tally = count(chosen, Classifier(policy), packs, confidence)
    for pack in packs.tables:
        print(f"\n## {pack.name}: {tally.hits[pack.name]} of {tally.messages}")
        print("\n".join(tally.lines.get(pack.name, ())))
    if arguments.detectors:
        print("\n".join(f"{number:6} {name}" for name, number in tally.detectors.most_common()))
    print(f"\n{table(packs, tally)}")
    over = [pack.name for pack in packs.tables if pack.default and tally.share(pack.name) > LIMIT]
    print(f"\nover {LIMIT:.1%}: {', '.join(over) or 'none'}")
    return 1 if over and not arguments.spam else 0


if __name__ == "__main__":
    raise SystemExit(main())
