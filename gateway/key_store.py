"""Keys as people manage them: made, listed, changed, rotated, disabled. SQL owns them; the workers get a copy."""

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.keys import SHORTEST_SECRET, Publish, digest, mask, new_secret, now, ring_entry
from gateway.settings import Settings, SettingsInvalid
from gateway.state.sql import admin_keys, client_keys

FIRST = "first"
"""Name of the keys that the gateway makes for itself at its first start."""
DEFAULT_TENANT = "default"
CHANGEABLE = (
    "name",
    "tenant",
    "models",
    "trusts_user_header",
    "exempt",
    "allows_remote_images",
    "limits",
    "expires_at",
)


class UnknownKey(Exception):
    """There is no key with this id."""


class NameTaken(Exception):
    """The tenant already has a key of this name."""


def _shown(row: RowMapping) -> dict[str, Any]:
    """Return what people may see of a stored key."""
    hidden = {"number", "digest", "old_digest"}
    return {name: value for name, value in row.items() if name not in hidden}


class KeyStore:
    """The client keys. *publish* is called with the workers' copy after every change."""

    def __init__(self, engine: AsyncEngine, publish: Publish) -> None:
        self.engine = engine
        self.publish = publish

    async def create(self, fields: Mapping[str, Any], secret: str | None = None) -> tuple[dict[str, Any], str]:
        """Make a key from *fields* (`CHANGEABLE`); return what may be shown, and the secret. Raises `NameTaken`."""
        secret = secret or new_secret()
        values = {
            "id": f"key_{secrets.token_hex(8)}",
            "tenant": DEFAULT_TENANT,
            "models": [],
            "trusts_user_header": False,
            "exempt": False,
            "allows_remote_images": False,
            "limits": {},
            "created_at": now(),
            **{name: value for name, value in fields.items() if value is not None},
            "digest": digest(secret),
            "prefix": mask(secret),
        }
        try:
            async with self.engine.begin() as connection:
                await connection.execute(insert(client_keys).values(values))
        except IntegrityError:
            raise NameTaken(f"The tenant `{values['tenant']}` already has a key named `{values['name']}`.") from None
        await self._publish()
        return await self.get(values["id"]), secret

    async def list(self, limit: int, after: str | None = None) -> list[dict[str, Any]]:
        """Return up to *limit* keys in the order of their making, from behind the id *after*."""
        query = select(client_keys).order_by(client_keys.c.number).limit(limit)
        if after is not None:
            query = query.where(client_keys.c.number > (await self._row(after))["number"])
        async with self.engine.connect() as connection:
            return [_shown(row) for row in (await connection.execute(query)).mappings()]

    async def get(self, key_id: str) -> dict[str, Any]:
        """Return one key. Raises `UnknownKey`."""
        return _shown(await self._row(key_id))

    async def change(self, key_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Change some of `CHANGEABLE`. Raises `UnknownKey` and `NameTaken`."""
        return await self._set(key_id, {name: fields[name] for name in CHANGEABLE if name in fields})

    async def rotate(self, key_id: str, grace_seconds: int = 0) -> tuple[dict[str, Any], str]:
        """Give a key a new secret; the old one goes on working for *grace_seconds*. Raises `UnknownKey`."""
        row, secret = await self._row(key_id), new_secret()
        old = {"old_digest": row["digest"], "old_until": now() + grace_seconds} if grace_seconds else {}
        values = {"old_digest": None, "old_until": None, **old, "digest": digest(secret), "prefix": mask(secret)}
        return await self._set(key_id, values), secret

    async def disable(self, key_id: str) -> dict[str, Any]:
        """Refuse a key from now on. Raises `UnknownKey`."""
        return await self._set(key_id, {"disabled_at": now()})

    async def enable(self, key_id: str) -> dict[str, Any]:
        """Accept a disabled key again. Raises `UnknownKey`."""
        return await self._set(key_id, {"disabled_at": None})

    async def document(self) -> dict[str, Any]:
        """Return the workers' copy: digest → what the ring needs; disabled keys are not in it."""
        async with self.engine.connect() as connection:
            rows = (await connection.execute(select(client_keys).where(client_keys.c.disabled_at.is_(None)))).mappings()
            entries: dict[str, Any] = {}
            for row in rows:
                entry = entries[row["digest"]] = ring_entry(dict(row))
                if row["old_digest"] is not None:
                    ends = [moment for moment in (row["old_until"], row["expires_at"]) if moment is not None]
                    entries[row["old_digest"]] = {**entry, "expires_at": min(ends)}
        return entries

    async def assert_first(self, secret: str | None) -> str | None:
        """Have at least one key; a *secret* that is given is made sure to work. Return a secret that was made."""
        async with self.engine.connect() as connection:
            rows = (await connection.execute(select(client_keys.c.id, client_keys.c.name, client_keys.c.digest))).all()
        if secret is None:
            return (await self.create({"name": FIRST}))[1] if not rows else None
        known = next((row.id for row in rows if row.digest == digest(secret)), None)
        if known is not None:
            await self.enable(known)
            return None
        taken = {row.name for row in rows}
        name = next(name for name in (FIRST, *(f"{FIRST}-{i}" for i in range(2, 10_000))) if name not in taken)
        await self.create({"name": name}, secret)
        return None

    async def _row(self, key_id: str) -> RowMapping:
        async with self.engine.connect() as connection:
            row = (await connection.execute(select(client_keys).where(client_keys.c.id == key_id))).mappings().first()
        if row is None:
            raise UnknownKey(f"There is no key `{key_id}`.")
        return row

    async def _set(self, key_id: str, values: dict[str, Any]) -> dict[str, Any]:
        await self._row(key_id)
        if values:
            try:
                async with self.engine.begin() as connection:
                    await connection.execute(update(client_keys).where(client_keys.c.id == key_id).values(values))
            except IntegrityError:
                raise NameTaken(f"The tenant already has a key named `{values.get('name')}`.") from None
            await self._publish()
        return await self.get(key_id)

    async def _publish(self) -> None:
        await self.publish(await self.document())


class AdminKeys:
    """The keys of the admin API."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def name_of(self, secret: str) -> str | None:
        """Return the name of the admin whose key this is, or None."""
        query = select(admin_keys.c.name).where(
            admin_keys.c.digest == digest(secret), admin_keys.c.disabled_at.is_(None)
        )
        async with self.engine.connect() as connection:
            return (await connection.execute(query)).scalar()

    async def assert_first(self, secret: str | None) -> str | None:
        """Have at least one key; a *secret* that is given replaces the first one. Return a secret that was made."""
        async with self.engine.begin() as connection:
            first = (await connection.execute(select(admin_keys).where(admin_keys.c.name == FIRST))).mappings().first()
            if first is not None and (secret is None or first["digest"] == digest(secret)):
                return None
            made = secret or new_secret()
            values = {"digest": digest(made), "disabled_at": None}
            if first is not None:
                await connection.execute(update(admin_keys).where(admin_keys.c.name == FIRST).values(values))
            else:
                new = {"id": f"adm_{secrets.token_hex(8)}", "name": FIRST, "created_at": now(), **values}
                await connection.execute(insert(admin_keys).values(new))
        return made if secret is None else None


async def ensure_first_keys(store: KeyStore, admins: AdminKeys, settings: Settings) -> dict[str, str]:
    """Make the first admin and client key, or take them from the settings; return those made: kind → secret."""
    made = {
        "admin": await admins.assert_first(_chosen(settings.admin_key, "GATEWAY_ADMIN_KEY")),
        "client": await store.assert_first(_chosen(settings.client_key, "GATEWAY_CLIENT_KEY")),
    }
    return {kind: secret for kind, secret in made.items() if secret is not None}


def _chosen(secret: Any, setting: str) -> str | None:
    if secret is None:
        return None
    text: str = secret.get_secret_value()
    if len(text) < SHORTEST_SECRET or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsInvalid(f"{setting}: at least {SHORTEST_SECRET} printable ASCII characters without blanks")
    return text
