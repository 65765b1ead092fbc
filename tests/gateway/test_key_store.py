"""Client and admin keys as they are stored, on both databases."""

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.admin_store import AdminKeys
from gateway.key_store import KeyStore, NameTaken, ensure_first_keys
from gateway.settings import Settings
from gateway.state import sql
from tests import postgres

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


async def test_gateways_may_start_at_once_on_an_empty_database(postgres_server: str, tmp_path: Path) -> None:
    """Each on a machine of its own: one makes the tables, the others wait for it."""
    url = postgres.create(postgres_server, f"t{secrets.token_hex(8)}")
    argv = [sys.executable, "-m", "gateway", "keys", "list"]
    started = [
        await asyncio.create_subprocess_exec(
            *argv,
            env={**os.environ, "GATEWAY_DATABASE_URL": url, "GATEWAY_DATA_DIR": str(tmp_path / str(i))},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for i in range(4)
    ]
    for process in started:
        out, complaint = await process.communicate()
        assert (0, b"no keys\n") == (process.returncode, out), complaint.decode()
