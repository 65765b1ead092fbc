"""What an admin is told when something behind the API is away."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests import postgres
from tests.gateway.admin.conftest import api_on

ROUTES = ("/admin/keys", "/admin/admins", "/admin/keywords/entries", "/admin/keywords/versions")


@pytest.mark.skipif(postgres.missing() is not None, reason=str(postgres.missing()))
async def test_a_database_that_is_away_is_named(tmp_path: Path, redis: "Redis") -> None:
    """With connections that were open, and with none: a 503 to come again, on each route."""
    server = postgres.running()
    url = postgres.create(server.__enter__(), "gone")
    try:
        async with api_on(tmp_path, redis, url) as api:
            for path in ROUTES:
                assert (await api.ask("GET", path)).status_code == 200
            server.__exit__(None, None, None)
            for path in (*ROUTES, *ROUTES):
                response = await api.ask("GET", path)
                error = response.json()["error"]
                found = (response.status_code, error["code"], "database" in error["message"])
                assert (path, 503, "database_unavailable", True) == (path, *found), error
                assert response.headers["retry-after"] == "5"
    finally:
        server.__exit__(None, None, None)
