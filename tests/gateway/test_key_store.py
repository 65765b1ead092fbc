"""Client and admin keys as they are stored, on both databases."""

from collections.abc import AsyncIterator

import pytest

from gateway.admin_store import AdminKeys
from gateway.key_store import KeyStore, NameTaken, ensure_first_keys
from gateway.settings import Settings
from gateway.state import sql

FAR = 253_402_300_799
"""The last second of the year 9999: more than 32 bits hold."""


@pytest.fixture
async def stores(database: Settings) -> AsyncIterator[tuple[KeyStore, AdminKeys]]:
    async def publish() -> None:
        """Nobody follows the keys here."""

    async with sql.opened(database) as engine:
        yield KeyStore(engine, publish), AdminKeys(engine)


async def test_the_life_of_a_key(stores: tuple[KeyStore, AdminKeys]) -> None:
    """Made, changed, rotated, disabled: the workers' copy follows."""
    store, _ = stores
    made, _ = await store.create({"name": "dify", "expires_at": FAR, "models": ["a"]})
    assert (FAR, ["a"]) == (made["expires_at"], made["models"])
    with pytest.raises(NameTaken):
        await store.create({"name": "dify"})
    generation = await store.generation()
    await store.change(made["id"], {"name": "other", "limits": {"parallel_streams": 3}})
    assert await store.generation() != generation
    await store.rotate(made["id"], grace_seconds=60)
    assert len(await store.document()) == 2
    await store.disable(made["id"])
    assert await store.document() == {}
    assert ["other"] == [key["name"] for key in await store.list(9)]


async def test_the_first_keys(stores: tuple[KeyStore, AdminKeys], database: Settings) -> None:
    """They are made once."""
    store, admins = stores
    made = await ensure_first_keys(store, admins, database)
    assert sorted(made) == ["admin", "client"]
    assert await ensure_first_keys(store, admins, database) == {}
    assert await admins.find(made["admin"]) == ("first", "admin", False)
