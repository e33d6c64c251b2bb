"""Presidio's engine with the recognizers that work by pattern; needs an interpreter that has presidio-analyzer.

Every such recognizer that comes with Presidio is switched on for every language, with its own context words; tokens
come from spaCy's blank pipelines, as none of these recognizers needs a model.
"""

from __future__ import annotations

import inspect
from typing import Any

import presidio_analyzer.predefined_recognizers as predefined  # type: ignore[import-not-found, unused-ignore]
import spacy  # type: ignore[import-not-found, unused-ignore]
from presidio_analyzer import AnalyzerEngine, PatternRecognizer, RecognizerRegistry  # type: ignore[import-not-found, unused-ignore]
from presidio_analyzer.nlp_engine import SpacyNlpEngine  # type: ignore[import-not-found, unused-ignore]

LEAST_SCORE = 0.4
"""A match counts from here on, the least score that Presidio gives to a match near a context word."""


class BlankEngine(SpacyNlpEngine):  # type: ignore[misc, unused-ignore]
    """Tokens without a model."""

    def __init__(self, languages: tuple[str, ...]) -> None:
        super().__init__()
        self.nlp = {language: spacy.blank(language) for language in languages}

    def is_loaded(self) -> bool:
        """Blank pipelines need no loading."""
        return True


def analyzer(languages: tuple[str, ...], entities: frozenset[str] | None = None) -> AnalyzerEngine:
    """An engine with each recognizer of ``entities``, or each there is, once for every language."""
    return AnalyzerEngine(
        registry=_registry(languages, entities),
        nlp_engine=BlankEngine(languages),
        supported_languages=list(languages),
    )


def _registry(languages: tuple[str, ...], entities: frozenset[str] | None) -> RecognizerRegistry:
    chosen = RecognizerRegistry(recognizers=[], supported_languages=list(languages))
    kinds: list[tuple[str, Any]] = inspect.getmembers(predefined, inspect.isclass)
    for _name, kind in kinds:
        if not issubclass(kind, PatternRecognizer):
            continue
        for language in languages:
            recognizer = kind(supported_language=language)
            if entities is None or entities & set(recognizer.supported_entities):
                chosen.add_recognizer(recognizer)
    return chosen
