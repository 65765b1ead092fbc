"""What should run: asked for, checked, stored, and there again after a restart."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.fleet.checking import DeploymentRefused
from gateway.fleet.deployments import Deployments, NotByRest, Taken
from gateway.fleet.fleet import UnknownDeployment
from gateway.fleet.group import id_of
from gateway.fleet.settings_again import needing_restart, read_again
from gateway.fleet.store import DeploymentStore, Row
from gateway.settings import Settings, SettingsInvalid
from gateway.state import sql
from tests.backends.running import alive, eventually
from tests.gateway.fleet.conftest import NODE, Machine


class House:
    """A machine with a settings file and a database."""

    def __init__(self, machine: Machine, engine: AsyncEngine) -> None:
        self.machine = machine
        self.engine = engine
        self.file = machine.folder / "gateway.yaml"
        self.environment = {"GATEWAY_CONFIG": str(self.file), "GATEWAY_DATA_DIR": str(machine.folder / "data")}

    def spec(self, model: str, **fields: Any) -> dict[str, Any]:
        program, path = self.machine.program, self.machine.folder / f"{model}.gguf"
        path.touch()
        return {"model": model, "engine": "llama_server", "binary": str(program), "path": str(path), **fields}

    def write(self, *deployments: dict[str, Any], **settings: Any) -> None:
        self.file.write_text(yaml.safe_dump({"deployments": list(deployments), **settings}))

    async def opened(self) -> Deployments:
        """Begin, as a control process that has just started."""
        settings = read_again(self.environment)
        made = Deployments(self.machine.fleet, DeploymentStore(self.engine, NODE), settings, self.environment)
        await made.open()
        return made


@pytest.fixture
async def house(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    for name in ("GATEWAY_CONFIG", "GATEWAY_DATA_DIR", "GATEWAY_DEPLOYMENTS"):
        monkeypatch.delenv(name, raising=False)
    async with sql.opened(Settings(data_dir=machine.folder / "data")) as engine:
        yield House(machine, engine)


async def test_what_was_added_is_there_after_a_restart(house: House) -> None:
    house.write(house.spec("a"))
    before = await house.opened()
    await before.add(house.spec("b", aliases=["bee"]), "ann")
    await before.change(id_of("a"), {"aliases": ["ay"]}, "ann")
    after = await house.opened()
    assert [("a", ("ay",), "file"), ("b", ("bee",), "rest")] == [
        (one.deployment.model, one.deployment.aliases, one.origin) for one in after.wanted.entries
    ]
    await after.remove(id_of("b"))
    assert ["a"] == [one.deployment.model for one in (await house.opened()).wanted.entries]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"flavour": "sweet"}, "flavour"),
        ({"port": 80}, "port"),
        ({"path": "/nowhere"}, "path"),
        ({"aliases": ["a"]}, "aliases[0]"),
        ({"port": 8000}, "port"),
        ({"port": 8900}, "port"),
        ({"replicas": 2, "port": 8123}, "replicas"),
        ({"binary": "no-such-program"}, "binary"),
        ({"engine": "magic"}, "engine"),
    ],
)
async def test_what_is_wrong_is_named_and_changes_nothing(house: House, fields: dict[str, Any], named: str) -> None:
    """By the rules of the settings file, and beside what runs already."""
    house.write(house.spec("a"))
    deployments = await house.opened()
    with pytest.raises(DeploymentRefused) as refused:
        await deployments.add({**house.spec("b"), **fields}, "ann")
    assert named in [field for field, _ in refused.value.complaints]
    assert "deployments[" not in str(refused.value)
    assert await deployments.store.rows() == []
    assert ["a"] == [group.deployment.model for group in house.machine.fleet.groups]


async def test_refusals(house: House) -> None:
    house.write(house.spec("a"))
    deployments = await house.opened()
    with pytest.raises(Taken):
        await deployments.add(house.spec("a"), "ann")
    with pytest.raises(NotByRest, match=r"gateway\.yaml"):
        await deployments.remove(id_of("a"))
    with pytest.raises(UnknownDeployment):
        await deployments.remove(id_of("b"))
    with pytest.raises(DeploymentRefused, match="model"):
        await deployments.change(id_of("a"), {"model": "b"}, "ann")


async def test_a_change_that_is_taken_back_is_forgotten(house: House) -> None:
    house.write(house.spec("a"))
    deployments = await house.opened()
    entry = await deployments.change(id_of("a"), {"replicas": 2}, "ann")
    assert ["replicas"] == entry.changes()
    assert 1 == len(await deployments.store.rows())
    assert [] == (await deployments.change(id_of("a"), {"replicas": None}, "ann")).changes()
    assert [] == await deployments.store.rows()


async def test_a_reload_does_what_has_changed_and_nothing_else(house: House) -> None:
    """What is the same keeps its process, as does what was added by REST; what else has changed is named."""
    machine = house.machine
    house.write(house.spec("a"), house.spec("b"), house.spec("c"), limits={"connections": 100})
    deployments = await house.opened()
    await deployments.add(house.spec("r"), "ann")
    for model in ("a", "b", "c", "r"):
        await machine.ready(model)
    before = {model: machine.pids(model) for model in ("a", "b", "c", "r")}
    house.write(
        house.spec("a"), house.spec("c", aliases=["sea"]), house.spec("d"), limits={"connections": 200}, workers=2
    )
    done = await deployments.reload()
    assert {
        "start": ["d"],
        "stop": ["b"],
        "restart": [],
        "change": ["c"],
        "keep": ["a", "r"],
        "needs_restart": ["workers", "limits.connections"],
        "dropped": [],
    } == done
    await machine.ready("d")
    await eventually(lambda: not machine.members("b"))
    assert {model: machine.pids(model) for model in ("a", "c", "r")} == {
        model: pids for model, pids in before.items() if model != "b"
    }
    assert not alive(before["b"][0] or 0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("deployments: [", "gateway.yaml"),
        ("prot: 1", "prot"),
        ("deployments: [{model: a, engine: vllm, path: /nowhere}]", "deployments[0].path"),
        ("deployments: [{model: r, engine: external, url: 'http://127.0.0.1:1'}]", "added by REST"),
        ("port: 8900", "admin_port"),
    ],
)
async def test_bad_settings_change_nothing_and_say_why(house: House, text: str, named: str) -> None:
    house.write(house.spec("a"))
    deployments = await house.opened()
    await deployments.add(house.spec("r"), "ann")
    await house.machine.settled()
    before = house.machine.pids("a"), house.machine.pids("r"), deployments.wanted
    house.file.write_text(text)
    with pytest.raises(SettingsInvalid, match=named.replace("[", r"\[")):
        await deployments.reload()
    assert before == (house.machine.pids("a"), house.machine.pids("r"), deployments.wanted)


async def test_what_the_settings_say_anew_takes_the_place_of_a_change(house: House) -> None:
    house.write(house.spec("a"))
    deployments = await house.opened()
    await deployments.change(id_of("a"), {"aliases": ["x"]}, "ann")
    assert [] == (await deployments.reload())["dropped"]
    assert ("x",) == deployments.entry(id_of("a")).deployment.aliases
    house.write(house.spec("a", aliases=["y"]))
    assert ["a"] == (await deployments.reload())["dropped"]
    assert ("y",) == deployments.entry(id_of("a")).deployment.aliases


async def test_one_that_does_not_fit_any_more_is_left_out_and_shown(house: House) -> None:
    """The settings took its name while nobody looked: they go first, and the gateway starts."""
    house.write()
    await (await house.opened()).add(house.spec("b"), "ann")
    house.machine.fleet.apply([])
    await eventually(lambda: not house.machine.fleet.groups)
    house.write(house.spec("a", aliases=["b"]))
    deployments = await house.opened()
    assert ["a"] == [one.deployment.model for one in deployments.wanted.entries]
    [unusable] = deployments.wanted.unusable
    assert "`b` is also a name of `a`" in unusable.why
    await deployments.remove(id_of("b"))
    assert ((), []) == (deployments.wanted.unusable, await deployments.store.rows())


async def test_each_machine_has_its_own(house: House) -> None:
    """On one database."""
    store, other = DeploymentStore(house.engine, NODE), DeploymentStore(house.engine, "there")
    house.write()
    await (await house.opened()).add(house.spec("b"), "ann")
    assert (1, 0) == (len(await store.rows()), len(await other.rows()))


async def test_the_database_keeps_them(database: Settings) -> None:
    """SQLite and PostgreSQL."""
    async with sql.opened(database) as engine:
        store = DeploymentStore(engine, NODE)
        first = Row("dep_1", "/models/a/", {"model": "/models/a/", "parallel": 2}, None)
        await store.put(first, "ann")
        await store.put(Row("dep_2", "b", {}, {"model": "b"}), "ann")
        await store.put(first._replace(spec={"x": [1]}), "bob")
        assert [("dep_2", {"model": "b"}), ("dep_1", None)] == [(row.id, row.base) for row in await store.rows()]
        await store.remove("dep_2")
        assert [{"x": [1]}] == [row.spec for row in await store.rows()]


def test_secrets_that_changed_are_named_and_not_shown(tmp_path: Path) -> None:
    before = Settings(data_dir=tmp_path, audit={"signing_key": "one"})
    after = Settings(data_dir=tmp_path, audit={"signing_key": "two"}, deployments=[])
    assert needing_restart(before, after) == ["audit.signing_key"]
