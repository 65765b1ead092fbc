"""Admins: who may use the admin API, and as what. SQL owns them; each request asks it."""

import contextlib
import logging
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.admin.roles import Role
from gateway.keys import digest, mask, new_secret, now
from gateway.state.sql import admin_keys, alone, retired_keys

log = logging.getLogger(__name__)

FIRST = "first"
"""Name of the admin that the gateway makes for itself at its first start."""
THE_GATEWAY = "gateway"
"""Who made that one."""
CHANGEABLE = ("name", "role", "expires_at")
USED_SECONDS = 3600
"""How old `last_used` may become before it is written anew: not every request is to write."""


class UnknownAdmin(Exception):
    """There is no admin with this id, or name."""


class AdminNameTaken(Exception):
    """There is an admin of this name."""


class LastAdmin(Exception):
    """Nobody would be left who may do everything and stays: an enabled admin that does not expire."""

    def __init__(self, field: str) -> None:
        super().__init__("This is the last enabled admin of the role `admin` that does not expire; make another first.")
        self.field = field


class Who(NamedTuple):
    """Whose secret it is. *refused*: known, and disabled or expired."""

    name: str
    role: Role
    refused: bool


def _shown(row: RowMapping) -> dict[str, Any]:
    """Return what people may see of a stored admin."""
    return {name: value for name, value in row.items() if name not in {"number", "digest"}}


def _lasting(row: RowMapping | Mapping[str, Any]) -> bool:
    return row["role"] == Role.ADMIN and row["disabled_at"] is None and row["expires_at"] is None


class AdminKeys:
    """The admins, each with one secret."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def find(self, secret: str) -> Who | None:
        """Return whose secret this is, or None."""
        at = now()
        async with self.engine.connect() as connection:
            query = select(admin_keys).where(admin_keys.c.digest == digest(secret))
            row = (await connection.execute(query)).mappings().first()
        if row is None:
            return None
        expired = row["expires_at"] is not None and at >= row["expires_at"]
        refused = row["disabled_at"] is not None or expired
        if not refused and at - (row["last_used"] or 0) >= USED_SECONDS:
            await self._used(row["id"], at)
        return Who(row["name"], Role(row["role"]), refused)

    async def _used(self, admin_id: str, at: int) -> None:
        """Note a use; a database that takes nothing now does not keep anybody from reading."""
        with contextlib.suppress(OperationalError):
            async with self.engine.begin() as connection:
                await connection.execute(update(admin_keys).where(admin_keys.c.id == admin_id).values(last_used=at))

    async def create(self, fields: Mapping[str, Any], by: str) -> tuple[dict[str, Any], str]:
        """Make an admin from *fields* (`CHANGEABLE`); return what may be shown, and the secret.

        Raises `AdminNameTaken`.
        """
        with _named(fields.get("name")):
            async with self.engine.begin() as connection:
                return await _insert(connection, {**fields, "created_by": by}, new_secret())

    async def list(self, limit: int, after: str | None = None) -> list[dict[str, Any]]:
        """Return up to *limit* admins in the order of their making, from behind the id *after*."""
        query = select(admin_keys).order_by(admin_keys.c.number).limit(limit)
        async with self.engine.connect() as connection:
            if after is not None:
                query = query.where(admin_keys.c.number > (await _row(connection, after))["number"])
            return [_shown(row) for row in (await connection.execute(query)).mappings()]

    async def id_of(self, which: str) -> str:
        """Return the id of the admin whose id or name *which* is. Raises `UnknownAdmin`."""
        either = (admin_keys.c.id == which) | (admin_keys.c.name == which)
        async with self.engine.connect() as connection:
            found = (await connection.execute(select(admin_keys.c.id).where(either))).scalars().all()
        if not found:
            raise UnknownAdmin(f"There is no admin `{which}`.")
        return which if which in found else str(found[0])

    async def get(self, admin_id: str) -> dict[str, Any]:
        """Return one admin. Raises `UnknownAdmin`."""
        async with self.engine.connect() as connection:
            return _shown(await _row(connection, admin_id))

    async def change(self, admin_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Change some of `CHANGEABLE`. Raises `UnknownAdmin`, `AdminNameTaken` and `LastAdmin`."""
        changes = {name: fields[name] for name in CHANGEABLE if name in fields}
        return await self._set(admin_id, changes)

    async def rotate(self, admin_id: str) -> tuple[dict[str, Any], str]:
        """Give an admin a new secret; the old one ends at once. Raises `UnknownAdmin`."""
        secret = new_secret()
        return await self._set(admin_id, {"digest": digest(secret), "prefix": mask(secret)}), secret

    async def disable(self, admin_id: str) -> dict[str, Any]:
        """Let an admin in no more. Raises `UnknownAdmin` and `LastAdmin`."""
        return await self._set(admin_id, {"disabled_at": now()})

    async def enable(self, admin_id: str) -> dict[str, Any]:
        """Let an admin in again. Raises `UnknownAdmin`."""
        return await self._set(admin_id, {"disabled_at": None})

    async def assert_first(self, secret: str | None) -> str | None:
        """Have at least one admin. Return a secret that was made.

        A *secret* that is given becomes that of the one that was made first, who may then do everything again: it is
        the way back in. Given at each start, it is made so once: a secret that was rotated away since stays refused.
        """
        async with self.engine.begin() as connection:
            await alone(connection, admin_keys)
            oldest = select(admin_keys).order_by(admin_keys.c.number).limit(1)
            first = (await connection.execute(oldest)).mappings().first()
            if first is None:
                made = secret or new_secret()
                await _insert(connection, {"name": FIRST, "role": Role.ADMIN, "created_by": THE_GATEWAY}, made)
                return made if secret is None else None
            if secret is not None and not await self._known(connection, secret):
                values: dict[str, Any] = {"digest": digest(secret), "prefix": mask(secret), "role": Role.ADMIN}
                change = update(admin_keys).where(admin_keys.c.id == first["id"])
                await connection.execute(change.values(values | {"disabled_at": None, "expires_at": None}))
        return None

    async def _known(self, connection: AsyncConnection, secret: str) -> bool:
        name = digest(secret)
        if (await connection.execute(select(admin_keys.c.id).where(admin_keys.c.digest == name))).first() is not None:
            return True
        retired = (await connection.execute(select(retired_keys).where(retired_keys.c.digest == name))).first()
        if retired is not None:
            log.warning("admin_key: this key was rotated; its old secret stays refused")
        return retired is not None

    async def _set(self, admin_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Change an admin. Nobody else changes one meanwhile: the last two could disable each other."""
        with _named(values.get("name")):
            async with self.engine.begin() as connection:
                await alone(connection, admin_keys)
                row = await _row(connection, admin_id)
                await _check_not_last(connection, row, {**row, **values})
                if values:
                    change = update(admin_keys).where(admin_keys.c.id == admin_id).values(dict(values))
                    await connection.execute(change)
                if "digest" in values:
                    await connection.execute(insert(retired_keys).values(digest=row["digest"], retired_at=now()))
                return _shown(await _row(connection, admin_id))


@contextlib.contextmanager
def _named(name: Any) -> Iterator[None]:
    """Say which name is taken, where the block finds that one is."""
    try:
        yield
    except IntegrityError:
        raise AdminNameTaken(f"There is an admin named `{name}`.") from None


async def _row(connection: AsyncConnection, admin_id: str) -> RowMapping:
    row = (await connection.execute(select(admin_keys).where(admin_keys.c.id == admin_id))).mappings().first()
    if row is None:
        raise UnknownAdmin(f"There is no admin `{admin_id}`.")
    return row


async def _check_not_last(connection: AsyncConnection, before: RowMapping, after: Mapping[str, Any]) -> None:
    if not _lasting(before) or _lasting(after):
        return
    others = select(admin_keys).where(admin_keys.c.id != before["id"])
    if not any(_lasting(row) for row in (await connection.execute(others)).mappings()):
        raise LastAdmin(next((name for name in ("role", "expires_at") if after[name] != before[name]), "id"))


async def _insert(connection: AsyncConnection, fields: Mapping[str, Any], secret: str) -> tuple[dict[str, Any], str]:
    values = {
        "id": f"adm_{secrets.token_hex(8)}",
        "created_at": now(),
        **fields,
        "digest": digest(secret),
        "prefix": mask(secret),
    }
    await connection.execute(insert(admin_keys).values(values))
    return _shown(await _row(connection, values["id"])), secret
