"""How much of what stands in generated messages is found: ``python -m tests.corpus.true_positives``.

Recall and precision of each detector at medium confidence, in eight languages.  With ``--presidio``, the same of
Presidio's recognizers on the same messages; it is installed into ``.cache/presidio`` where it is not there yet.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from restante.classify.engine import Classifier
from restante.classify.finding import Confidence
from restante.classify.markup import page, unescape
from restante.policy import Policy
from tests.corpus import presidio_environment
from tests.corpus.generated import BARE, Sample, bare, clean, samples

REPOSITORY = Path(__file__).resolve().parents[2]
PRESIDIO_NAMES = {
    "payment-card": "CREDIT_CARD",
    "iban": "IBAN_CODE",
    "id-us-ssn": "US_SSN",
    "id-gb-nhs": "UK_NHS",
    "id-ca-sin": "CA_SIN",
    "id-de-steuerid": "DE_TAX_ID",
    "id-es-dni": "ES_NIF",
    "id-es-nie": "ES_NIE",
    "id-it-codicefiscale": "IT_FISCAL_CODE",
    "id-pl-pesel": "PL_PESEL",
}
"""What Presidio calls the kinds that it knows, too."""


@dataclass
class Score:
    """What was planted, found and found wrongly, by detector."""

    planted: Counter[str] = field(default_factory=Counter)
    found: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    wrongly: list[str] = field(default_factory=list)

    def add(self, sample: Sample, findings: set[tuple[str, str]]) -> None:
        """Count one message; ``findings`` are detectors with the end of the value that each found."""
        for one in sample.planted:
            self.planted[one.detector] += 1
            hits = {(name, end) for name, end in findings if name == one.detector and one.ends_in(end)}
            self.found[one.detector] += bool(hits)
            findings = findings - hits
            if not hits:
                self.missed.append(f"{one.detector} [{sample.language} {sample.shape}]")
        for name, end in sorted(findings):
            self.wrong[name] += 1
            self.wrongly.append(f"{name} …{end} [{sample.language} {sample.shape}: {_planted(sample)}]")

    def recall(self, name: str) -> str:
        """The share of what was planted that was found."""
        return f"{self.found[name] / self.planted[name]:.1%}" if self.planted[name] else "—"

    def precision(self, name: str) -> str:
        """The share of what was found that was planted."""
        all_found = self.found[name] + self.wrong[name]
        return f"{self.found[name] / all_found:.1%}" if all_found else "—"


def _planted(sample: Sample) -> str:
    return ", ".join(one.detector for one in sample.planted) or "nothing"


def of_restante(chosen: list[Sample], classifier: Classifier, confidence: Confidence) -> Score:
    """What Restante finds in ``chosen`` with ``confidence`` or more."""
    score = Score()
    for sample in chosen:
        findings = classifier.classify(io.BytesIO(sample.content)).findings
        sure = [one for one in findings if one.confidence >= confidence and not one.detector.startswith("trigger-")]
        score.add(sample, {(one.detector, bare(one.match.lstrip("*"))) for one in sure})
    return score


def of_presidio(chosen: list[Sample], python: Path) -> Score:
    """What Presidio finds in ``chosen`` as kinds that Restante knows, too; HTML is given to it as text.

    ``python`` is an interpreter that has it.
    """
    own_names = {theirs: ours for ours, theirs in PRESIDIO_NAMES.items()}
    lines = [
        {
            "language": one.language,
            "text": unescape(page(one.text).seen) if one.shape == "html" else one.text,
            "entities": sorted(own_names),
        }
        for one in chosen
    ]
    answer = subprocess.run(
        [str(python), "-m", "tests.corpus.presidio_peer"],
        cwd=REPOSITORY,
        input=json.dumps(lines),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    score = Score()
    for sample, found in zip(chosen, json.loads(answer), strict=True):
        score.add(sample, {(own_names[name], bare(value)[-4:]) for name, value in found})
    return score


@dataclass(frozen=True)
class Result:
    """One engine on the messages whose values are labelled, and on those whose values are not."""

    labelled: Score
    bare: Score

    def cells(self, name: str) -> str:
        """Three cells of the table."""
        return f"{self.labelled.recall(name)} | {self.bare.recall(name)} | {self.labelled.precision(name)}"


def table(ours: Result, theirs: Result | None) -> str:
    """The table of docs/classification.md."""
    rows = [
        "| detector | messages | recall | unlabelled | precision | Presidio: recall | unlabelled | precision |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    planted = ours.labelled.planted
    for name in sorted(planted):
        peer = theirs.cells(name) if theirs and name in PRESIDIO_NAMES else "— | — | —"
        rows.append(f"| {name} | {planted[name]} | {ours.cells(name)} | {peer} |")
    everything, both = tuple(sorted(planted)), tuple(PRESIDIO_NAMES)
    rows.append(f"| all of these | {sum(planted.values())} | {_together(ours, everything)} | — | — | — |")
    peer = _together(theirs, both) if theirs else "— | — | —"
    rows.append(f"| all that both know | {sum(planted[name] for name in both)} | {_together(ours, both)} | {peer} |")
    return "\n".join(rows)


def _together(result: Result, names: tuple[str, ...]) -> str:
    """Recall, recall where nothing says what the value is, and precision over all of ``names``."""
    score, bare_score = result.labelled, result.bare
    planted, found, wrong = (sum(one[name] for name in names) for one in (score.planted, score.found, score.wrong))
    bare_planted, bare_found = (sum(one[name] for name in names) for one in (bare_score.planted, bare_score.found))
    return f"{found / planted:.1%} | {bare_found / bare_planted:.1%} | {found / (found + wrong):.1%}"


def main() -> int:
    """Generate, measure and print."""
    parser = argparse.ArgumentParser(description="Recall and precision on generated messages")
    parser.add_argument("--each", type=int, default=10, help="messages for each language, kind and shape")
    parser.add_argument("--seed", type=int, default=20240312)
    parser.add_argument("--confidence", choices=("low", "medium", "high"), default="medium")
    parser.add_argument("--presidio", action="store_true", help="measure Presidio, too")
    parser.add_argument("--misses", action="store_true", help="list what was missed and what was wrong")
    arguments = parser.parse_args()
    labelled = [*samples(arguments.seed, arguments.each), *clean(arguments.seed, 5 * arguments.each)]
    unlabelled = list(samples(arguments.seed, 2 * arguments.each, shapes=BARE))
    classifier, confidence = Classifier(Policy.default()), Confidence[arguments.confidence.upper()]
    ours = Result(of_restante(labelled, classifier, confidence), of_restante(unlabelled, classifier, confidence))
    theirs = None
    if arguments.presidio:
        python = presidio_environment.set_up()
        theirs = Result(of_presidio(labelled, python), of_presidio(unlabelled, python))
    if arguments.misses:
        for what, lines in (("missed", ours.labelled.missed), ("wrong", ours.labelled.wrongly)):
            print(f"\n{what}:")
            print("\n".join(f"{number:5} {line}" for line, number in Counter(lines).most_common()))
    languages = len({one.language for one in labelled})
    print(f"\n{len(labelled) + len(unlabelled)} messages in {languages} languages, seed {arguments.seed}\n")
    print(table(ours, theirs))
    others = sum(number for name, number in ours.labelled.wrong.items() if name not in ours.labelled.planted)
    print(f"\nfindings of other detectors: {others}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
