"""Alembic's environment: one connection, one transaction per migration, on SQLite and PostgreSQL."""

from alembic import context
from sqlalchemy import create_engine, pool

from restante.store.models import Base


def run() -> None:
    """Run the migrations that Alembic asks for, against the URL that :mod:`restante.store.migrate` hands over."""
    engine = create_engine(context.config.attributes["url"], poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            transaction_per_migration=True,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()


run()
