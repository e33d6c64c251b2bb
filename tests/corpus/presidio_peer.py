"""Presidio on the messages of :mod:`tests.corpus.true_positives`, run by an interpreter that has presidio-analyzer.

Reads a JSON list of messages (language, text, entities) from standard input and writes for each the list of entity
and value.  Every recognizer that comes with Presidio and works by pattern is switched on for every language, with its
own context words; tokens come from spaCy's blank pipelines, as no recognizer here needs a model.  A match counts from
0.4 on, the least score that Presidio gives to a match near a context word.
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import presidio_analyzer.predefined_recognizers as predefined  # type: ignore[import-not-found, unused-ignore]
import spacy  # type: ignore[import-not-found, unused-ignore]
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerRegistry  # type: ignore[import-not-found, unused-ignore]
from presidio_analyzer.nlp_engine import SpacyNlpEngine  # type: ignore[import-not-found, unused-ignore]

LEAST_SCORE = 0.4


class BlankEngine(SpacyNlpEngine):  # type: ignore[misc, unused-ignore]
    """Tokens without a model."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        super().__init__()
        self.nlp = {language: spacy.blank(language) for language in languages}

    def is_loaded(self) -> bool:
        """Blank pipelines need no loading."""
        return True


def registry(languages: tuple[str, ...], entities: set[str]) -> RecognizerRegistry:
    """Each recognizer of ``entities``, once for every language."""
    chosen = RecognizerRegistry(recognizers=[], supported_languages=list(languages))
    kinds: list[tuple[str, Any]] = inspect.getmembers(predefined, inspect.isclass)
    for _name, kind in kinds:
        if not issubclass(kind, EntityRecognizer) or "supported_language" not in inspect.signature(kind).parameters:
            continue
        for language in languages:
            try:
                recognizer = kind(supported_language=language)
            except (ImportError, ValueError, TypeError, OSError):
                break  # asks for a service or a model that is not there
            if entities & set(recognizer.supported_entities) and recognizer.name != "SpacyRecognizer":
                chosen.add_recognizer(recognizer)
    return chosen


def main() -> int:
    """Analyse what standard input holds."""
    messages = json.load(sys.stdin)
    languages = tuple(sorted({one["language"] for one in messages}))
    entities = {entity for one in messages for entity in one["entities"]}
    engine = AnalyzerEngine(
        registry=registry(languages, entities), nlp_engine=BlankEngine(languages), supported_languages=list(languages)
    )
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
