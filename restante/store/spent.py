"""What is good for one use: remembered as used until it would be out of date anyway."""

from __future__ import annotations

import hashlib

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from restante.store.engine import Store
from restante.store.models import SpentChallenge


def spend(store: Store, challenge: bytes, *, ends_at: float, now: float) -> bool:
    """Use up what is good until ``ends_at``; false where it was used before: of many at once, one is told true."""
    try:
        with store.write() as session:
            session.execute(delete(SpentChallenge).where(SpentChallenge.ends_at <= now))
            session.add(SpentChallenge(challenge_hash=hashlib.sha256(challenge).digest(), ends_at=ends_at))
    except IntegrityError:
        return False
    return True
