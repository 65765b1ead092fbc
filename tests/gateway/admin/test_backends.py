"""`/admin/backends` over a fleet of real processes."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis.asyncio import Redis

from gateway.admin import backends
from gateway.admin.roles import Role
from gateway.cli_backends import _failed, page
from gateway.fleet.deployments import Deployments
from gateway.fleet.group import id_of
from gateway.fleet.settings_again import read_again
from gateway.fleet.store import DeploymentStore
from gateway.hidden import HIDDEN
from tests.backends.running import eventually
from tests.gateway.admin.conftest import Api
from tests.gateway.fleet.conftest import NODE, Machine, running_machine

PATH = "/admin/backends"
FILED, ADDED = "/models/filed/", "added"


class House:
    """The API, and the fleet behind it with one deployment from the settings file."""

    def __init__(self, api: Api, machine: Machine, file: Path) -> None:
        self.api = api
        self.machine = machine
        self.file = file

    def spec(self, model: str, **fields: Any) -> dict[str, Any]:
        path = self.machine.folder / f"{id_of(model)}.gguf"
        path.touch()
        program = str(self.machine.program)
        return {"model": model, "engine": "llama_server", "binary": program, "path": str(path), **fields}

    def write(self, *deployments: dict[str, Any], **settings: Any) -> None:
        self.file.write_text(yaml.safe_dump({"deployments": list(deployments), **settings}))

    async def ask(self, method: str, path: str, role: Role = Role.ADMIN, **options: Any) -> Any:
        """Ask; the answer is good."""
        response = await self.api.ask(method, path, role, **options)
        assert response.status_code < 300, response.text
        return response.json()

    async def refused(self, method: str, path: str, **options: Any) -> tuple[int, str, str]:
        """Ask; return status, code and field of the error."""
        response = await self.api.ask(method, path, **options)
        error = response.json()["error"]
        return response.status_code, error["code"], error["param"]

    async def add(self, **fields: Any) -> str:
        made = await self.ask("POST", PATH, json=self.spec(ADDED, **fields))
        await self.machine.ready(ADDED, fields.get("replicas", 1))
        return str(made["id"])


@pytest.fixture
async def house(api: Api, redis: "Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.delenv("GATEWAY_DEPLOYMENTS", raising=False)
    async with running_machine(redis, tmp_path) as machine:
        made = House(api, machine, tmp_path / "gateway.yaml")
        made.write(made.spec(FILED, environment={"HF_TOKEN": "sk-1"}))
        environment = {"GATEWAY_CONFIG": str(made.file), "GATEWAY_DATA_DIR": str(tmp_path / "data")}
        store = DeploymentStore(api.keys.engine, NODE)
        deployments = Deployments(machine.fleet, store, read_again(environment), environment)
        api.app.state.services = replace(api.app.state.services, deployments=deployments)
        await deployments.open()
        await machine.ready(FILED)
        yield made


async def test_the_list_says_where_each_comes_from_and_how_it_is(house: House) -> None:
    await house.add(aliases=["another"])
    found = {one["model"]: one for one in (await house.ask("GET", PATH, Role.VIEWER))["data"]}
    assert ("file", "rest") == (found[FILED]["origin"], found[ADDED]["origin"])
    assert found[ADDED]["aliases"] == ["another"]
    assert [(one["state"], one["ready"], one["last_error"]) for one in found.values()] == [("ready", 1, None)] * 2


async def test_a_deployment_is_shown_with_its_replicas(house: House) -> None:
    """With its process, its command without secrets, and what the engine says of itself."""
    shown = await house.ask("GET", f"{PATH}/{id_of(FILED)}")
    [member] = shown["members"]
    assert ("ready", 0, 0) == (member["state"], member["n"], member["restarts"])
    assert Path(f"/proc/{member['pid']}/cmdline").read_bytes().split(b"\0")[1].endswith(b"fake-server")
    assert str(member["port"]) == member["argv"][member["argv"].index("--port") + 1]
    assert member["environment"] == {"HF_TOKEN": HIDDEN} == shown["deployment"]["environment"]
    assert member["engine"] == {"requests": 4, "cache": 0.0}
    assert member["since"] >= member["ready_at"] > 1_700_000_000
    assert member["load_seconds"] > 0
    assert shown["where"] == str(house.file)
    assert any("listening on" in line for line in member["log_tail"])
    assert "sk-1" not in str(shown)


async def test_the_words_of_an_engine_are_not_for_viewers(house: House) -> None:
    """It may write what people say."""
    shown = await house.ask("GET", f"{PATH}/{id_of(FILED)}", Role.VIEWER)
    assert [[]] == [member["log_tail"] for member in shown["members"]]
    log = await house.api.ask("GET", f"{PATH}/{id_of(FILED)}/replicas/0/log", Role.VIEWER)
    assert log.status_code == 403


async def test_a_deployment_is_added_changed_and_removed(house: House) -> None:
    id_ = await house.add()
    changed = await house.ask("PATCH", f"{PATH}/{id_}", json={"replicas": 2, "aliases": ["x"]})
    assert (2, ["x"]) == (changed["replicas"], changed["aliases"])
    await house.machine.ready(ADDED, 2)
    assert {"id": id_, "removed": True} == await house.ask("DELETE", f"{PATH}/{id_}")
    await eventually(lambda: not house.machine.members(ADDED))
    assert (404, "not_found", "id") == await house.refused("GET", f"{PATH}/{id_}")


async def test_one_that_is_loaded_on_demand_is_shown_so(house: House) -> None:
    """It is stopped, and nothing is wrong with it; the shell calls it no failure."""
    id_ = (await house.ask("POST", PATH, json=house.spec(ADDED, idle_seconds=60)))["id"]
    await house.machine.settled()
    shown = await house.ask("GET", f"{PATH}/{id_}")
    assert ("stopped", 0, 1, True) == (shown["state"], shown["ready"], shown["asleep"], shown["members"][0]["asleep"])
    assert "stopped (0 of 1, 1 loaded on demand)" in page(shown)
    assert not _failed(shown)


async def test_one_that_leaves_is_shown_as_leaving(house: House) -> None:
    """It can be hurried, and not started again."""
    id_ = await house.add()
    async with await house.machine.pool.lease(ADDED):
        await house.ask("DELETE", f"{PATH}/{id_}")
        await eventually(lambda: house.machine.states(ADDED) == ["draining"])
        shown = await house.ask("GET", f"{PATH}/{id_}")
        assert ("leaving", "draining", False) == (shown["origin"], shown["state"], shown["settled"])
        assert (404, "not_found", "id") == await house.refused("POST", f"{PATH}/{id_}/start")
        await house.ask("POST", f"{PATH}/{id_}/stop")
        await eventually(lambda: not house.machine.members(ADDED))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"flavour": 1}, "flavour"),
        ({"path": "/nowhere"}, "path"),
        ({"replicas": 0}, "replicas"),
        ({"aliases": [FILED.rstrip("/")]}, "aliases[0]"),
        ({"model": ""}, "model"),
    ],
)
async def test_what_is_wrong_is_named_before_anything_starts(house: House, fields: dict[str, Any], named: str) -> None:
    body = {**house.spec(ADDED), **fields}
    assert (400, "deployment_invalid", named) == await house.refused("POST", PATH, json=body)
    assert [FILED] == [group.deployment.model for group in house.machine.fleet.groups]


async def test_what_stands_in_the_settings_stays_there(house: House) -> None:
    """The refusal says where; a change of it holds, and is shown as one."""
    response = await house.api.ask("DELETE", f"{PATH}/{id_of(FILED)}")
    assert (409, "in_settings") == (response.status_code, response.json()["error"]["code"])
    assert str(house.file) in response.json()["error"]["message"]
    assert (409, "conflict", "model") == await house.refused("POST", PATH, json=house.spec(FILED))
    changed = await house.ask("PATCH", f"{PATH}/{id_of(FILED)}", json={"replicas": 2})
    assert ["replicas"] == changed["changed"]
    await house.machine.ready(FILED, 2)


async def test_a_repeated_post_adds_once(house: House) -> None:
    headers = {"idempotency-key": "k1"}
    first = await house.ask("POST", PATH, json=house.spec(ADDED), headers=headers)
    assert first == await house.ask("POST", PATH, json=house.spec(ADDED), headers=headers)


async def test_orders_for_all_and_for_one(house: House) -> None:
    """They answer at once."""
    id_ = await house.add(replicas=2)
    await house.machine.ready(ADDED, 2)
    await house.ask("POST", f"{PATH}/{id_}/replicas/1/stop")
    await eventually(lambda: house.machine.states(ADDED) == ["ready", "stopped"])
    before = house.machine.pids(ADDED)[0]
    await house.ask("POST", f"{PATH}/{id_}/replicas/0/restart", json={"seconds": 5})
    await eventually(lambda: house.machine.pids(ADDED)[0] != before and house.machine.states(ADDED)[0] == "ready")
    answer = await house.ask("POST", f"{PATH}/{id_}/drain")
    assert "stopped" == answer["wanted"]
    await eventually(lambda: house.machine.states(ADDED) == ["stopped", "stopped"])
    await house.ask("POST", f"{PATH}/{id_}/start")
    await house.machine.ready(ADDED, 2)
    assert (404, "not_found", "id") == await house.refused("POST", f"{PATH}/{id_}/replicas/2/stop")
    assert 404 == (await house.api.ask("POST", f"{PATH}/dep_x/start")).status_code
    assert 400 == (await house.api.ask("POST", f"{PATH}/{id_}/dance")).status_code


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MODERATOR])
async def test_changes_are_for_admins(house: House, role: Role) -> None:
    for method, path in (
        ("POST", PATH),
        ("PATCH", f"{PATH}/x"),
        ("DELETE", f"{PATH}/x"),
        ("POST", f"{PATH}/x/stop"),
        ("POST", f"{PATH}/x/replicas/0/stop"),
        ("POST", "/admin/reload"),
    ):
        assert 403 == (await house.api.ask(method, path, role, json={})).status_code


async def test_what_is_done_is_on_record_without_secrets(house: House) -> None:
    body = house.spec(ADDED, extra_args=["--api-key", "sk-2"], environment={"HF_TOKEN": "sk-3"})
    made = await house.ask("POST", PATH, json=body)
    await house.ask("POST", f"{PATH}/{made['id']}/replicas/0/stop")
    asked, done = house.api.records.of(f"POST {PATH}")
    assert (ADDED, "ok", 202) == (asked.details["body"]["model"], done.outcome, done.status)
    ordered = house.api.records.of(f"POST {PATH}/{{deployment_id}}/replicas/{{n}}/{{order}}")
    assert [f"{made['id']}/0/stop"] * 2 == [one.target for one in ordered]
    assert "sk-" not in str(house.api.records.kept)


async def test_a_log_is_read_from_any_offset(house: House) -> None:
    path = f"{PATH}/{id_of(FILED)}/replicas/0/log"
    whole = await house.api.ask("GET", path, Role.MODERATOR)
    assert "listening on" in whole.text
    size = len(whole.content)
    assert str(size) == whole.headers["x-next-offset"] == whole.headers["x-log-size"]
    rest = await house.api.ask("GET", f"{path}?offset={size - 3}", Role.MODERATOR)
    assert (whole.text[-3:], "text/plain; charset=utf-8") == (rest.text, rest.headers["content-type"])
    assert 400 == (await house.api.ask("GET", f"{path}?offset=-1")).status_code


async def test_so_many_logs_are_followed_at_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "MOST_FOLLOWERS", 0)
    path = f"{PATH}/{id_of(FILED)}/replicas/0/log?follow=true"
    assert (429, "too_many_followers", None) == await house.refused("GET", path)


async def test_a_reload_by_rest(house: House) -> None:
    """What is wrong changes nothing."""
    house.write(house.spec(FILED, environment={"HF_TOKEN": "sk-1"}), house.spec("new"), workers=3)
    done = await house.ask("POST", "/admin/reload")
    assert (["new"], [FILED], ["workers"]) == (done["start"], done["keep"], done["needs_restart"])
    await house.machine.ready("new")
    house.file.write_text("deployments: 7")
    response = await house.api.ask("POST", "/admin/reload")
    assert (400, "settings_invalid") == (response.status_code, response.json()["error"]["code"])
    assert "deployments: must be a list" in response.json()["error"]["message"]
    await asyncio.sleep(0)
    assert ["ready"] == house.machine.states("new")


async def test_a_plan_shows_what_a_reload_would_start(house: House) -> None:
    """With what is wrong beside it; nothing starts."""
    house.write(house.spec("new", port=8123), {**house.spec("odd"), "path": "/nowhere"})
    plan = await house.ask("GET", f"{PATH}/plan", Role.VIEWER)
    new, odd = plan["deployments"]
    assert (False, []) == (plan["ok"], new["problems"])
    assert "8123" in new["replicas"][0]["argv"]
    assert ["deployments[1].path"] == [problem["key"] for problem in odd["problems"]]
    assert [FILED] == [group.deployment.model for group in house.machine.fleet.groups]


async def test_the_document_shows_the_fields_of_a_deployment(house: House) -> None:
    """As the settings file has them."""
    document = (await house.api.ask("GET", "/openapi.json")).json()
    body = document["paths"][PATH]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"model", "engine", "gpus", "rope_scaling"} <= set(body["properties"])
    assert sorted(body["required"]) == ["engine", "model"]
    assert "vllm" in body["properties"]["engine"]["enum"]
