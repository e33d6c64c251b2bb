"""The migrations: head equals the models, each step goes up and down, and rows survive."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, inspect, text

from restante.store.migrate import downgrade, upgrade
from restante.store.models import Base
from restante.store.schema import SchemaOutdated, require_current


def test_head_equals_the_models(database_url: str) -> None:
    upgrade(database_url)
    engine = create_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()
    assert differences == []


def test_down_to_nothing_and_up_again(database_url: str) -> None:
    upgrade(database_url)
    downgrade(database_url, "base")
    engine = create_engine(database_url)
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    engine.dispose()
    upgrade(database_url)
    require_current(database_url)


def test_upgrading_twice_keeps_the_rows(database_url: str) -> None:
    upgrade(database_url)
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO audit (at, actor, action, detail) VALUES (1, 'worker', 'tested', '{}')"))
    upgrade(database_url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM audit")) == 1
    engine.dispose()


def test_a_service_refuses_an_empty_database_and_names_the_remedy(database_url: str) -> None:
    with pytest.raises(SchemaOutdated, match="restante db upgrade"):
        require_current(database_url)


def test_a_service_refuses_a_database_of_an_older_version(database_url: str) -> None:
    upgrade(database_url)
    require_current(database_url)
    downgrade(database_url, "-1")
    with pytest.raises(SchemaOutdated, match=r"is at schema \d+, this version needs \d+"):
        require_current(database_url)
