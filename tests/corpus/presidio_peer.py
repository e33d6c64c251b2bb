"""Presidio on the messages of :mod:`tests.corpus.true_positives`, run by an interpreter that has presidio-analyzer.

``python -m tests.corpus.presidio_peer`` reads a JSON list of messages (language, text, entities) from standard input
and writes for each the list of entity and value.
"""

from __future__ import annotations

import json
import sys

from tests.corpus.presidio_engine import LEAST_SCORE, analyzer


def main() -> int:
    """Analyse what standard input holds."""
    messages = json.load(sys.stdin)
    languages = tuple(sorted({one["language"] for one in messages}))
    engine = analyzer(languages, frozenset(entity for one in messages for entity in one["entities"]))
    answers = []
    for one in messages:
        found = engine.analyze(
            one["text"], language=one["language"], entities=one["entities"], score_threshold=LEAST_SCORE
        )
        answers.append([(hit.entity_type, one["text"][hit.start : hit.end]) for hit in found])
    json.dump(answers, sys.stdout)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
