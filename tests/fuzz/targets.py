"""What must hold for any bytes: the properties that the fuzzer and the replay of its corpus check.

Nothing here needs the fuzzer.
"""

from __future__ import annotations

import copy
import functools
import io
import os
from pathlib import Path

from restante.classify.engine import Classifier
from restante.classify.finding import Classification, Confidence
from restante.errors import RestanteError
from restante.policy import Policy, load_policy

MOST_FINDINGS = 40_000


@functools.cache
def _classifiers() -> tuple[Classifier, Classifier]:
    whole = Classifier(Policy.default(), least=Confidence.LOW)
    pieces = copy.copy(whole)
    pieces._block = 61
    return whole, pieces


def _shown(result: Classification) -> list[object]:
    findings = [(hit.detector, hit.place, hit.match, hit.confidence, hit.reason) for hit in result.findings]
    return [findings, result.subject, result.trigger_tag, result.attachments, result.attachment_types]


def classify(data: bytes) -> None:
    """Any bytes give a classification, the same one however they arrive, and it can be written down."""
    whole, pieces = _classifiers()
    result = whole.classify(io.BytesIO(data))
    assert len(result.findings) <= MOST_FINDINGS
    for hit in result.findings:
        f"{hit.place}{hit.match}{hit.reason}".encode("utf-8", "surrogatepass")
        assert hit.place
    assert _shown(pieces.classify(io.BytesIO(data))) == _shown(result)


@functools.cache
def _file() -> Path:
    return Path(f"/proc/self/fd/{os.memfd_create('policy.toml')}")


def policy(data: bytes) -> None:
    """Any file is a policy, or an error that names the file and a remedy."""
    path = _file()
    path.write_bytes(data)
    try:
        loaded = load_policy(path)
    except RestanteError as error:
        assert str(path) in str(error)
        return
    for rule in loaded.rules:
        assert rule.name
    assert loaded.rule_named("no such rule") is None


TARGETS = {"mime": classify, "policy": policy}
