"""Rows that are there once, on both databases."""

from sqlalchemy import select

from gateway.people.tables import people
from gateway.settings import Settings
from gateway.state import sql
from gateway.state.inserting import insert_given, insert_new, storable
from gateway.state.sql import retired_keys


async def test_rows_come_once(database: Settings) -> None:
    """Those that are there stay as they are, within one call and over several."""
    async with sql.opened(database) as engine, engine.begin() as connection:
        for rows in ([], [("a", 1), ("b", 2)], [("b", 9), ("c", 3), ("c", 4)]):
            made = [{"digest": name, "retired_at": at} for name, at in rows]
            await insert_new(connection, retired_keys, made)
        found = await connection.execute(select(retired_keys.c.digest, retired_keys.c.retired_at))
        assert {"a": 1, "b": 2, "c": 3} == {row[0]: row[1] for row in found}


async def test_many_rows_are_one_parameter(database: Settings) -> None:
    """Texts and numbers arrive as they are, nothing as nothing."""
    rows = [{"id": f"{i:024x}", "tenant": "t", "name": f"张'\"\\ {i}", "first_seen": i or None} for i in range(3_000)]
    async with sql.opened(database) as engine, engine.begin() as connection:
        await insert_given(connection, people, rows)
        query = select(people.c.id, people.c.tenant, people.c.name, people.c.first_seen).order_by(people.c.id)
        assert rows == [dict(row) for row in (await connection.execute(query)).mappings()]


def test_no_zero_is_stored() -> None:
    """Which PostgreSQL would refuse."""
    assert storable("a\0\0b") == "a\ufffd\ufffdb"
