"""What a milter child needs, built once after the fork and passed in: no globals."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from restante.classify.dictionary import Dictionary, open_dictionaries
from restante.classify.engine import Classifier
from restante.classify.extract.from_settings import extractor_from, require_programs
from restante.classify.extract.pool import Extractor
from restante.credentials import Credential, read_credential
from restante.policy import Acquaintances, Policy, load_policy
from restante.policy.facts import Strangers
from restante.policy.problems import refuse_first_contact
from restante.settings import Settings
from restante.store.correspondents import Digests, Learner, acquaintances_of
from restante.store.engine import Store
from restante.tls.verdict_client import VerdictClient
from restante.transport_maps import resolve_next_hops
from restante.vault import Sealer
from restante_milter.turns import Turns, YieldingExtractor


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """A policy and what was compiled from it; replaced as a whole by a reload."""

    policy: Policy
    classifier: Classifier

    @classmethod
    def load(cls, settings: Settings) -> PolicyInForce:
        """Read the policy that the settings name, and the tables of Postfix that it names.

        Nothing looks into attachments yet.  Raises :class:`restante.toml_source.BadFile`,
        :class:`restante.transport_maps.NoNextHop`, :class:`restante.classify.extract.from_settings.NoTesseract` or
        :class:`restante.classify.dictionary.BadDictionary`.
        """
        require_programs(settings.classify)
        policy = resolve_next_hops(load_policy(settings.policy, frozenset(settings.internal_domains)))
        if settings.policy is not None and not settings.correspondents.learn:
            refuse_first_contact(policy, settings.policy)
        dictionaries: tuple[Dictionary, ...] = ()
        if policy.dictionary:
            secret = read_credential(settings.credentials, Credential.ROUTE)
            dictionaries = open_dictionaries(policy.dictionary, secret)
        return cls(policy, Classifier(policy, dictionaries=dictionaries))

    def with_extractor(self, extractor: Extractor | None) -> PolicyInForce:
        """The same with an extractor of this process."""
        return PolicyInForce(self.policy, self.classifier.with_extractor(extractor))


@dataclass(slots=True)
class Services:
    """The milter's tools.  Only ``in_force`` is ever replaced, by the reload."""

    settings: Settings
    in_force: PolicyInForce
    store: Store
    verdicts: VerdictClient
    vault: Sealer
    worker: Sealer
    route_secret: bytes = field(repr=False)
    acquaintances: Acquaintances = field(default_factory=Strangers)
    learner: Learner | None = None
    extractor: Extractor | None = None
    turns: Turns = field(default_factory=Turns)

    @classmethod
    def build(cls, settings: Settings, in_force: PolicyInForce) -> Services:
        """Open everything.  Call after the fork: the store's pool must not be shared, what was compiled may be."""
        store = Store(settings.database)
        turns = Turns()
        reader = extractor_from(settings.classify)
        extractor = YieldingExtractor(reader, turns) if reader else None
        secret = read_credential(settings.credentials, Credential.ROUTE)
        learner = Learner(store, Digests(secret), settings.correspondents.flush_seconds)
        return cls(
            settings=settings,
            in_force=in_force.with_extractor(extractor),
            extractor=extractor,
            store=store,
            verdicts=VerdictClient(settings.worker.socketmap, settings.milter.verdict_seconds),
            vault=vault_sealer(settings),
            worker=worker_sealer(settings),
            route_secret=secret,
            acquaintances=acquaintances_of(settings, store, secret),
            learner=learner if settings.correspondents.learn else None,
            turns=turns,
        )


def vault_sealer(settings: Settings) -> Sealer:
    """Seals data keys so that the portal alone opens them."""
    return Sealer(settings.vault.key_id, base64.b64decode(settings.vault.public_key))


def worker_sealer(settings: Settings) -> Sealer:
    """Seals data keys so that the worker alone opens them."""
    return Sealer("worker", base64.b64decode(settings.vault.worker_public_key))
