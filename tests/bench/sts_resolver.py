"""postfix-mta-sts-resolver's own daemon with its fastest cache, filled: ``python -m tests.bench.sts_resolver -c FILE``.

Its memory cache starts empty and fills from the network alone; here it begins with a policy for each known domain.
Everything else is the daemon as its package installs it, with uvloop where that is there.
"""

from __future__ import annotations

import sys
import time

from postfix_mta_sts_resolver import daemon
from postfix_mta_sts_resolver.base_cache import CacheEntry
from postfix_mta_sts_resolver.internal_cache import InternalLRUCache

from tests.bench.known import domains, mx_of


async def _fill(cache: InternalLRUCache) -> None:
    for name in domains():
        policy = {"version": "STSv1", "mode": "enforce", "max_age": 604_800, "mx": [mx_of(name)]}
        await cache.set(name, CacheEntry(time.time(), "20260101000000Z", policy))


if __name__ == "__main__":
    InternalLRUCache.setup = _fill
    sys.exit(daemon.main())
