"""Admins as they are stored, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from gateway import admin_store
from gateway.admin.roles import Role
from gateway.admin_store import AdminKeys, AdminNameTaken, LastAdmin, UnknownAdmin
from gateway.keys import digest
from gateway.settings import Settings
from gateway.state import sql
from tests.gateway.migrating import migrate

GIVEN, OTHER = "adm-given-0123456789", "adm-other-0123456789"


@pytest.fixture
async def admins(database: Settings) -> AsyncIterator[AdminKeys]:
    async with sql.opened(database) as engine:
        made = AdminKeys(engine)
        await made.assert_first(GIVEN)
        yield made


async def first(admins: AdminKeys) -> dict[str, Any]:
    return (await admins.list(1))[0]


async def test_the_life_of_an_admin(admins: AdminKeys) -> None:
    """Made, found, changed, rotated, disabled, enabled."""
    made, secret = await admins.create({"name": "ann", "role": Role.VIEWER, "expires_at": None}, "first")
    assert await admins.find(secret) == ("ann", Role.VIEWER, False)
    with pytest.raises(AdminNameTaken):
        await admins.create({"name": "ann", "role": Role.VIEWER}, "first")
    await admins.change(made["id"], {"name": "bea", "role": Role.MODERATOR})
    with pytest.raises(AdminNameTaken):
        await admins.change(made["id"], {"name": "first"})
    _, new = await admins.rotate(made["id"])
    assert (await admins.find(secret), await admins.find(new)) == (None, ("bea", Role.MODERATOR, False))
    await admins.disable(made["id"])
    assert await admins.find(new) == ("bea", Role.MODERATOR, True)
    await admins.enable(made["id"])
    assert await admins.find(new) == ("bea", Role.MODERATOR, False)
    with pytest.raises(UnknownAdmin):
        await admins.get("adm_nope")


async def test_a_use_is_noted_once_an_hour(admins: AdminKeys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every request is to write."""
    moment = 1_800_000_000
    monkeypatch.setattr(admin_store, "now", lambda: moment)
    await admins.find(GIVEN)
    moment += 3_599
    await admins.find(GIVEN)
    assert (await first(admins))["last_used"] == 1_800_000_000
    moment += 1
    await admins.find(GIVEN)
    assert (await first(admins))["last_used"] == moment


async def test_two_admins_cannot_disable_each_other(admins: AdminKeys) -> None:
    """Whoever comes second is refused."""
    other, _ = await admins.create({"name": "ann", "role": Role.ADMIN}, "first")
    work = (admins.disable(other["id"]), admins.disable((await first(admins))["id"]))
    results = await asyncio.gather(*work, return_exceptions=True)
    assert {LastAdmin, dict} == {type(result) for result in results}
    assert [one["disabled_at"] is None for one in await admins.list(9)].count(True) == 1


async def test_another_given_key_is_the_way_back_in(admins: AdminKeys) -> None:
    """Whatever became of the first admin: renamed, demoted, disabled."""
    found = await first(admins)
    await admins.create({"name": "ann", "role": Role.ADMIN}, "first")
    await admins.change(found["id"], {"name": "root", "role": Role.VIEWER, "expires_at": 5})
    await admins.disable(found["id"])
    assert await admins.assert_first(GIVEN) is None
    assert (await admins.find(GIVEN)) == ("root", Role.VIEWER, True)
    assert await admins.assert_first(OTHER) is None
    assert (await admins.find(OTHER)) == ("root", Role.ADMIN, False)
    assert await admins.find(GIVEN) is None
    assert len(await admins.list(9)) == 2


async def test_a_rotated_given_key_stays_refused(admins: AdminKeys, caplog: pytest.LogCaptureFixture) -> None:
    """A start does not bring back what was rotated away, and makes nobody new."""
    _, secret = await admins.rotate((await first(admins))["id"])
    assert await admins.assert_first(GIVEN) is None
    assert (await admins.find(GIVEN), await admins.find(secret)) == (None, ("first", Role.ADMIN, False))
    assert "admin_key: this key was rotated" in caplog.text
    assert await admins.assert_first(None) is None


async def test_admins_of_older_versions_may_do_everything(new_database: Settings) -> None:
    """There were no roles then."""
    async with sql.opened(new_database) as engine:
        async with engine.begin() as connection:
            await connection.run_sync(migrate, "0006")
            old = text("INSERT INTO admin_keys (id, name, digest, created_at) VALUES ('adm_old', 'first', :digest, 5)")
            await connection.execute(old, {"digest": digest(GIVEN)})
            await connection.run_sync(migrate, "head")
        admins = AdminKeys(engine)
        assert await admins.find(GIVEN) == ("first", Role.ADMIN, False)
        assert await admins.assert_first(GIVEN) is None
        made, _ = await admins.create({"name": "ann", "role": Role.VIEWER}, "first")
        assert made["role"] == "viewer"
