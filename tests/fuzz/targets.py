"""What must hold for any bytes: the properties that the fuzzer and the replay of its corpus check.

Nothing here needs the fuzzer.
"""

from __future__ import annotations

import copy
import functools
import io
import os
from collections.abc import Callable
from pathlib import Path

from restante.classify.engine import Classifier
from restante.classify.finding import Classification, Confidence
from restante.classify.pack_loader import compiled
from restante.classify.scan import Scanner
from restante.errors import RestanteError
from restante.policy import Policy, load_policy

MOST_FINDINGS = 40_000


# What the fuzzer itself looks for: few detectors, so that most of its time goes into the reading of mail.
FEW = {"payment-card", "iban", "id-us-ssn", "credential-private-key"}


@functools.cache
def _classifiers(*, few: bool) -> tuple[Classifier, Classifier]:
    policy = Policy.default()
    whole = Classifier(policy, least=Confidence.LOW)
    if few:
        whole._scanner = Scanner(tuple(compiled(one) for one in policy.catalogue.detectors if one.name in FEW))
    pieces = copy.copy(whole)
    pieces._block = 61
    return whole, pieces


def _shown(result: Classification) -> list[object]:
    # Their order follows the pieces in which readings of the same text are scanned side by side.
    findings = [(hit.detector, hit.place, hit.match, hit.confidence, hit.reason) for hit in result.findings]
    return [sorted(findings), result.subject, result.trigger_tag, result.attachments, result.attachment_types]


def classify(data: bytes, *, few: bool = False) -> None:
    """Any bytes give a classification, the same one however they arrive, and it can be written down."""
    whole, pieces = _classifiers(few=few)
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
    loaded = _policy_or_error(path)
    if isinstance(loaded, RestanteError):
        assert str(path) in str(loaded)
        return
    for rule in loaded.rules:
        assert rule.name
    assert loaded.rule_named("no such rule") is None


def _policy_or_error(path: Path) -> Policy | RestanteError:
    try:
        return load_policy(path)
    except RestanteError as error:
        return error


TARGETS: dict[str, Callable[[bytes], None]] = {"mime": functools.partial(classify, few=True), "policy": policy}
