"""Explanations made in the portal: the policy as its file stands now, compiled once for each state of the file.

One message at a time in each process, so that explanations do not take the time and memory of those who pick up mail.
Nothing of a message outlives the call.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from restante.classify.engine import Classifier
from restante.classify.extract.from_settings import extractor_from
from restante.classify.recorder import TextRecorder
from restante.envelope import Envelope
from restante.explain import Case, explain
from restante.policy import Circumstances, Policy, load_policy
from restante.routing import decide, domains_to_judge, matching_rule
from restante.settings import Settings
from restante.store.engine import Store
from restante.store.evidence import StoredEvidence
from restante.tls.evidence import Evidence

TEXT_LIMIT = 20_000
WAIT_SECONDS = 30


class Busy(Exception):
    """Another explanation is still being made.  Ask again."""


@dataclass(frozen=True)
class _Compiled:
    stamp: tuple[int, int]
    policy: Policy
    classifier: Classifier = field(repr=False)


class Explainer:
    """Made once for each process; compiles at the first call, which takes some seconds."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._extractor = extractor_from(settings.classify)  # starts nothing before the first attachment
        self._lock = threading.Lock()
        self._compiled: _Compiled | None = None

    def explain(
        self, source: BinaryIO, envelope: Envelope, circumstances: Circumstances, *, now: float
    ) -> dict[str, Any]:
        """The value of :func:`restante.explain.explain` for the message in ``source``.

        TLS evidence is what the database holds.  Raises :class:`Busy`, ``StoreUnavailable``, and
        :class:`restante.toml_source.BadFile` where the policy file is wrong at the moment.
        """
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise Busy
        try:
            compiled = self._current()
            recorder = TextRecorder()
            found = compiled.classifier.classify(source, recorder)
            policy = compiled.policy
            rule, matched = matching_rule(policy, found, envelope, circumstances)
            evidence = self._stored(domains_to_judge(rule, policy, envelope), now)
            decision = decide(policy, rule, matched, envelope, evidence)
            case = Case(policy, envelope, found, decision, recorder, circumstances)
            return explain(case, text_limit=TEXT_LIMIT)
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the process that looks into attachments."""
        if self._extractor is not None:
            self._extractor.close()

    def _current(self) -> _Compiled:
        path = self._settings.policy
        state = path.stat() if path is not None and path.exists() else None
        stamp = (state.st_mtime_ns, state.st_size) if state else (0, 0)
        if self._compiled is None or self._compiled.stamp != stamp:
            policy = load_policy(path, frozenset(self._settings.internal_domains))
            self._compiled = _Compiled(stamp, policy, Classifier(policy, extractor=self._extractor))
        return self._compiled

    def _stored(self, domains: Iterable[str], now: float) -> dict[str, Evidence]:
        kept = StoredEvidence(self._store)
        found = ((domain, kept.get(domain)) for domain in domains)
        return {domain: one for domain, one in found if one is not None and now < one.stale_until}
