"""Inserting rows without the unit of work, which costs several times what the statement does.

For rows that nobody reads again in the same transaction: the path of a message that waits for its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Insert, insert
from sqlalchemy.orm import Session

from restante.store.models import Base

# Built once: building a statement costs more than running it.
_INSERTS: Mapping[str, Insert] = MappingProxyType({name: insert(table) for name, table in Base.metadata.tables.items()})


def put_rows(session: Session, model: type[Base], rows: Sequence[dict[str, Any]]) -> None:
    """Insert ``rows``, column names to values, in the caller's transaction.  Raises ``IntegrityError`` at once."""
    if rows:
        session.connection().execute(_INSERTS[model.__tablename__], list(rows))
