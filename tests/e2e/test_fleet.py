"""Deployments of a gateway that runs: added, scaled, drained, reloaded and removed while requests flow."""

import asyncio
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from gateway.embedded import deployments
from tests import fake_server, tiny_gguf
from tests.backends.running import wait_until
from tests.e2e.conftest import ADMIN_KEY, CLIENT_KEY, shell, start, stop

REAL, FAKE = "pair", "many"
CHAT = "/v1/chat/completions"
SECONDS = 90.0
STREAMS = 100


class House:
    """The gateway, its settings, and what is asked of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program = fake_server.write(folder)
        self.settings: dict[str, Any] = {"deployments": [self.real(), self.fake()], "workers": 2}
        self.stack = start(folder, self.settings)

    def real(self, **fields: Any) -> dict[str, Any]:
        """Return two replicas of a real model on a real llama.cpp."""
        known = {"engine": "xllamacpp", "path": deployments()[0].path, "replicas": 2, "parallel": 2}
        return {"model": REAL, **known, "max_model_len": 512, "extra_args": ["-t", "1"], **fields}

    def fake(self, **fields: Any) -> dict[str, Any]:
        """Return two replicas that carry many slow streams."""
        program = str(self.program)
        known = {"engine": "llama_server", "binary": program, "path": program, "replicas": 2, "parallel": 128}
        return {"model": FAKE, **known, **fields}

    def tiny(self, model: str) -> dict[str, Any]:
        path = tiny_gguf.write(self.folder / f"{model}.gguf")
        return {"model": model, "engine": "xllamacpp", "path": str(path), "max_model_len": 512}

    def write(self, *said: dict[str, Any], **settings: Any) -> None:
        text = yaml.safe_dump({**self.settings, "deployments": list(said), **settings})
        (self.folder / "gateway.yaml").write_text(text)

    def run(self, *words: str) -> Any:
        """Run `gateway … --json`; return what it says."""
        done = shell(self.stack, *words, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    def admin(self, method: str, path: str) -> Any:
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        base = f"http://127.0.0.1:{self.stack.admin_port}"
        with httpx.Client(base_url=base, headers=headers, timeout=SECONDS) as client:
            return client.request(method, path).raise_for_status().json()

    def listed(self) -> dict[str, Any]:
        return {one["model"]: one for one in self.admin("GET", "/admin/backends")["data"]}

    def settled(self) -> None:
        wait_until(lambda: all(one["settled"] for one in self.listed().values()), SECONDS)

    def pids(self, model: str) -> list[int]:
        shown = self.admin("GET", f"/admin/backends/{self.listed()[model]['id']}")
        return [member["pid"] for member in shown["members"]]

    def ask(self, model: str, tokens: int = 4) -> int:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": tokens}
        with self.stack.client() as client:
            return client.post(CHAT, json=body).status_code


class Traffic:
    """Whole answers asked for in a row by several threads until the block ends; `seen` counts the statuses."""

    def __init__(self, house: House, model: str, threads: int = 4) -> None:
        self.house = house
        self.model = model
        self.threads = threads
        self.seen: Counter[int] = Counter()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self.threads)
        self._tasks: list[Future[None]] = [self._pool.submit(self._go) for _ in range(self.threads)]
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for task in self._tasks:
            task.result(SECONDS)
        self._pool.shutdown()

    def more(self, count: int = 10) -> None:
        """Return when *count* further answers have come."""
        enough = self.seen.total() + count
        wait_until(lambda: self.seen.total() >= enough, SECONDS)

    def _go(self) -> None:
        while not self._over.is_set():
            self.seen[self.house.ask(self.model)] += 1


async def stream(client: httpx.AsyncClient, begun: "asyncio.Semaphore", tokens: int) -> tuple[int, bool]:
    """Return the words of one stream, and whether it came to its end; *begun* is released with the first word."""
    body = {"model": FAKE, "messages": [{"role": "user", "content": "Hello!"}], "max_tokens": tokens, "stream": True}
    events = []
    async with client.stream("POST", CHAT, json=body) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                events.append(line.removeprefix("data: "))
                if len(events) == 2:
                    begun.release()
    choices = [choice for event in events[:-1] for choice in json.loads(event)["choices"]]  # an error has none
    words = "".join(choice["delta"].get("content") or "" for choice in choices).split()
    return len(words), events[-1] == "[DONE]"


async def streams_while(house: House, work: Any, tokens: int = 200) -> list[tuple[int, bool]]:
    """Have `STREAMS` streams run, do *work* in a thread when all have begun; return what became of each."""
    begun = asyncio.Semaphore(0)
    limits = httpx.Limits(max_connections=None)
    headers = {"authorization": f"Bearer {CLIENT_KEY}"}
    base = f"http://127.0.0.1:{house.stack.port}"
    async with httpx.AsyncClient(base_url=base, headers=headers, timeout=SECONDS, limits=limits) as client:
        tasks = [asyncio.create_task(stream(client, begun, tokens)) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await begun.acquire()
        assert not any(task.done() for task in tasks)
        await asyncio.to_thread(work)
        return list(await asyncio.gather(*tasks))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("fleet"))
    yield made
    stop(made.stack)


@pytest.fixture
def house(running: House) -> House:
    """As the settings file says, whatever a test before has done."""
    running.write(running.real(), running.fake())
    running.admin("POST", "/admin/reload")
    running.settled()
    return running


async def test_a_reload_while_streams_run_cuts_none(house: House) -> None:
    """Although it gives every one of their engines a successor; what is the same keeps its process."""
    kept, old = house.pids(REAL), house.pids(FAKE)
    outcomes: list[Any] = []

    def reload() -> None:
        house.write(house.real(), house.fake(environment={"A": "b"}), house.tiny("late"))
        outcomes.append(house.run("reload"))

    ended = await streams_while(house, reload)
    assert [(200, True)] * STREAMS == ended
    assert (["late"], [FAKE], [REAL]) == tuple(outcomes[0][name] for name in ("start", "restart", "keep"))
    assert all(one["state"] == "ready" for one in outcomes[0]["deployments"])
    assert kept == house.pids(REAL)
    assert not set(old) & set(house.pids(FAKE))
    assert house.ask("late") == 200


async def test_a_drain_under_load_cuts_none(house: House) -> None:
    """Replicas go one after the other, and what is asked meanwhile goes to those that are there."""

    def restart() -> None:
        house.run("backends", "restart", FAKE, "--wait")

    with Traffic(house, FAKE, threads=2) as traffic:
        ended = await streams_while(house, restart, tokens=100)
        traffic.more()
    assert [(100, True)] * STREAMS == ended
    assert {200} == set(traffic.seen)


async def test_the_last_replica_ends_its_streams_before_it_goes(house: House) -> None:
    """Nobody is cut; who comes later hears that there is none."""
    ended = await streams_while(house, lambda: house.run("backends", "drain", FAKE, "--wait"), tokens=100)
    assert [(100, True)] * STREAMS == ended
    assert "stopped" == house.listed()[FAKE]["state"]
    assert house.ask(FAKE) == 503
    house.run("backends", "start", FAKE, "--wait")
    assert house.ask(FAKE) == 200


def test_scaling_under_traffic_fails_nobody(house: House) -> None:
    """Real engines: one more starts, two drain."""
    first = house.pids(REAL)[0]
    with Traffic(house, REAL) as traffic:
        traffic.more()
        [scaled] = house.run("backends", "scale", REAL, "3", "--wait")
        assert (3, ["replicas"]) == (scaled["ready"], scaled["changed"])
        traffic.more()
        assert 1 == house.run("backends", "scale", REAL, "1", "--wait")[0]["ready"]
        traffic.more()
    assert {200} == set(traffic.seen)
    assert [first] == house.pids(REAL)
    assert 2 == house.run("backends", "scale", REAL, "2", "--wait")[0]["ready"]
    assert [] == house.listed()[REAL]["changed"]


def test_one_that_is_added_serves_and_goes_without_a_failure(house: House) -> None:
    """It is there again after the control process was killed, and gone for good once it is removed."""
    (house.folder / "extra.yaml").write_text(yaml.safe_dump(house.tiny("extra")))
    with Traffic(house, REAL, threads=2) as others:
        [added] = house.run("backends", "add", str(house.folder / "extra.yaml"), "--wait")
        assert ("rest", "ready") == (added["origin"], added["state"])
        with Traffic(house, "extra", threads=2) as traffic:
            traffic.more()
        with ThreadPoolExecutor(8) as threads:
            running = [threads.submit(house.ask, "extra", 40) for _ in range(8)]
            wait_until(lambda: house.listed()["extra"]["in_flight"] > 0 or all(one.done() for one in running), SECONDS)
            house.run("backends", "remove", "extra", "--wait")
            assert {200} >= {one.result() for one in running} - {404}
        others.more(3)
    assert ({200}, {200}) == (set(traffic.seen), set(others.seen))
    assert house.ask("extra") == 404


def test_what_was_added_outlives_the_control_process(house: House) -> None:
    (house.folder / "extra.yaml").write_text(yaml.safe_dump([house.tiny("extra")]))
    house.run("backends", "add", str(house.folder / "extra.yaml"), "--wait")
    control = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _is_control(entry, house.stack.process.pid)
    )
    os.kill(control, signal.SIGKILL)

    def back() -> bool:
        try:
            found = house.listed()
        except httpx.HTTPError:
            return False
        return "extra" in found and found["extra"]["state"] == "ready" and not _is_there(control)

    wait_until(back, SECONDS)
    wait_until(lambda: house.ask("extra") == 200, SECONDS)
    house.run("backends", "remove", "extra", "--wait")


def _is_control(entry: Path, parent: int) -> bool:
    try:
        stat = (entry / "stat").read_text().rpartition(")")[2].split()
        return int(stat[1]) == parent and b"gateway.control" in (entry / "cmdline").read_bytes()
    except OSError:
        return False


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("way", ["shell", "signal"])
def test_a_bad_file_changes_nothing_and_is_named(house: House, way: str) -> None:
    """In the shell, or in the log."""
    before = house.pids(REAL), house.pids(FAKE)
    house.write(house.fake(), {**house.real(), "path": "/nowhere.gguf"})
    if way == "shell":
        done = shell(house.stack, "reload")
        assert (78, True) == (done.returncode, "deployments[1].path" in done.stderr)
    else:
        house.stack.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "deployments[1].path: there is no /nowhere.gguf" in house.stack.log(), SECONDS)
    assert before == (house.pids(REAL), house.pids(FAKE))
    assert house.ask(REAL) == 200


def test_hangup_reloads(house: House) -> None:
    """And what needs a restart is in the log."""
    house.write(house.real(aliases=["brace"]), house.fake(), timeouts={"ping_seconds": 5})
    before = house.pids(REAL)
    house.stack.process.send_signal(signal.SIGHUP)
    wait_until(lambda: house.ask("brace") == 200, SECONDS)
    assert before == house.pids(REAL)
    assert "timeouts.ping_seconds" in house.stack.log()


def test_a_deployment_that_cannot_start_ends_the_command(house: House) -> None:
    """The others go on, and the list says why."""
    (house.folder / "bad.gguf").write_bytes(b"no model")
    house.write(house.real(), house.fake(), {**house.tiny("x"), "path": str(house.folder / "bad.gguf")})
    done = shell(house.stack, "reload")
    assert (1, True) == (done.returncode, "the engine ended with 1" in done.stdout)
    assert house.ask(REAL) == 200


def test_the_shell_shows_deployments_and_their_logs(house: House) -> None:
    """For people, and followed until the reader leaves."""
    assert REAL in shell(house.stack, "backends", "list").stdout
    shown = shell(house.stack, "backends", "show", REAL).stdout
    assert f"pid {house.pids(REAL)[0]}" in shown
    assert "xllamacpp_server" in shown
    assert shell(house.stack, "backends", "log", FAKE).stdout.startswith("listening on")
    with httpx.Client(base_url=f"http://127.0.0.1:{house.stack.admin_port}", timeout=SECONDS) as client:
        client.headers["authorization"] = f"Bearer {ADMIN_KEY}"
        path = f"/admin/backends/{house.listed()[FAKE]['id']}/replicas/0/log?follow=true&offset=0"
        with client.stream("GET", path) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("id: ")
            assert next(lines).startswith("data: listening on")
    for words in (("backends", "show", "nobody"), ("backends", "add", "/nowhere.yaml")):
        done = shell(house.stack, *words)
        assert (1, "gateway: ") == (done.returncode, done.stderr[:9])
    away = shell(house.stack, "backends", "list", "--url", "http://127.0.0.1:9")
    assert (1, True) == (away.returncode, "no gateway answers at http://127.0.0.1:9" in away.stderr)


def test_a_scrape_shows_the_replicas(house: House) -> None:
    with house.stack.client() as client:
        text = client.get("/metrics").text
    assert f'gateway_replica_state{{model="{REAL}",replica="{REAL}#0",state="ready"}} 1.0' in text
    assert f'gateway_replica_restarts_total{{model="{REAL}",replica="{REAL}#0"}}' in text
