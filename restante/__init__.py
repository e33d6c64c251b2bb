"""Restante: forced TLS with portal fallback for outgoing mail.

This package holds what the product knows: policy, classification, TLS evidence, sealing, the store.
It imports neither pymilter nor Flask nor the packages that do (``restante_milter``, ``restante_portal``).
"""

__version__ = "0.1.0"
