"""`/admin/people` and `/admin/aliases` over a real database, a real Valkey and a real log."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.admin.app import create_app
from gateway.admin.services import AdminServices
from gateway.audit.index import Index
from gateway.audit.writer import open_writer
from gateway.key_store import AdminKeys, KeyStore, ensure_first_keys
from gateway.keyword_services import KeywordServices
from gateway.people.directory import Directory, person_id
from gateway.people.ledger import Ledger
from gateway.people.services import PeopleServices
from gateway.relay.identity import Person
from gateway.settings import Settings
from gateway.state import sql
from policies.strikes import Rule
from tests.following import follow

ADMIN = "adm-0123456789abcdef"
ANN = person_id("t", "ann")


@pytest.fixture
def directory() -> Directory:
    """What the workers know."""
    return Directory()


@pytest.fixture
async def client(tmp_path: Path, redis: "Redis", directory: Directory) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(data_dir=tmp_path, admin_key=ADMIN, client_key="sk-client-0123456789")
    writer = open_writer(tmp_path / "audit", "control")
    ledger = Ledger(redis, Rule())
    await ledger.open("e1")
    async with sql.opened(settings) as engine:

        async def publish() -> None:
            directory.take(await people.register.document())

        async def nothing() -> None:
            """Nobody follows the keys here."""

        people = PeopleServices.over(engine, ledger, writer, publish)
        store, admins = KeyStore(engine, nothing), AdminKeys(engine)
        await ensure_first_keys(store, admins, settings)
        keywords = KeywordServices.over(engine, settings.keywords)
        app = create_app(AdminServices(store, admins, redis, keywords, people=people))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://admin/admin", headers=headers) as made:
            found = await made.post("/people/lookup", json={"tenant": "t", "user": "ann"})
            assert found.json() == {"id": ANN, "own_id": ANN}
            yield made
    writer.close()


async def done(client: httpx.AsyncClient, what: str, status: int = 200, **fields: Any) -> dict[str, Any]:
    """Do something about ann; return her page."""
    response = await client.post(f"/people/{ANN}/{what}", json={"reason": "a test", **fields})
    assert response.status_code == status, response.text
    person: dict[str, Any] = response.json()["person"]
    return person


async def test_suspend_and_lift(client: httpx.AsyncClient) -> None:
    """The answer is the person as they stand then; lists and page agree."""
    until = int(time.time()) + 3_600
    for fields, end in (({"until": until}, until), ({"until_lifted": True}, None)):
        standing = (await done(client, "suspend", **fields))["standing"]
        assert (standing["suspended"], standing["suspended_until"], standing["why"]) == (True, end, "by_hand")
    assert [one["id"] for one in (await client.get("/people", params={"state": "suspended"})).json()["data"]] == [ANN]
    assert not (await done(client, "lift"))["standing"]["suspended"]
    assert (await client.get("/people", params={"state": "suspended"})).json() == {"data": [], "next": None}
    hours = (await done(client, "suspend", hours=0.5))["standing"]["suspended_until"]
    assert hours == pytest.approx(time.time() + 1_800, abs=5)


async def test_ban_and_exempt(client: httpx.AsyncClient, directory: Directory) -> None:
    """The workers know at once, and the page tells who did it and why."""
    ban = (await done(client, "ban", hours=1))["ban"]
    assert (ban["reason"], ban["made_by"]) == ("a test", "first")
    assert directory.ban(ANN, time.time()) is not None
    await done(client, "exempt")
    assert directory.exempt(ANN, time.time())
    shown = (await client.get(f"/people/{ANN}")).json()
    assert (shown["user"], shown["exemption"]["until"]) == ("ann", None)
    await done(client, "unban")
    await done(client, "unexempt")
    assert directory.ban(ANN, time.time()) is None
    assert not directory.exempt(ANN, time.time())


async def test_somebody_who_was_never_seen_can_be_banned(client: httpx.AsyncClient, directory: Directory) -> None:
    """A lookup knows anybody."""
    found = (await client.post("/people/lookup", json={"user": "zoe"})).json()["id"]
    assert found == person_id("default", "zoe")
    assert (await client.post(f"/people/{found}/ban", json={"reason": "known elsewhere"})).status_code == 200
    assert directory.ban(found, time.time()) is not None


async def test_a_repeat_does_it_once(client: httpx.AsyncClient) -> None:
    """By Idempotency-Key; another request under the same key is refused."""
    headers = {"idempotency-key": "k1"}
    first = await client.post(f"/people/{ANN}/ban", json={"reason": "r"}, headers=headers)
    second = await client.post(f"/people/{ANN}/ban", json={"reason": "r"}, headers=headers)
    other = await client.post(f"/people/{ANN}/exempt", json={"reason": "r"}, headers=headers)
    assert (first.json(), second.headers["idempotent-replayed"]) == (second.json(), "true")
    assert other.status_code == 409
    assert len((await client.get(f"/people/{ANN}")).json()["bans"]) == 1


async def test_with_the_state_server_away_it_is_accepted(client: httpx.AsyncClient) -> None:
    """202: on record, and done as soon as it is back; who is suspended cannot be told meanwhile."""
    app = client._transport.app  # type: ignore[attr-defined]
    services = app.state.services
    away = Ledger(Redis.from_url("unix:///nonexistent/socket"), Rule())
    measures = services.people.measures
    people = PeopleServices.over(measures.engine, away, measures.journal.chain, measures.publish)
    app.state.services = replace(services, people=people)
    response = await client.post(f"/people/{ANN}/suspend", json={"reason": "r", "until_lifted": True})
    assert (response.status_code, response.json()["applied"]) == (202, False)
    refused = await client.get("/people", params={"state": "suspended"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "state_unavailable")
    assert (await client.get("/people")).json()["data"][0]["standing"] is None


BAD: list[tuple[str, str, Any, int, str | None]] = [
    ("POST", f"/people/{ANN}/suspend", {"reason": "r"}, 400, "hours"),
    ("POST", f"/people/{ANN}/suspend", {"hours": 1}, 400, "reason"),
    ("POST", f"/people/{ANN}/suspend", {"reason": " ", "hours": 1}, 400, "reason"),
    ("POST", f"/people/{ANN}/suspend", {"reason": "r", "until": 5}, 400, "until"),
    ("POST", f"/people/{ANN}/suspend", {"reason": "r", "until": 5, "hours": 1}, 400, "until"),
    ("POST", f"/people/{ANN}/ban", {"reason": "r", "hours": -1}, 400, "hours"),
    ("POST", f"/people/{ANN}/ban", {"reason": "r", "who": "x"}, 400, "who"),
    ("POST", f"/people/{ANN}/unban", {"reason": "r"}, 409, "id"),
    ("POST", f"/people/{ANN}/lift", {"reason": "r"}, 409, "id"),
    ("POST", f"/people/{ANN}/ban", {"reason": "\u200b"}, 400, "reason"),
    ("POST", f"/people/{ANN}/ban", {"reason": "\u3164\u2800"}, 400, "reason"),
    ("POST", "/people/ffffffffffffffffffffffff/lift", {"reason": "r"}, 404, "id"),
    ("POST", "/people/nobody/lift", {"reason": "r"}, 404, "id"),
    ("POST", f"/people/{ANN}/ban", {"reason": "r\0"}, 400, "reason"),
    ("POST", f"/people/{ANN}/ban", {"reason": "r", "until": 253_402_300_799}, 400, "until"),
    ("GET", "/people/nobody", None, 404, "id"),
    ("GET", "/people/%00", None, 404, "id"),
    ("GET", "/people/nobody/history", None, 404, "id"),
    ("GET", "/people/ffffffffffffffffffffffff/history", None, 404, "id"),
    ("GET", "/people/nobody/events", None, 404, "id"),
    ("GET", f"/people/{ANN}/events?after=x", None, 400, "after"),
    ("GET", "/people?q=%00", None, 400, "q"),
    ("GET", "/people?after=%00", None, 400, "after"),
    ("GET", "/aliases?person=%00", None, 400, "person"),
    ("DELETE", "/aliases/%00?reason=r", None, 404, "id"),
    ("GET", "/people?state=angry", None, 400, "state"),
    ("GET", "/people?limit=0", None, 400, "limit"),
    ("GET", "/people?q=", None, 400, "q"),
    ("GET", "/people/export?format=xls", None, 400, "format"),
    ("POST", "/people/lookup", {"user": "unknown"}, 400, "user"),
    ("POST", "/aliases", {"tenant": "t", "alias": "ann", "user": "ann", "reason": "r"}, 400, "alias"),
    ("POST", "/aliases", {"tenant": "t", "alias": "bob", "user": "ann"}, 400, "reason"),
    ("DELETE", "/aliases/nobody?reason=r", None, 404, "id"),
    ("DELETE", "/aliases/nobody", None, 400, "reason"),
    ("POST", "/aliases/import?reason=r", None, 400, "body"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "param"), BAD)
async def test_errors_name_the_field(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int, param: str | None
) -> None:
    """Every refusal has the one shape, and says what of the request is to blame."""
    response = await client.request(method, path, json=body) if body is not None else await client.request(method, path)
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["src"]) == (status, param, "gateway"), error["message"]


async def test_what_happened_to_a_person(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """On their page, and page by page; the newest first."""
    await done(client, "ban")
    await done(client, "unban", reason="enough")
    engine = client._transport.app.state.services.people.measures.engine  # type: ignore[attr-defined]
    await follow(engine, tmp_path / "audit", Index())
    shown = (await client.get(f"/people/{ANN}")).json()
    assert [(one["kind"], one["by"], one["reason"]) for one in shown["events"]] == [
        ("unban", "first", "enough"),
        ("ban", "first", "a test"),
    ]
    first = (await client.get(f"/people/{ANN}/events", params={"limit": 1})).json()
    rest = (await client.get(f"/people/{ANN}/events", params={"limit": 1, "after": first["next"]})).json()
    assert (first["data"] + rest["data"], rest["next"]) == (shown["events"], None)


async def test_aliases(client: httpx.AsyncClient, directory: Directory) -> None:
    """Entered, listed, imported, removed; what would be a chain is a conflict."""
    asked = {"tenant": "t", "alias": "annie", "user": "ann", "reason": "two apps"}
    made = await client.post("/aliases", json=asked)
    again = await client.post("/aliases", json=asked)
    assert (made.status_code, again.status_code, made.json()) == (201, 200, again.json())
    chain = await client.post("/aliases", json={**asked, "alias": "bob", "user": "annie"})
    assert (chain.status_code, chain.json()["error"]["param"]) == (409, "user")
    taken = await client.post("/aliases/import", params={"reason": "r"}, content=b"t,a1,ann\nt,a2,annie\n")
    assert (taken.json()["added"], taken.json()["errors"][0]["line"]) == (1, 2)
    page = (await client.get("/aliases", params={"limit": 1, "person": ANN})).json()
    rest = (await client.get("/aliases", params={"after": page["next"]})).json()
    assert {one["alias_name"] for one in page["data"] + rest["data"]} == {"annie", "a1"}
    alias = person_id("t", "annie")
    assert (await client.post("/people/lookup", json={"tenant": "t", "user": "annie"})).json()["id"] == ANN
    assert (await client.get(f"/people/{alias}")).json()["id"] == ANN
    assert (await client.delete(f"/aliases/{alias}", params={"reason": "r"})).json()["alias"] == alias
    assert [directory.id_of(Person("t", name)) for name in ("annie", "a1")] == [alias, ANN]


async def test_the_table(client: httpx.AsyncClient) -> None:
    """A file that a spreadsheet opens."""
    response = await client.get("/people/export", params={"q": "an", "format": "csv"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="people.csv"' in response.headers["content-disposition"]
    assert response.content.decode("utf-8-sig").splitlines()[1].startswith(f"{ANN},t,ann,")
