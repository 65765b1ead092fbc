"""`/admin/admins`."""

from typing import Any

import pytest

from gateway.admin.roles import Role
from tests.gateway.admin.conftest import FIRST_SECRET, Api


async def make(api: Api, **fields: Any) -> dict[str, Any]:
    response = await api.ask("POST", "/admin/admins", json={"name": "bob", "role": "admin", **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def test_an_admin_gets_in_by_the_secret_that_is_shown_once(api: Api) -> None:
    """And is listed with who made them, what they may, and when they came."""
    made = await make(api, role="viewer")
    assert (await api.ask("GET", "/admin/admins", made["secret"])).status_code == 200
    shown = (await api.ask("GET", f"/admin/admins/{made['id']}")).json()
    assert ("bob", "viewer", "first") == (shown["name"], shown["role"], shown["created_by"])
    assert shown["last_used"] is not None
    assert made["secret"].startswith(shown["prefix"].partition("…")[0])
    listed = await api.ask("GET", "/admin/admins", Role.VIEWER)
    assert made["secret"] not in listed.text
    assert "digest" not in listed.text


async def test_change_rotate_disable_enable(api: Api) -> None:
    """Each counts at the next request."""
    made = await make(api)
    path = f"/admin/admins/{made['id']}"
    changed = (await api.ask("PATCH", path, json={"role": "moderator", "name": "rob"})).json()
    assert ("rob", "moderator", None) == (changed["name"], changed["role"], changed["expires_at"])
    assert (await api.ask("POST", "/admin/keys", made["secret"], json={"name": "x"})).status_code == 403
    rotated = (await api.ask("POST", f"{path}/rotate")).json()["secret"]
    assert (await api.ask("GET", path, made["secret"])).status_code == 401
    assert (await api.ask("GET", path, rotated)).status_code == 200
    assert (await api.ask("POST", f"{path}/disable")).json()["disabled_at"]
    assert (await api.ask("GET", path, rotated)).status_code == 401
    await api.ask("POST", f"{path}/enable")
    assert (await api.ask("GET", path, rotated)).status_code == 200


async def test_an_expired_admin_is_not_let_in(api: Api) -> None:
    """As if the key were wrong."""
    made = await make(api, expires_at=1)
    response = await api.ask("GET", "/admin/keys", made["secret"])
    assert (401, "invalid_api_key") == (response.status_code, response.json()["error"]["code"])


@pytest.mark.parametrize(
    ("method", "path", "body", "param"),
    [
        ("POST", "/disable", None, "id"),
        ("PATCH", "", {"role": "moderator"}, "role"),
        ("PATCH", "", {"expires_at": 4_000_000_000}, "expires_at"),
    ],
)
async def test_the_last_admin_stays(api: Api, method: str, path: str, body: Any, param: str) -> None:
    """Until there is another who may do everything and does not expire."""
    [first] = [one for one in (await api.ask("GET", "/admin/admins")).json()["data"] if one["name"] == "first"]
    path = f"/admin/admins/{first['id']}{path}"
    await make(api, name="guest", expires_at=4_000_000_000)
    refused = await api.ask(method, path, json=body)
    error = refused.json()["error"]
    assert (409, "last_admin", param) == (refused.status_code, error["code"], error["param"])
    await make(api)
    assert (await api.ask(method, path, json=body)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "param"),
    [
        ("POST", "", {"name": "first", "role": "admin"}, 409, "name"),
        ("POST", "", {"name": "x"}, 400, "role"),
        ("POST", "", {"name": "x", "role": "king"}, 400, "role"),
        ("POST", "", {"name": "x", "role": "admin", "expires_at": -1}, 400, "expires_at"),
        ("POST", "", {"name": "a\u202e", "role": "admin"}, 400, "name"),
        ("PATCH", "/adm_nope", {"role": "admin"}, 404, "id"),
        ("GET", "/adm_nope", None, 404, "id"),
        ("GET", "?after=adm_nope", None, 400, "after"),
    ],
)
async def test_errors_name_the_field(api: Api, method: str, path: str, body: Any, status: int, param: str) -> None:
    """In the one shape."""
    response = await api.ask(method, f"/admin/admins{path}", json=body)
    assert (status, param) == (response.status_code, response.json()["error"]["param"]), response.text


async def test_a_repeated_request_makes_one_admin_and_shows_no_secret_again(api: Api) -> None:
    """By its Idempotency-Key."""
    options: dict[str, Any] = {"json": {"name": "bob", "role": "viewer"}, "headers": {"idempotency-key": "a"}}
    first, second = [await api.ask("POST", "/admin/admins", **options) for _ in range(2)]
    assert (first.json()["id"], True, False) == (
        second.json()["id"],
        "secret" in first.json(),
        "secret" in second.json(),
    )


async def test_pages(api: Api) -> None:
    """A cursor joins them."""
    page = (await api.ask("GET", "/admin/admins?limit=2")).json()
    rest = (await api.ask("GET", f"/admin/admins?after={page['next']}")).json()
    assert [one["name"] for one in page["data"] + rest["data"]] == ["first", "a viewer", "a moderator"]
    assert FIRST_SECRET not in str(page)


@pytest.mark.parametrize("name", ["gateway", "shell:root"])
async def test_nobody_goes_by_a_name_of_the_log(api: Api, name: str) -> None:
    """Records of the gateway itself and of the shell carry those."""
    made = await api.ask("POST", "/admin/admins", json={"name": name})
    assert (400, "name") == (made.status_code, made.json()["error"]["param"])
