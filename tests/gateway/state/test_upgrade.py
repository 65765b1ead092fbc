"""The schema is brought up to date where it is not, and left alone where it is."""

import alembic.config
import alembic.script
import pytest
from sqlalchemy import Connection, inspect

from gateway.settings import Settings
from gateway.state import sql, upgrade
from tests.gateway.migrating import migrate


def version(connection: Connection) -> str:
    return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())


async def test_an_older_schema_becomes_the_newest(new_database: Settings) -> None:
    """Also an empty database; the newest is the one that Alembic takes for it."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(sql.MIGRATIONS))
    head = alembic.script.ScriptDirectory.from_config(config).get_current_head()
    async with sql.opened(new_database) as engine, engine.begin() as connection:
        assert await connection.run_sync(version) == head
        await connection.run_sync(migrate, "0010")
    async with sql.opened(new_database) as engine, engine.begin() as connection:
        assert await connection.run_sync(version) == head
        assert await connection.run_sync(lambda sync: inspect(sync).has_table("deployments"))


async def test_the_newest_schema_is_left_alone(new_database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    async with sql.opened(new_database):
        pass
    monkeypatch.delattr(upgrade, "upgrade")
    async with sql.opened(new_database) as engine, engine.begin() as connection:
        assert await connection.run_sync(version)
