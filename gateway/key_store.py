"""Keys as people manage them: made, listed, changed, rotated, disabled. SQL owns them; the workers get a copy."""

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr
from sqlalchemy import RowMapping, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.admin_store import FIRST, AdminKeys
from gateway.keys import DEFAULT_TENANT, Publish, digest, mask, new_secret, now, ring_entry
from gateway.settings import Settings
from gateway.state.sql import client_keys, key_changes, retired_keys

log = logging.getLogger(__name__)

CHANGEABLE = (
    "name",
    "tenant",
    "models",
    "trusts_user_header",
    "exempt",
    "allows_remote_images",
    "content_label",
    "label_agreement",
    "embeddings_guard",
    "priority",
    "limits",
    "expires_at",
)


class UnknownKey(Exception):
    """There is no key, or not one alone, with this id or name."""


class AgreementMissing(Exception):
    """A key may do without labels only by an agreement, whose id it then carries (标识办法, article 9)."""

    def __init__(self) -> None:
        super().__init__("`label_agreement` is missing: without labels only by an agreement with the user.")


class NameTaken(Exception):
    """The tenant already has a key of this name."""


def _shown(row: RowMapping) -> dict[str, Any]:
    """Return what people may see of a stored key."""
    hidden = {"number", "digest", "old_digest"}
    return {name: value for name, value in row.items() if name not in hidden}


class KeyStore:
    """The client keys. *publish* is called after every change, and then publishes `document`, as it is by then."""

    def __init__(self, engine: AsyncEngine, publish: Publish) -> None:
        self.engine = engine
        self.publish = publish

    async def create(self, fields: Mapping[str, Any], secret: str | None = None) -> tuple[dict[str, Any], str]:
        """Make a key from *fields* (`CHANGEABLE`); return what may be shown, and the secret.

        Raises `NameTaken` and `AgreementMissing`.
        """
        secret = secret or new_secret()
        values = {
            "id": f"key_{secrets.token_hex(8)}",
            "tenant": DEFAULT_TENANT,
            "models": [],
            "trusts_user_header": False,
            "exempt": False,
            "allows_remote_images": False,
            "content_label": "interface",
            "embeddings_guard": "block",
            "priority": "normal",
            "limits": {},
            "created_at": now(),
            **{name: value for name, value in fields.items() if value is not None},
            "digest": digest(secret),
            "prefix": mask(secret),
        }
        _check_label(values)
        try:
            async with self.engine.begin() as connection:
                await connection.execute(insert(client_keys).values(values))
                await _count_change(connection)
        except IntegrityError:
            raise NameTaken(f"The tenant `{values['tenant']}` already has a key named `{values['name']}`.") from None
        await self.publish()
        return await self.get(values["id"]), secret

    async def list(self, limit: int, after: str | None = None) -> list[dict[str, Any]]:
        """Return up to *limit* keys in the order of their making, from behind the id *after*."""
        query = select(client_keys).order_by(client_keys.c.number).limit(limit)
        if after is not None:
            query = query.where(client_keys.c.number > (await self._row(after))["number"])
        async with self.engine.connect() as connection:
            return [_shown(row) for row in (await connection.execute(query)).mappings()]

    async def id_of(self, which: str) -> str:
        """Return the id of the key whose id, name or ``TENANT/NAME`` *which* is.

        Raises `UnknownKey`, also where tenants share the name.
        """
        c = client_keys.c
        either = (c.id == which) | (c.name == which) | (c.tenant + "/" + c.name == which)
        async with self.engine.connect() as connection:
            rows = await connection.execute(select(client_keys).where(either).order_by(c.number))
            found = {row.id: f"{row.tenant}/{row.name}" for row in rows}
        if which in found or len(found) == 1:
            return which if which in found else next(iter(found))
        shared = f"More than one key is named `{which}`: say which of {', '.join(found.values())}."
        raise UnknownKey(shared if found else f"There is no key `{which}`.")

    async def get(self, key_id: str) -> dict[str, Any]:
        """Return one key. Raises `UnknownKey`."""
        return _shown(await self._row(key_id))

    async def change(self, key_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Change some of `CHANGEABLE`. Raises `UnknownKey`, `NameTaken` and `AgreementMissing`."""
        changes = {name: fields[name] for name in CHANGEABLE if name in fields}
        _check_label({**await self._row(key_id), **changes})
        return await self._set(key_id, changes)

    async def rotate(self, key_id: str, grace_seconds: int = 0) -> tuple[dict[str, Any], str]:
        """Give a key a new secret; the old one goes on working for *grace_seconds*. Raises `UnknownKey`."""
        row, secret = await self._row(key_id), new_secret()
        old = {"old_digest": row["digest"], "old_until": now() + grace_seconds} if grace_seconds else {}
        values = {"old_digest": None, "old_until": None, **old, "digest": digest(secret), "prefix": mask(secret)}
        return await self._set(key_id, values, retired=row["digest"]), secret

    async def disable(self, key_id: str) -> dict[str, Any]:
        """Refuse a key from now on. Raises `UnknownKey`."""
        return await self._set(key_id, {"disabled_at": now()})

    async def enable(self, key_id: str) -> dict[str, Any]:
        """Accept a disabled key again. Raises `UnknownKey`."""
        return await self._set(key_id, {"disabled_at": None})

    async def generation(self) -> object:
        """Return what changes with every change of a key, in whatever process it was made."""
        async with self.engine.connect() as connection:
            return (await connection.execute(select(key_changes.c.number))).scalar()

    async def document(self) -> dict[str, Any]:
        """Return the workers' copy: digest → what the ring needs; disabled keys are not in it."""
        enabled = select(client_keys).where(client_keys.c.disabled_at.is_(None)).order_by(client_keys.c.number)
        async with self.engine.connect() as connection:
            rows = (await connection.execute(enabled)).mappings()
            entries: dict[str, Any] = {}
            for row in rows:
                entry = entries[row["digest"]] = ring_entry(dict(row))
                if row["old_digest"] is not None:
                    ends = [moment for moment in (row["old_until"], row["expires_at"]) if moment is not None]
                    entries[row["old_digest"]] = {**entry, "expires_at": min(ends)}
        return entries

    async def assert_first(self, secret: str | None) -> str | None:
        """Have at least one key, *secret* if it is given. Return a secret that was made.

        It is given at each start, so it is made a key once: one that was disabled or rotated since stays so.
        """
        known = select(client_keys.c.name, client_keys.c.digest, client_keys.c.old_digest, client_keys.c.disabled_at)
        async with self.engine.connect() as connection:
            rows = (await connection.execute(known)).all()
            retired = set((await connection.execute(select(retired_keys.c.digest))).scalars())
        if secret is None:
            return (await self.create({"name": FIRST}))[1] if not rows else None
        if digest(secret) in retired | {row.old_digest for row in rows}:
            log.warning("client_key: this key was rotated; its old secret stays refused")
            return None
        for row in rows:
            if row.digest == digest(secret):
                if row.disabled_at is not None:
                    log.warning("client_key: the key `%s` is disabled, and stays so", row.name)
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

    async def _set(self, key_id: str, values: dict[str, Any], retired: str | None = None) -> dict[str, Any]:
        await self._row(key_id)
        if values:
            try:
                async with self.engine.begin() as connection:
                    await connection.execute(update(client_keys).where(client_keys.c.id == key_id).values(values))
                    if retired is not None:
                        await connection.execute(insert(retired_keys).values(digest=retired, retired_at=now()))
                    await _count_change(connection)
            except IntegrityError:
                raise NameTaken(f"The tenant already has a key named `{values.get('name')}`.") from None
            await self.publish()
        return await self.get(key_id)


def _check_label(values: Mapping[str, Any]) -> None:
    if values["content_label"] == "none" and not values.get("label_agreement"):
        raise AgreementMissing


async def _count_change(connection: AsyncConnection) -> None:
    await connection.execute(update(key_changes).values(number=key_changes.c.number + 1))


async def ensure_first_keys(store: KeyStore, admins: AdminKeys, settings: Settings) -> dict[str, str]:
    """Make the first admin and client key, or take them from the settings; return those made: kind → secret."""
    made = {
        "admin": await admins.assert_first(_secret(settings.admin_key)),
        "client": await store.assert_first(_secret(settings.client_key)),
    }
    return {kind: secret for kind, secret in made.items() if secret is not None}


def _secret(given: SecretStr | None) -> str | None:
    return given.get_secret_value() if given is not None else None
