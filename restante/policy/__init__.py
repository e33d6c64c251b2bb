"""Policy: what makes a message sensitive and what then happens.  ``policy`` holds the whole; the rest its parts."""

from restante.policy.condition import Condition
from restante.policy.domain import FROM_TRANSPORT_MAPS, DomainMode, DomainPolicy
from restante.policy.policy import FORCED_RULE, Policy, load_policy
from restante.policy.rule import Action, Otherwise, Rule
from restante.policy.words import Lexicon, Triggers

__all__ = [
    "FORCED_RULE",
    "FROM_TRANSPORT_MAPS",
    "Action",
    "Condition",
    "DomainMode",
    "DomainPolicy",
    "Lexicon",
    "Otherwise",
    "Policy",
    "Rule",
    "Triggers",
    "load_policy",
]
