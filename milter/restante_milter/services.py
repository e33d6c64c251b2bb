"""What a milter child needs, built once after the fork and passed in: no globals."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field

from restante.classify.engine import Classifier
from restante.credentials import Credential, read_credential
from restante.policy import Policy, load_policy
from restante.settings import Settings
from restante.store.engine import Store
from restante.tls.verdict_client import VerdictClient
from restante.transport_maps import resolve_next_hops
from restante.vault import Sealer


@dataclass(frozen=True, slots=True)
class PolicyInForce:
    """A policy and what was compiled from it; replaced as a whole by a reload."""

    policy: Policy
    classifier: Classifier

    @classmethod
    def load(cls, settings: Settings) -> PolicyInForce:
        """Read the policy that the settings name, and the tables of Postfix that it names.

        Raises :class:`restante.toml_source.BadFile` or :class:`restante.transport_maps.NoNextHop`.
        """
        policy = resolve_next_hops(load_policy(settings.policy, frozenset(settings.internal_domains)))
        return cls(policy, Classifier(policy))


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

    @classmethod
    def build(cls, settings: Settings) -> Services:
        """Open everything.  Call after the fork: the store's pool must not be shared."""
        return cls(
            settings=settings,
            in_force=PolicyInForce.load(settings),
            store=Store(settings.database),
            verdicts=VerdictClient(settings.worker.socketmap, settings.milter.verdict_seconds),
            vault=vault_sealer(settings),
            worker=worker_sealer(settings),
            route_secret=read_credential(settings.credentials, Credential.ROUTE),
        )


def vault_sealer(settings: Settings) -> Sealer:
    """Seals data keys so that the portal alone opens them."""
    return Sealer(settings.vault.key_id, base64.b64decode(settings.vault.public_key))


def worker_sealer(settings: Settings) -> Sealer:
    """Seals data keys so that the worker alone opens them."""
    return Sealer("worker", base64.b64decode(settings.vault.worker_public_key))
