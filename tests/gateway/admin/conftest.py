"""The admin API with admins of every role, and what it puts on record."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from gateway.admin.app import create_app
from gateway.admin.roles import Role
from gateway.admin.services import AdminServices
from gateway.admin_store import AdminKeys
from gateway.audit.entries import Admin
from gateway.audit.errors import AuditUnavailable
from gateway.key_store import KeyStore, ensure_first_keys
from gateway.keyword_services import KeywordServices
from gateway.settings import Settings
from gateway.state import sql

FIRST_SECRET = "adm-0123456789abcdef"


class Listed:
    """Keeps the records of admins in a list."""

    def __init__(self) -> None:
        self.kept: list[Admin] = []
        self.broken = False

    async def put(self, record: Admin) -> None:
        if self.broken:
            raise AuditUnavailable("no room")
        self.kept.append(record)

    def of(self, action: str) -> list[Admin]:
        """Return the records of one action."""
        return [record for record in self.kept if record.action == action]


class Api:
    """The API in this process."""

    def __init__(self, app: FastAPI, admins: AdminKeys, keys: KeyStore, records: Listed) -> None:
        self.app = app
        self.admins = admins
        self.keys = keys
        self.records = records
        self.secrets = {Role.ADMIN: FIRST_SECRET}

    async def ask(self, method: str, path: str, role: Role | str | None = Role.ADMIN, **options: Any) -> httpx.Response:
        """Send one request as an admin of *role*, or with a secret, or with none."""
        secret = self.secrets.get(role, role) if role is not None else None  # type: ignore[call-overload]
        headers = {**options.pop("headers", {}), **({"authorization": f"Bearer {secret}"} if secret else {})}
        transport = httpx.ASGITransport(
            self.app, raise_app_exceptions=False, client=options.pop("peer", ("10.1.1.1", 9))
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
            return await client.request(method, path, headers=headers, **options)


@pytest.fixture
async def api(tmp_path: Path, redis: "Redis") -> AsyncIterator[Api]:
    async with api_on(tmp_path, redis) as made:
        yield made


@contextlib.asynccontextmanager
async def api_on(data_dir: Path, redis: "Redis", database_url: str | None = None) -> AsyncIterator[Api]:
    """Serve the API on a database of its own, or on that of *database_url*."""
    settings = Settings(
        data_dir=data_dir, admin_key=FIRST_SECRET, client_key="sk-client-0123456789", database_url=database_url
    )
    async with sql.opened(settings) as engine:

        async def publish() -> None:
            """Nobody follows the keys here."""

        store, admins, records = KeyStore(engine, publish), AdminKeys(engine), Listed()
        await ensure_first_keys(store, admins, settings)
        keywords = KeywordServices.over(engine, settings.keywords)
        made = Api(create_app(AdminServices(store, admins, redis, keywords, records=records)), admins, store, records)
        for role in (Role.VIEWER, Role.MODERATOR):
            made.secrets[role] = (
                await admins.create({"name": f"a {role}", "role": role, "expires_at": None}, "first")
            )[1]
        yield made
