"""Whether a database is at the schema that this version needs.

Asked without Alembic, which changes schemas: every service asks at its start, and would keep all of Alembic loaded.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, column, create_engine, inspect, select, table

from restante.errors import RestanteError

CURRENT: Final = "0009"
"""The newest of the migrations."""

_VERSION = "alembic_version"  # where Alembic writes down what it has done


class SchemaOutdated(RestanteError):
    """The database is not at this version's schema.  Run ``restante db upgrade`` before starting a service."""


def require_current(url: str) -> None:
    """Raise :class:`SchemaOutdated` unless the database at ``url`` is at the newest migration."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = _found(connection)
    finally:
        engine.dispose()
    if found != CURRENT:
        raise SchemaOutdated(
            f"the database is at schema {found or 'none'}, this version needs {CURRENT}. Run: restante db upgrade"
        )


def _found(connection: Connection) -> str:
    """The schema of a database; nothing where no migration was ever run."""
    if not inspect(connection).has_table(_VERSION):
        return ""
    return ", ".join(connection.scalars(select(column("version_num")).select_from(table(_VERSION))))
