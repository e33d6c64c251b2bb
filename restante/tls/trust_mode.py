"""What the settings can say about believing a resolver.  Apart, so that reading settings loads no DNS library."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

SIGNED_NAME: Final = "."
BROKEN_NAME: Final = "dnssec-failed.org"


class TrustAd(StrEnum):
    """What the operator says: test the resolver, it is known to be good, or never believe it."""

    AUTO = "auto"
    YES = "yes"
    NO = "no"
