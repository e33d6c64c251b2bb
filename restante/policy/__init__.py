"""Policy: what makes a message sensitive and what then happens.  ``policy`` holds the whole; the rest its parts."""

from restante.policy.addresses import Group
from restante.policy.condition import Condition, HeaderCondition
from restante.policy.domain import FROM_TRANSPORT_MAPS, DomainMode, DomainPolicy
from restante.policy.facts import Acquaintances, Circumstances, Context, Direction, Facts
from restante.policy.policy import FORCED_RULE, Policy, load_policy
from restante.policy.rule import Action, Otherwise, Rule
from restante.policy.words import Lexicon, Triggers

__all__ = [
    "FORCED_RULE",
    "FROM_TRANSPORT_MAPS",
    "Acquaintances",
    "Action",
    "Circumstances",
    "Condition",
    "Context",
    "Direction",
    "DomainMode",
    "DomainPolicy",
    "Facts",
    "Group",
    "HeaderCondition",
    "Lexicon",
    "Otherwise",
    "Policy",
    "Rule",
    "Triggers",
    "load_policy",
]
