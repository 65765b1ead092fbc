"""What the process that speaks with Ray answers, with a stand-in for Ray that stages its faults."""

import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.launch import ray_agent
from backends.launch.ray_agent import Agent
from tests.backends.running import alive, wait_until

NEEDS = {"num_gpus": 1, "num_cpus": 1, "bundles": []}


class RayActorError(Exception):
    pass


class ActorUnavailableError(RayActorError):
    pass


class GetTimeoutError(Exception):
    pass


class FakeRay:
    """Actors that are placed when `room` says so; *result* makes what a call answers."""

    exceptions = types.SimpleNamespace(
        RayActorError=RayActorError, ActorUnavailableError=ActorUnavailableError, GetTimeoutError=GetTimeoutError
    )

    def __init__(self, result: Callable[[], Any] = lambda: {"host": "10.0.0.7"}) -> None:
        self.result = result
        self.room = True
        self.waited = 0
        self.on_wait: Callable[[], None] = lambda: None
        self.killed: list[Any] = []
        self.options: dict[str, Any] = {}
        self.there: dict[str, Any] = {}

    def remote(self, _kind: Any) -> Any:
        def options(**given: Any) -> Any:
            self.options = given
            return types.SimpleNamespace(remote=lambda *_: self._actor(given["name"]))

        return types.SimpleNamespace(options=options)

    def _actor(self, name: str) -> Any:
        method = types.SimpleNamespace(remote=lambda *arguments: arguments)
        self.there[name] = types.SimpleNamespace(where=method, look=method)
        return self.there[name]

    def get_actor(self, name: str) -> Any:
        if name not in self.there:
            raise ValueError(name)
        return self.there[name]

    def wait(self, waited: list[Any], timeout: float) -> Any:
        del timeout
        self.waited += 1
        self.on_wait()
        return (waited, []) if self.room else ([], waited)

    def get(self, _called: Any, timeout: float) -> Any:
        del timeout
        return self.result()

    def kill(self, actor: Any, *, no_restart: bool) -> None:
        assert no_restart
        self.killed.append(actor)


def agent(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> Agent:
    monkeypatch.setattr(Agent, "_remove_group", lambda *_: None)
    return Agent(ray, types.SimpleNamespace(Host=object), "")  # type: ignore[arg-type]


def create(asked: Agent, seconds: float = 60.0) -> dict[str, Any]:
    with_ = {"name": "m#0", "owner": "me", "orphan_seconds": 0, "needs": NEEDS, "seconds": seconds}
    return asked.answer({"do": "create", "with": with_})


def call(asked: Agent) -> dict[str, Any]:
    return asked.answer({"do": "call", "with": {"name": "m#0", "method": "look", "arguments": []}})


def test_an_actor_is_placed_and_not_restarted_by_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """It outlives whoever placed it; whether it starts again is its replica's business alone."""
    ray = FakeRay()
    assert {"value": {"host": "10.0.0.7"}} == create(agent(ray, monkeypatch))
    assert ("m#0", "detached", 0, 1) == tuple(
        ray.options[key] for key in ("name", "lifetime", "max_restarts", "num_gpus")
    )


def test_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs is said."""
    ray = FakeRay()
    ray.room = False
    assert {
        "error": "no_place",
        "why": "no node of the Ray cluster has room for it: it needs 1 GPU and 1 CPU on one",
    } == create(agent(ray, monkeypatch), seconds=0)


def test_a_place_that_nobody_wants_any_more_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait ends with the order to kill."""
    ray = FakeRay()
    ray.room = False
    asked = agent(ray, monkeypatch)
    ray.on_wait = lambda: asked.do_kill("m#0")
    assert "no_place" == create(asked)["error"]
    assert (1, 1) == (ray.waited, len(ray.killed))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RayActorError("\n  The actor died.\nmore"), "lost"),
        (ActorUnavailableError("gone for now"), "slow"),
        (GetTimeoutError(), "slow"),
        (RuntimeError("what"), "other"),
    ],
)
def test_kinds_of_trouble(error: Exception, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An actor that is not reached for now may be again: that is no loss."""
    ray = FakeRay()
    asked = agent(ray, monkeypatch)
    create(asked)

    def fail() -> Any:
        raise error

    ray.result = fail
    answer = call(asked)
    assert kind == answer["error"]
    assert "\n" not in answer["why"]


def test_an_actor_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is absent, and killing it is no trouble."""
    asked = agent(FakeRay(), monkeypatch)
    assert "absent" == call(asked)["error"]
    assert {"value": None} == asked.answer({"do": "kill", "with": {"name": "m#0"}})


def test_the_part_for_the_nodes_is_found_without_the_package() -> None:
    """The interpreter that has Ray may not have the gateway."""
    assert "gateway_ray_host" == ray_agent.host_module().Host.__module__


LOOKING = """
import time
def init(*_, **__):
    print("looking", flush=True)
    time.sleep(60)
"""
OWNER = """
import os, subprocess, sys, time
argv = [sys.executable, "-c", "import runpy,sys; sys.path.insert(0, sys.argv.pop(1)); sys.argv.pop(0); "
        "runpy.run_path(sys.argv[0], run_name='__main__')", *sys.argv[1:], "--owner", str(os.getpid())]
print(subprocess.Popen(argv, stdin=subprocess.PIPE).pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_its_owner_also_while_it_looks_for_a_cluster(tmp_path: Path) -> None:
    """Ray's client may look for minutes, and reads no end of stdin meanwhile."""
    (tmp_path / "ray.py").write_text(LOOKING)
    flags = ["--address", "a", "--namespace", "n", "--shim", "s"]
    argv = [sys.executable, "-c", OWNER, str(tmp_path), ray_agent.__file__, *flags]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert "looking\n" == owner.stdout.readline()
        owner.kill()
    wait_until(lambda: not alive(pid))
