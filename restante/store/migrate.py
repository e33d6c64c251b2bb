"""Bringing a database to the current schema, with the migrations that are shipped beside the code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config


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
