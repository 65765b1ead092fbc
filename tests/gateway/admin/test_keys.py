"""`/admin/keys` over a real database and a real Valkey."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from sqlalchemy import text

from gateway import idempotency, keys
from gateway.admin.app import create_app
from gateway.admin.services import AdminServices
from gateway.admin_store import AdminKeys
from gateway.key_store import KeyStore, ensure_first_keys
from gateway.keys import KeyRing
from gateway.keyword_services import KeywordServices
from gateway.settings import Settings
from gateway.state import board, sql
from gateway.state.errors import DatabaseUnavailable
from gateway.tasks import ended

ADMIN = "adm-0123456789abcdef"


class Admin:
    """The API and what it publishes."""

    def __init__(self, client: httpx.AsyncClient, store: KeyStore, admins: AdminKeys) -> None:
        self.client = client
        self.store = store
        self.admins = admins
        self.published: dict[str, Any] = {}
        self.use: Callable[[Any], None] = lambda _: None
        """Exchange the state server."""

    def accepts(self, secret: str, now: float = 0.0) -> bool:
        try:
            return bool(KeyRing(self.published).caller(f"Bearer {secret}".encode(), now))
        except keys.KeyRefused:
            return False


@pytest.fixture
async def admin(tmp_path: Path, redis: "Redis") -> AsyncIterator[Admin]:
    settings = Settings(data_dir=tmp_path, admin_key=ADMIN, client_key="sk-client-0123456789")
    async with sql.opened(settings) as engine:

        async def publish() -> None:
            made.published = await store.document()

        store, admins = KeyStore(engine, publish), AdminKeys(engine)
        app = create_app(AdminServices(store, admins, redis, KeywordServices.over(engine, settings.keywords)))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers=headers) as client:
            made = Admin(client, store, admins)
            made.use = lambda other: setattr(app.state, "services", replace(app.state.services, redis=other))
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
    ("GET", "/admin/keys?after=nope", None, 400, "after"),
    ("POST", "/admin/keys", {"name": "x", "expires_at": 10**23}, 400, "expires_at"),
    ("POST", "/admin/keys", {"name": "x", "expires_at": -1}, 400, "expires_at"),
    ("POST", "/admin/keys", {"name": "x", "limits": {"tokens_per_minute": 10**23}}, 400, "limits.tokens_per_minute"),
    ("POST", "/admin/keys", {"name": "a\nb"}, 400, "name"),
    ("POST", "/admin/keys", {"name": " a"}, 400, "name"),
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


async def ask(admin: Admin, content: bytes, **headers: str) -> dict[str, Any]:
    response = await admin.client.post("/admin/keys", content=content, headers=headers)
    assert response.status_code == 400
    error: dict[str, Any] = response.json()["error"]
    return error


async def test_bad_json_is_no_field(admin: Admin) -> None:
    """Where the body cannot be read there is no field to name."""
    error = await ask(admin, b'{"name": ', **{"content-type": "application/json"})
    assert ("invalid_json", None) == (error["code"], error["param"])


async def test_a_missing_content_type_is_named(admin: Admin) -> None:
    """A body that does not say that it is JSON is told how to."""
    for headers in ({}, {"content-type": "text/plain"}):
        error = await ask(admin, b'{"name": "x"}', **headers)
        assert ("Content-Type", True) == (error["param"], "Content-Type: application/json" in error["message"])


async def test_a_misspelt_field_is_named_beside_the_missing_one(admin: Admin) -> None:
    """Who writes `nam` is told of both, and not only that `name` is missing."""
    error = await ask(admin, b'{"nam": "x"}', **{"content-type": "application/json"})
    assert ("name", True) == (error["param"], "`nam`" in error["message"])


async def test_a_method_that_is_not_allowed_has_its_code(admin: Admin) -> None:
    """As on the client port."""
    error = (await admin.client.delete("/admin/keys/nope")).json()["error"]
    assert ("method_not_allowed", True) == (error["code"], "DELETE" in error["message"])


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


GIVEN = "sk-client-0123456789"


async def start_again(admin: Admin, tmp_path: Path) -> None:
    """Do what each start does with the given keys."""
    settings = Settings(data_dir=tmp_path, admin_key=ADMIN, client_key=GIVEN)
    assert await ensure_first_keys(admin.store, admin.admins, settings) == {}
    assert len(await admin.store.list(10)) == 1


async def test_a_given_key_is_made_once(admin: Admin, tmp_path: Path) -> None:
    """A key from the environment works after the first start, and is not made twice."""
    await start_again(admin, tmp_path)
    assert admin.accepts(GIVEN)


async def test_a_given_key_that_was_disabled_stays_so(admin: Admin, tmp_path: Path) -> None:
    """A start does not bring back what a person has turned off."""
    [first] = await admin.store.list(10)
    await admin.store.disable(first["id"])
    await start_again(admin, tmp_path)
    assert not admin.accepts(GIVEN)
    await admin.store.enable(first["id"])
    assert admin.accepts(GIVEN)


@pytest.mark.parametrize("grace", [0, 600])
async def test_a_given_key_that_was_rotated_stays_refused(admin: Admin, tmp_path: Path, grace: int) -> None:
    """A secret that was rotated away, once or longer ago, is made no key again."""
    [first] = await admin.store.list(10)
    for _ in range(2):
        _, secret = await admin.store.rotate(first["id"], grace)
        await start_again(admin, tmp_path)
    later = keys.now() + grace + 1
    assert (admin.accepts(GIVEN, later), admin.accepts(secret, later)) == (False, True)


async def test_every_change_has_a_generation_of_its_own(admin: Admin) -> None:
    """Whoever follows the keys sees each change, in whatever process it was made."""
    seen = [await admin.store.generation()]
    record, _ = await admin.store.create({"name": "x"})
    seen.append(await admin.store.generation())
    for change in (admin.store.disable, admin.store.enable, admin.store.rotate):
        await change(record["id"])
        seen.append(await admin.store.generation())
    await admin.store.change(record["id"], {"exempt": True})
    seen.append(await admin.store.generation())
    assert len(set(seen)) == len(seen)
    await admin.store.get(record["id"])
    assert seen[-1] == await admin.store.generation()


async def test_a_change_elsewhere_is_published(admin: Admin, tmp_path: Path, redis: "Redis") -> None:
    """What the command line changed while it could tell nobody counts as soon as control looks."""
    published = board.Board(redis)
    publisher = board.Publisher(published)
    await publisher.follow(board.KEYS, admin.store)
    keeping = asyncio.create_task(publisher.run())

    async def nobody() -> None:
        """Tell nobody."""

    async with sql.opened(Settings(data_dir=tmp_path)) as engine:
        [first] = await admin.store.list(10)
        await KeyStore(engine, nobody).disable(first["id"])
    while (found := await published.read(board.KEYS)) is None or found[1]:
        await asyncio.sleep(0.05)
    await ended([keeping])


class Away:
    """A state server that hangs or refuses, after *calls* commands."""

    def __init__(self, redis: "Redis", error: Exception | None, calls: int = 0) -> None:
        self.redis = redis
        self.error = error
        self.calls = calls

    def __getattr__(self, name: str) -> Any:
        async def command(*arguments: Any, **options: Any) -> Any:
            self.calls -= 1
            if self.calls >= 0:
                return await getattr(self.redis, name)(*arguments, **options)
            if self.error is not None:
                raise self.error
            return await asyncio.Event().wait()

        return command


FULL = ResponseError("MISCONF Errors writing to the AOF file: No space left on device")


@pytest.mark.parametrize("error", [None, FULL, RedisTimeoutError("Timeout reading")])
async def test_an_idempotency_key_that_cannot_be_kept_is_a_503(
    admin: Admin, redis: "Redis", monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """With the state server hanging or full the request is refused with the reason, and nothing was done."""
    monkeypatch.setattr(idempotency, "STATE_SECONDS", 0.05)
    admin.use(Away(redis, error))
    response = await admin.client.post("/admin/keys", json={"name": "x"}, headers={"idempotency-key": "a"})
    found = response.json()["error"]
    assert (503, "state_unavailable", "Idempotency-Key") == (response.status_code, found["code"], found["param"])
    assert len(await admin.store.list(10)) == 1


@pytest.mark.parametrize("error", [None, FULL])
async def test_a_secret_is_not_lost_with_the_state_server(
    admin: Admin, redis: "Redis", monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    """What was done is answered, though a repeat will not be known as one."""
    monkeypatch.setattr(idempotency, "STATE_SECONDS", 0.05)
    admin.use(Away(redis, error, calls=1))
    response = await admin.client.post("/admin/keys", json={"name": "x"}, headers={"idempotency-key": "a"})
    assert (201, True) == (response.status_code, admin.accepts(response.json()["secret"]))


async def test_a_full_disk_is_a_503(admin: Admin) -> None:
    """The reason is the database's own word, not a fault of the gateway."""
    async with admin.store.engine.begin() as connection:
        await connection.execute(text("PRAGMA query_only = ON"))  # the nearest to a disk that takes nothing more
    response = await admin.client.post("/admin/keys", json={"name": "x"})
    found = response.json()["error"]
    assert (503, "database_unavailable", True) == (response.status_code, found["code"], "readonly" in found["message"])


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[31mb", "a\u202eb", "a\nb"])
@pytest.mark.parametrize("field", ["name", "tenant"])
async def test_names_are_printable(admin: Admin, field: str, name: str) -> None:
    """What would change how a terminal or a log shows other names is no name."""
    response = await admin.client.post("/admin/keys", json={"name": "x", field: name})
    assert (400, field) == (response.status_code, response.json()["error"]["param"])


async def test_first_keys_are_made_once(tmp_path: Path) -> None:
    """Without given keys both are made at the first start, and none at the second."""
    settings = Settings(data_dir=tmp_path)

    async def publish() -> None:
        """Tell nobody."""

    for expected in ({"admin", "client"}, set()):
        async with sql.opened(settings) as engine:
            assert expected == set(await ensure_first_keys(KeyStore(engine, publish), AdminKeys(engine), settings))


async def test_another_given_client_key_leaves_the_first(admin: Admin, tmp_path: Path) -> None:
    """Both work until one is disabled; another admin key takes the place of the first."""
    settings = Settings(data_dir=tmp_path, admin_key="adm-another-0123456789", client_key="sk-another-0123456789")
    await ensure_first_keys(admin.store, admin.admins, settings)
    assert admin.accepts("sk-client-0123456789")
    assert admin.accepts("sk-another-0123456789")
    assert (None, ("first", "admin", False)) == (
        await admin.admins.find(ADMIN),
        await admin.admins.find("adm-another-0123456789"),
    )


async def test_a_database_that_cannot_be_opened_names_its_setting(tmp_path: Path) -> None:
    """One line says so, without the statement that failed."""
    settings = Settings(data_dir=tmp_path, database_url=f"sqlite:///{tmp_path}/no/x.sqlite3")
    with pytest.raises(DatabaseUnavailable, match=r"^database_url: the database cannot be opened: .*unable to open"):
        await sql.opened(settings).__aenter__()
    for thread in threading.enumerate():  # aiosqlite's has a last word for the loop, which must still be there
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


async def test_the_documentation_page_describes_the_routes(admin: Admin) -> None:
    """The OpenAPI document names the routes and asks for the key."""
    document = (await admin.client.get("/openapi.json")).json()
    assert "/admin/keys/{key_id}/rotate" in document["paths"]
    assert document["security"] == [{"AdminKey": []}]


async def test_without_labels_only_by_an_agreement(admin: Admin) -> None:
    """A key may do without labels where it carries the agreement's id; taking that away is refused."""
    refused = await admin.client.post("/admin/keys", json={"name": "a", "content_label": "none"})
    assert (400, "label_agreement") == (refused.status_code, refused.json()["error"]["param"])
    made = await create(admin, content_label="none", label_agreement="A-7")
    assert ("none", "A-7") == (made["content_label"], made["label_agreement"])
    assert ["none"] == [c["content_label"] for c in admin.published.values() if c["key_id"] == made["id"]]
    taken = await admin.client.patch(f"/admin/keys/{made['id']}", json={"label_agreement": None})
    assert 400 == taken.status_code
    changed = await admin.client.patch(
        f"/admin/keys/{made['id']}", json={"content_label": "suffix", "label_agreement": None}
    )
    assert ("suffix", None) == (changed.json()["content_label"], changed.json()["label_agreement"])


async def test_a_key_has_a_priority(admin: Admin) -> None:
    """Normal, unless it is said; the workers are told; no other word than the three is taken."""
    made = await create(admin)
    assert "normal" == made["priority"]
    wrong = await admin.client.patch(f"/admin/keys/{made['id']}", json={"priority": "urgent"})
    assert (400, "priority") == (wrong.status_code, wrong.json()["error"]["param"])
    changed = await admin.client.patch(f"/admin/keys/{made['id']}", json={"priority": "low"})
    assert "low" == changed.json()["priority"]
    assert ["low"] == [c["priority"] for c in admin.published.values() if c["key_id"] == made["id"]]


async def test_a_key_that_indexes_documents(admin: Admin) -> None:
    """Its inputs are only observed, by its own field; no other word than the two is taken."""
    made = await create(admin)
    assert "block" == made["embeddings_guard"]
    wrong = await admin.client.patch(f"/admin/keys/{made['id']}", json={"embeddings_guard": "off"})
    assert (400, "embeddings_guard") == (wrong.status_code, wrong.json()["error"]["param"])
    changed = await admin.client.patch(f"/admin/keys/{made['id']}", json={"embeddings_guard": "observe"})
    assert "observe" == changed.json()["embeddings_guard"]
    assert ["observe"] == [c["embeddings_guard"] for c in admin.published.values() if c["key_id"] == made["id"]]
