"""Who gets in, and what is on record of what they do."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import ip_network

import pytest

from gateway.admin import gate
from gateway.admin.recorder import DENIED_PER_SECOND
from gateway.admin.roles import Role
from gateway.keys import now
from gateway.proxies import Proxies
from tests.gateway.admin.conftest import Api

CREATE = "POST /admin/keys"


async def test_a_change_is_on_record_before_and_after(api: Api) -> None:
    """Who, what, with which fields, from where; then how it ended."""
    response = await api.ask("POST", "/admin/keys", json={"name": "dify"}, headers={"idempotency-key": "k1"})
    assert response.status_code == 201
    asked, done = api.records.of(CREATE)
    assert (asked.admin, asked.role, asked.address, asked.outcome) == ("first", "admin", "10.1.1.1", "")
    assert asked.details == {"body": {"name": "dify"}, "idempotency_key": "k1"}
    assert (done.id, done.outcome, done.status, done.details) == (asked.id, "ok", 201, {})
    assert response.json()["secret"] not in str(api.records.kept)
    key_id = response.json()["id"]
    await api.ask("POST", f"/admin/keys/{key_id}/disable")
    assert [one.target for one in api.records.of("POST /admin/keys/{key_id}/disable")] == [key_id, key_id]


async def test_the_record_is_there_before_the_change(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the end of it before the answer."""
    seen: list[int] = []

    async def looked(key_id: str) -> dict[str, str]:
        seen.append(len(api.records.kept))
        return {"id": key_id}

    monkeypatch.setattr(api.keys, "disable", looked)
    await api.ask("POST", "/admin/keys/k/disable")
    assert (seen, len(api.records.kept)) == ([1], 2)


async def test_what_cannot_be_recorded_is_not_done(api: Api) -> None:
    """503, and nothing has changed; reading goes on."""
    api.records.broken = True
    response = await api.ask("POST", "/admin/keys", json={"name": "dify"})
    assert (503, "audit_unavailable") == (response.status_code, response.json()["error"]["code"])
    assert ["first"] == [key["name"] for key in (await api.ask("GET", "/admin/keys")).json()["data"]]


async def test_a_done_thing_stays_done_when_its_end_cannot_be_recorded(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says what happened."""

    async def broken_meanwhile(key_id: str) -> dict[str, str]:
        api.records.broken = True
        return {"id": key_id}

    monkeypatch.setattr(api.keys, "disable", broken_meanwhile)
    assert (await api.ask("POST", "/admin/keys/k/disable")).status_code == 200
    assert [one.outcome for one in api.records.kept] == [""]


async def test_reading_and_trials_leave_no_record(api: Api) -> None:
    """They change nothing."""
    await api.ask("GET", "/admin/keys", Role.VIEWER)
    response = await api.ask("POST", "/admin/keywords/test", Role.VIEWER, json={"text": "你好", "version": "draft"})
    assert (200, []) == (response.status_code, api.records.kept)


async def test_what_failed_says_so(api: Api) -> None:
    """A refused change is on record with its status; so is one to a route that does not exist."""
    await api.ask("POST", "/admin/keys", json={"nam": "x"})
    await api.ask("POST", "/admin/keys/nope/disable")
    await api.ask("PUT", "/admin/nothing")
    ends = [(one.action, one.outcome, one.status) for one in api.records.kept if one.outcome]
    assert ends == [
        (CREATE, "failed", 400),
        ("POST /admin/keys/{key_id}/disable", "failed", 404),
        ("PUT /admin/nothing", "failed", 404),
    ]


async def test_a_fault_of_ours_is_on_record(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a 500."""

    async def broken(key_id: str) -> None:
        raise ValueError(key_id)

    monkeypatch.setattr(api.keys, "disable", broken)
    assert (await api.ask("POST", "/admin/keys/k/disable")).json()["error"]["code"] == "internal_error"
    assert [one.status for one in api.records.kept] == [0, 500]


async def test_a_file_is_on_record_by_its_digest(api: Api) -> None:
    """And by its name; the file itself arrives."""
    path = "/admin/keywords/import?name=words.txt&risk=A1a"
    response = await api.ask("POST", path, Role.MODERATOR, content="毒药\n".encode())
    assert response.status_code == 200, response.text
    details = api.records.kept[0].details
    assert (details["query"]["name"], details["body"]["bytes"]) == ("words.txt", 7)


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        (Role.VIEWER, "GET", "/admin/keys", 200),
        (Role.VIEWER, "POST", "/admin/keys", 403),
        (Role.VIEWER, "POST", "/admin/keywords/entries", 403),
        (Role.MODERATOR, "POST", "/admin/keywords/entries", 201),
        (Role.MODERATOR, "POST", "/admin/keywords/versions/1/publish", 403),
        (Role.MODERATOR, "POST", "/admin/admins", 403),
        (Role.VIEWER, "GET", "/admin/audit?texts=true", 403),
        (Role.VIEWER, "GET", "/admin/appeals", 403),
    ],
)
async def test_roles_are_checked(api: Api, role: Role, method: str, path: str, status: int) -> None:
    """Before anything else, and a refusal says which role is missing."""
    response = await api.ask(method, path, role, json={"term": "毒药", "risk": "A1a"} if method == "POST" else None)
    assert response.status_code == status, response.text
    if status == 403:
        error = response.json()["error"]
        assert error["code"] == "role_missing"
        assert f"yours is `{role}`" in error["message"]
        [denied] = api.records.kept
        assert (denied.admin, denied.outcome, denied.status) == (f"a {role}", "denied", 403)


async def test_strangers_are_on_record_where_they_would_change_something(api: Api) -> None:
    """A wrong secret is not; whose it was is, where it is known."""
    await api.ask("GET", "/admin/keys", "adm-wrong-0123456789abcdef")
    await api.ask("POST", "/admin/keys", "adm-wrong-0123456789abcdef")
    await api.ask("POST", "/admin/keys", None)
    [moderator] = [one for one in await api.admins.list(9) if one["role"] == "moderator"]
    await api.admins.change(moderator["id"], {"expires_at": now() - 1})
    await api.ask("POST", "/admin/keys", Role.MODERATOR)
    assert [(one.admin, one.status) for one in api.records.kept] == [("", 401), ("", 401), ("a moderator", 401)]
    assert "adm-wrong" not in str(api.records.kept)


@pytest.mark.parametrize("host", ["admin/docs?", "admin/healthz#", "admin/admin/keywords/test?"])
async def test_a_host_header_makes_no_other_path(api: Api, host: str) -> None:
    """What counts is the path that the router goes by."""
    assert (await api.ask("GET", "/admin/keys", None, headers={"host": host})).status_code == 401
    made = await api.ask("POST", "/admin/keys", Role.VIEWER, headers={"host": host}, json={"name": "x"})
    assert made.status_code == 403


async def test_a_flood_of_strangers_leaves_few_records(api: Api) -> None:
    """Five a second."""
    await asyncio.gather(*(api.ask("POST", "/admin/keys", None) for _ in range(40)))
    assert len(api.records.kept) <= 3 * DENIED_PER_SECOND


async def test_the_address_is_that_of_the_client_behind_our_proxy(api: Api) -> None:
    """Nobody else's word is taken."""
    services = api.app.state.services
    object.__setattr__(services, "proxies", Proxies([ip_network("10.0.0.0/8")]))
    headers = {"x-forwarded-for": "6.6.6.6, 192.0.2.7"}
    await api.ask("POST", "/admin/keys/x/disable", headers=headers)
    await api.ask("POST", "/admin/keys/x/disable", headers=headers, peer=("198.51.100.3", 1))
    assert [one.address for one in api.records.kept] == ["192.0.2.7"] * 2 + ["198.51.100.3"] * 2


async def test_a_body_without_an_end_is_not_waited_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that is too large, whatever it said of its length."""
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(5)

    response = await api.ask("POST", "/admin/keys", content=slow())
    assert (408, "request_timeout") == (response.status_code, response.json()["error"]["code"])
    assert api.records.kept == []


async def test_a_body_is_bounded_without_a_length(api: Api) -> None:
    """No more than the bound is kept."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1_000_000

    response = await api.ask("POST", "/admin/keys", content=endless())
    assert (400, "body_too_large") == (response.status_code, response.json()["error"]["code"])


async def test_two_requests_at_once_do_not_mix(api: Api) -> None:
    """Each has its own records."""
    await asyncio.gather(*(api.ask("POST", "/admin/keys", json={"name": f"k{i}"}) for i in range(5)))
    asked = {one.id: one.details["body"]["name"] for one in api.records.kept if not one.outcome}
    assert sorted(asked.values()) == [f"k{i}" for i in range(5)]
    assert {one.id for one in api.records.kept if one.outcome} == set(asked)
