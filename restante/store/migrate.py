"""Bringing a database to the current schema, with the migrations that are shipped beside the code."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from restante.errors import RestanteError

if TYPE_CHECKING:
    from collections.abc import Iterator

from contextlib import contextmanager


class SchemaOutdated(RestanteError):
    """The database is not at this version's schema.  Run ``restante db upgrade`` before starting a service."""


@contextmanager
def _config(url: str) -> Iterator[Config]:
    with as_file(files("restante_migrations")) as folder:
        config = Config()
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        config.attributes["url"] = url
        yield config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at ``url`` to ``revision``, in one transaction per step."""
    with _config(url) as config:
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Take the database back to ``revision`` ("base" for empty)."""
    with _config(url) as config:
        command.downgrade(config, revision)


def require_current(url: str) -> None:
    """Raise :class:`SchemaOutdated` unless the database is at head."""
    with _config(url) as config:
        head = ScriptDirectory.from_config(config).get_current_head()
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    if found != head:
        raise SchemaOutdated(
            f"the database is at schema {found or 'none'}, this version needs {head}. Run: restante db upgrade"
        )
