"""`/admin/keys` over a real database and a real Valkey."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway import keys
from gateway.admin.app import create_app
from gateway.admin.services import AdminServices
from gateway.key_store import AdminKeys, KeyStore, ensure_first_keys
from gateway.keys import KeyRing
from gateway.settings import Settings, SettingsInvalid
from gateway.state import board, sql

ADMIN = "adm-0123456789abcdef"


class Admin:
    """The API and what it publishes."""

    def __init__(self, client: httpx.AsyncClient, store: KeyStore, admins: AdminKeys) -> None:
        self.client = client
        self.store = store
        self.admins = admins
        self.published: dict[str, Any] = {}

    def accepts(self, secret: str, now: float = 0.0) -> bool:
        try:
            return bool(KeyRing(self.published).caller(f"Bearer {secret}".encode(), now))
        except keys.KeyRefused:
            return False


@pytest.fixture
async def admin(tmp_path: Path, redis: "Redis") -> AsyncIterator[Admin]:
    settings = Settings(data_dir=tmp_path, admin_key=ADMIN, client_key="sk-client-0123456789")
    async with sql.opened(settings) as engine:

        async def publish(document: dict[str, Any]) -> None:
            made.published = document
            await board.Board(redis).publish(board.KEYS, document)

        store, admins = KeyStore(engine, publish), AdminKeys(engine)
        app = create_app(AdminServices(store, admins, redis))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers=headers) as client:
            made = Admin(client, store, admins)
            await ensure_first_keys(store, admins, settings)
            yield made


async def create(admin: Admin, name: str = "dify", **fields: Any) -> dict[str, Any]:
    response = await admin.client.post("/admin/keys", json={"name": name, **fields})
    assert response.status_code == 201, response.text
    created: dict[str, Any] = response.json()
    return created


async def test_a_made_key_works_and_its_secret_is_shown_once(admin: Admin) -> None:
    """A key works as soon as it is made; nothing shows its secret again."""
    created = await create(admin, models=["qwen"], tenant="acme", limits={"requests_per_minute": 60})
    assert admin.accepts(created["secret"])
    shown = (await admin.client.get(f"/admin/keys/{created['id']}")).json()
    assert {name: value for name, value in created.items() if name != "secret"} == shown
    assert (["qwen"], "acme", 60) == (shown["models"], shown["tenant"], shown["limits"]["requests_per_minute"])
    assert created["secret"] not in (await admin.client.get("/admin/keys")).text


async def test_the_secret_is_not_stored(admin: Admin, tmp_path: Path) -> None:
    """No file of the database holds the secret."""
    secret = (await create(admin))["secret"]
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.glob("gateway.sqlite3*"))


async def test_disable_and_enable(admin: Admin) -> None:
    """A disabled key is refused until it is enabled."""
    created = await create(admin)
    path = f"/admin/keys/{created['id']}"
    assert (await admin.client.post(f"{path}/disable")).json()["disabled_at"]
    assert not admin.accepts(created["secret"])
    assert (await admin.client.post(f"{path}/enable")).json()["disabled_at"] is None
    assert admin.accepts(created["secret"])


async def test_rotate(admin: Admin) -> None:
    """A rotated key has a new secret; the old one ends at once."""
    created = await create(admin)
    rotated = (await admin.client.post(f"/admin/keys/{created['id']}/rotate")).json()
    assert (admin.accepts(created["secret"]), admin.accepts(rotated["secret"])) == (False, True)


async def test_rotate_with_grace(admin: Admin) -> None:
    """With a grace time both secrets work, the old one until it is over."""
    created = await create(admin)
    body = {"grace_seconds": 600}
    rotated = (await admin.client.post(f"/admin/keys/{created['id']}/rotate", json=body)).json()
    now = keys.now()
    assert admin.accepts(rotated["secret"], now)
    assert (admin.accepts(created["secret"], now), admin.accepts(created["secret"], now + 700)) == (True, False)


async def test_change(admin: Admin) -> None:
    """What is named changes, the rest stays."""
    created = await create(admin, models=["a"])
    changed = (await admin.client.patch(f"/admin/keys/{created['id']}", json={"exempt": True})).json()
    assert ("dify", ["a"], True) == (changed["name"], changed["models"], changed["exempt"])


async def test_pages(admin: Admin) -> None:
    """A list comes in pages that a cursor joins."""
    made = [(await create(admin, f"k{i}"))["id"] for i in range(5)]
    found, after = [], None
    while True:
        params = {"limit": 2} if after is None else {"limit": 2, "after": after}
        page = (await admin.client.get("/admin/keys", params=params)).json()
        found += [record["id"] for record in page["data"]]
        after = page["next"]
        if after is None:
            break
    assert found[1:] == made


async def test_idempotency(admin: Admin) -> None:
    """A repeated POST makes one key, and does not store its secret for the repeat."""
    headers = {"idempotency-key": "abc"}
    first = await admin.client.post("/admin/keys", json={"name": "x"}, headers=headers)
    second = await admin.client.post("/admin/keys", json={"name": "x"}, headers=headers)
    other = await admin.client.post("/admin/keys", json={"name": "y"}, headers=headers)
    assert first.json()["id"] == second.json()["id"]
    assert ("secret" in second.json(), second.headers["idempotent-replayed"]) == (False, "true")
    assert (409, "Idempotency-Key") == (other.status_code, other.json()["error"]["param"])


async def test_a_failed_request_can_be_repeated(admin: Admin) -> None:
    """An idempotency key is not used up by a failure."""
    await create(admin, "x")
    headers = {"idempotency-key": "abc"}
    assert (await admin.client.post("/admin/keys", json={"name": "x"}, headers=headers)).status_code == 409
    assert (await admin.client.post("/admin/keys", json={"name": "x"}, headers=headers)).status_code == 409


BAD: list[tuple[str, str, Any, int, str | None]] = [
    ("POST", "/admin/keys", {}, 400, "name"),
    ("POST", "/admin/keys", {"name": ""}, 400, "name"),
    ("POST", "/admin/keys", {"name": "x" * 65}, 400, "name"),
    ("POST", "/admin/keys", {"name": "x", "modles": []}, 400, "modles"),
    ("POST", "/admin/keys", {"name": "x", "limits": {"requests_per_minute": 0}}, 400, "limits.requests_per_minute"),
    ("POST", "/admin/keys", {"name": "first"}, 409, "name"),
    ("POST", "/admin/keys", [], 400, "body"),
    ("GET", "/admin/keys?limit=0", None, 400, "limit"),
    ("GET", "/admin/keys?after=nope", None, 404, "id"),
    ("GET", "/admin/keys/nope", None, 404, "id"),
    ("PATCH", "/admin/keys/nope", {}, 404, "id"),
    ("POST", "/admin/keys/nope/rotate", None, 404, "id"),
    ("DELETE", "/admin/keys/nope", None, 405, None),
    ("GET", "/admin/nothing", None, 404, None),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "param"), BAD)
async def test_every_error_has_the_one_shape(
    admin: Admin, method: str, path: str, body: Any, status: int, param: str | None
) -> None:
    """Whatever is wrong, the error names its field in the one shape."""
    response = await admin.client.request(method, path, json=body)
    error = response.json()["error"]
    assert (status, {"message", "type", "param", "code", "src"}) == (response.status_code, set(error))
    assert ("gateway", param) == (error["src"], error["param"])


@pytest.mark.parametrize("header", [None, "Bearer wrong-0123456789abcdef", "Basic x", f"Bearer{ADMIN}"])
@pytest.mark.parametrize("path", ["/admin/keys", "/admin/nothing"])
async def test_nobody_gets_in_without_an_admin_key(admin: Admin, header: str | None, path: str) -> None:
    """Every path wants an admin key, also one that does not exist."""
    admin.client.headers.pop("authorization")
    headers = {"authorization": header} if header else {}
    response = await admin.client.get(path, headers=headers)
    assert (401, "invalid_api_key") == (response.status_code, response.json()["error"]["code"])


async def test_a_client_key_is_no_admin_key(admin: Admin) -> None:
    """Who may chat may not administer."""
    response = await admin.client.get("/admin/keys", headers={"authorization": "Bearer sk-client-0123456789"})
    assert response.status_code == 401


async def test_given_first_keys_are_made_sure_of_at_each_start(admin: Admin, tmp_path: Path) -> None:
    """A key from the environment works after each start, and is not made twice."""
    settings = Settings(data_dir=tmp_path, admin_key=ADMIN, client_key="sk-client-0123456789")
    [first] = await admin.store.list(10)
    await admin.store.disable(first["id"])
    assert await ensure_first_keys(admin.store, admin.admins, settings) == {}
    assert admin.accepts("sk-client-0123456789")
    assert len(await admin.store.list(10)) == 1


async def test_first_keys_are_made_once(tmp_path: Path) -> None:
    """Without given keys both are made at the first start, and none at the second."""
    settings = Settings(data_dir=tmp_path)

    async def publish(document: dict[str, Any]) -> None:
        del document

    for expected in ({"admin", "client"}, set()):
        async with sql.opened(settings) as engine:
            assert expected == set(await ensure_first_keys(KeyStore(engine, publish), AdminKeys(engine), settings))


@pytest.mark.parametrize("secret", ["short", "with blanks in it x", "äöü-0123456789abcdef"])
async def test_a_bad_given_key_is_named(tmp_path: Path, secret: str) -> None:
    """A key that is too easy, or cannot stand in a header, is refused by its setting's name."""
    settings = Settings(data_dir=tmp_path, client_key=secret)
    async with sql.opened(settings) as engine:

        async def publish(document: dict[str, Any]) -> None:
            del document

        with pytest.raises(SettingsInvalid, match="GATEWAY_CLIENT_KEY"):
            await ensure_first_keys(KeyStore(engine, publish), AdminKeys(engine), settings)


async def test_the_documentation_page_describes_the_routes(admin: Admin) -> None:
    """The OpenAPI document names the routes and asks for the key."""
    document = (await admin.client.get("/openapi.json")).json()
    assert "/admin/keys/{key_id}/rotate" in document["paths"]
    assert document["security"] == [{"AdminKey": []}]
