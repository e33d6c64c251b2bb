"""Kinds of fields that the tables of a policy share with those of packs."""

from restante.classify.tables import ConfidenceName, Frozen, Name

__all__ = ["ConfidenceName", "Frozen", "Name"]
