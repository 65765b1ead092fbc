"""Engines live through the end of what looks after them, and nothing of them is left where they should not."""

import asyncio
import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.tasks import ended
from tests import tiny_gguf
from tests.backends.running import alive, wait_until
from tests.e2e.conftest import Stack, again, start, wait_until_ready
from tests.fakes import FakeEngine
from tests.gateway.test_serve import ask, pid_of, processes_of, wait_until_gone

READY_SECONDS = 60.0


def deployment(folder: Path, **more: Any) -> dict[str, Any]:
    path = tiny_gguf.write(folder / "tiny.gguf")
    return {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512, "replicas": 2, **more}


def begin(folder: Path, deployments: list[dict[str, Any]], **engines: object) -> Stack:
    variables = {f"GATEWAY_ENGINES__{name.upper()}": str(value) for name, value in engines.items()}
    return start(folder, {"deployments": deployments}, **{"GATEWAY_ENGINES__OUTLIVE": "restart", **variables})


def end(stack: Stack) -> None:
    """End a gateway as Ctrl-C does; whatever became of it, nothing may be left for the next test."""
    if stack.process.poll() is None:
        stack.process.send_signal(signal.SIGINT)
        stack.process.wait(60)
    for name in ("backends.shim", "backends/shim.py"):
        for pid, command in processes_of(stack.folder).items():
            if name in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
    wait_until_gone(stack.folder)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Stack]:
    """Two replicas, two workers, engines that live through a restart."""
    folder = tmp_path / "gw"
    folder.mkdir()
    stack = start(
        folder, {"deployments": [deployment(folder)]}, GATEWAY_WORKERS="2", GATEWAY_ENGINES__OUTLIVE="restart"
    )
    yield stack
    end(stack)


def engines(stack: Stack) -> dict[str, int]:
    """Return the process ids of the engines on record, by replica."""
    found = {}
    for file in (stack.folder / "data" / "engines").glob("*/process.json"):
        with contextlib.suppress(FileNotFoundError):  # it is being started again
            record = json.loads(file.read_text())
            found[record["about"]["replica"]] = record["engine"]["pid"]
    return found


def loads(stack: Stack) -> int:
    """Return how often a model was loaded, by what the engines say of it."""
    logs = (stack.folder / "data" / "engines").glob("*/engine.log")
    return sum(log.read_text().count("listening on") for log in logs)


def begun_again(stack: Stack) -> None:
    again(stack)
    wait_until_ready(stack, READY_SECONDS)
    wait_until(lambda: ask(stack) == 200, READY_SECONDS)


def test_a_killed_control_process_costs_no_load_and_no_request(gateway: Stack) -> None:
    """While it is away and when it is back every request is answered, by the same engines."""
    wait_until(lambda: gateway.log().count(" is ready") == 2, READY_SECONDS)
    before, statuses, done = engines(gateway), set(), threading.Event()

    def asking() -> None:
        while not done.is_set():
            statuses.add(ask(gateway))

    thread = threading.Thread(target=asking)
    thread.start()
    control = pid_of(gateway, "gateway.control")
    os.kill(control, signal.SIGKILL)
    wait_until(lambda: gateway.log().count("adopted the engine that runs") == 2, READY_SECONDS)
    time.sleep(1)
    done.set()
    thread.join()
    assert statuses == {200}
    assert engines(gateway) == before
    assert all(alive(pid) for pid in before.values())
    assert (loads(gateway), len(before)) == (2, 2)
    os.kill(before["tiny#0"], signal.SIGKILL)  # the new owner sees what happens to what it has adopted
    wait_until(lambda: gateway.log().count(" is ready") == 5, READY_SECONDS)
    assert engines(gateway)["tiny#1"] == before["tiny#1"]
    end(gateway)


async def test_a_killed_control_process_costs_no_request_of_an_external_engine(tmp_path: Path) -> None:
    """Sixteen clients ask without a pause until the one after it has looked at the engine, and beyond."""
    statuses: Counter[int] = Counter()
    async with FakeEngine() as engine:
        one = {"model": "tiny", "engine": "external", "url": f"http://127.0.0.1:{engine.port}/v1"}
        stack = await asyncio.to_thread(start, tmp_path / "gw", {"deployments": [one]}, GATEWAY_WORKERS="2")
        try:
            async with stack.async_client() as client, asyncio.timeout(READY_SECONDS):
                asking = [asyncio.create_task(ask_again_and_again(client, number, statuses)) for number in range(16)]
                os.kill(pid_of(stack, "gateway.control"), signal.SIGKILL)
                while stack.log().count("tiny#0 is ready") < 2:
                    await asyncio.sleep(0.05)
                await asyncio.sleep(1)
                await ended(asking)
        finally:
            await asyncio.to_thread(end, stack)
    assert {200} == set(statuses)


async def ask_again_and_again(client: httpx.AsyncClient, number: int, statuses: "Counter[int]") -> None:
    body = {"model": "tiny", "user": f"p{number}", "messages": [{"role": "user", "content": "a"}]}
    while True:
        statuses[(await client.post("/v1/chat/completions", json=body)).status_code] += 1


def test_a_killed_gateway_costs_no_load(gateway: Stack) -> None:
    """kill -9 of the parent takes workers, control process and state along, and no engine."""
    before = engines(gateway)
    gateway.process.kill()
    gateway.process.wait()
    wait_until(lambda: len(processes_of(gateway.folder)) == 4)  # two engines, two shims
    assert all(alive(pid) for pid in before.values())
    begun_again(gateway)
    assert (engines(gateway), loads(gateway)) == (before, 2)
    end(gateway)


def test_a_restart_costs_no_load_and_ctrl_c_leaves_nothing(gateway: Stack) -> None:
    """SIGTERM leaves the engines to the next gateway; SIGINT ends them in order."""
    before = engines(gateway)
    gateway.process.terminate()
    assert gateway.process.wait(30) == 0
    assert all(alive(pid) for pid in before.values())
    begun_again(gateway)
    assert (engines(gateway), loads(gateway)) == (before, 2)
    gateway.process.send_signal(signal.SIGINT)
    assert gateway.process.wait(30) == 0
    assert processes_of(gateway.folder) == {}
    exits = [json.loads(file.read_text()) for file in (gateway.folder / "data" / "engines").glob("*/exit.json")]
    assert [0, 0] == [one["code"] for one in exits]


def test_what_the_settings_do_not_want_any_more_is_ended(tmp_path: Path) -> None:
    """A deployment that is gone, or changed, while the gateway was away; the one that stayed is adopted."""
    folder = tmp_path / "gw"
    folder.mkdir()
    names = ("kept", "changed", "gone")
    made = [deployment(folder, model=name, replicas=1) for name in names]
    for one in made[1:]:
        del one["path"]
        one["path"] = str(tiny_gguf.write(folder / f"{one['model']}.gguf"))
    stack = begin(folder, made)
    try:
        before = engines(stack)
        stack.process.kill()
        stack.process.wait()
        changed = {**made[1], "extra_args": ["-t", "1"]}
        (folder / "gateway.yaml").write_text(yaml.safe_dump({"deployments": [made[0], changed]}))
        again(stack)
        wait_until_ready(stack, READY_SECONDS)
        wait_until(lambda: not alive(before["gone#0"]))
        wait_until(lambda: engines(stack).get("changed#0") not in {None, before["changed#0"]}, READY_SECONDS)
        assert engines(stack)["kept#0"] == before["kept#0"]
        assert not alive(before["changed#0"])
        with stack.client() as client:
            assert {model["id"] for model in client.get("/v1/models").json()["data"]} == {"kept", "changed"}
    finally:
        end(stack)


def test_engines_that_nobody_comes_back_for_end(tmp_path: Path) -> None:
    """After `engines.orphan_seconds` nothing is left of a gateway that was killed."""
    stack = begin(tmp_path / "gw", [deployment(tmp_path, replicas=1)], orphan_seconds=3)
    try:
        stack.process.kill()
        stack.process.wait()
        time.sleep(1.5)
        assert alive(engines(stack)["tiny#0"])
        wait_until_gone(stack.folder)
    finally:
        end(stack)


def test_outlive_crash(tmp_path: Path) -> None:
    """Engines live through a kill -9, and end where the gateway is told to."""
    stack = begin(tmp_path / "gw", [deployment(tmp_path, replicas=1)], outlive="crash")
    try:
        before = engines(stack)
        stack.process.kill()
        stack.process.wait()
        begun_again(stack)
        assert engines(stack) == before
        stack.process.terminate()
        assert stack.process.wait(30) == 0
        assert processes_of(stack.folder) == {}
    finally:
        end(stack)


def test_a_killed_worker_is_nothing_to_the_engines(gateway: Stack) -> None:
    """It comes back; engines and their owner stay as they are."""
    before, control = engines(gateway), pid_of(gateway, "gateway.control")
    worker = pid_of(gateway, "gateway.worker")
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: worker not in processes_of(gateway.folder))
    wait_until(lambda: sum("gateway.worker" in one for one in processes_of(gateway.folder).values()) == 2)
    with contextlib.suppress(httpx.HTTPError):
        wait_until(lambda: ask(gateway) == 200)
    assert (engines(gateway), loads(gateway)) == (before, 2)
    assert pid_of(gateway, "gateway.control") == control


def test_loaded_on_demand(tmp_path: Path) -> None:
    """An idle engine ends; the gateway counts as ready all the same, and the next request waits for the load."""
    one = deployment(tmp_path, replicas=1)
    stack = begin(tmp_path / "gw", [one])
    try:
        first = engines(stack)["tiny#0"]
        stack.process.terminate()
        stack.process.wait(30)
        config = {"deployments": [{**one, "idle_seconds": 2}]}
        (stack.folder / "gateway.yaml").write_text(yaml.safe_dump(config))
        again(stack)
        wait_until(lambda: not alive(first), READY_SECONDS)
        assert "tiny#0 had no request for 2 s and is unloaded" in stack.log()
        with stack.client() as client:
            wait_until(lambda: client.get("/readyz").json()["models"] == {"tiny": "stopped"}, READY_SECONDS)
            assert client.get("/readyz").status_code == 200
        assert [ask(stack), ask(stack)] == [200, 200]
        second = engines(stack)["tiny#0"]
        assert (loads(stack), second != first) == (2, True)
        wait_until(lambda: not alive(second), READY_SECONDS)
        assert ask(stack) == 200
    finally:
        end(stack)
