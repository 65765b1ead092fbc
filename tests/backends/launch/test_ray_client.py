"""The owner's end, with stand-ins for the interpreter that has Ray: they stage what becomes of it."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from backends.launch import ray_agent, ray_client
from backends.launch.ray_client import Absent, Cluster, Gone, RayTrouble, Where

AGENT = f"""#!{sys.executable}
import json, os, sys, threading, time
BODY
"""
ANSWERS = """
print('{"value": "9.9"}', flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    name = asked["with"]["name"]
    if name == "end":
        os._exit(1)
    if name == "silent":
        continue
    if name in ("lost", "absent", "slow"):
        print(json.dumps({"id": asked["id"], "error": name, "why": name}), flush=True)
    else:
        print(json.dumps({"id": asked["id"], "value": [os.getpid(), asked]}), flush=True)
"""

Make = Callable[..., Cluster]


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes clients of an interpreter that does as *body* says."""
    monkeypatch.setattr(ray_client, "PAUSE_SECONDS", 0.05)
    made: list[Cluster] = []

    def make(body: str = ANSWERS) -> Cluster:
        program = tmp_path / "python"
        program.write_text(AGENT.replace("BODY", body))
        program.chmod(0o700)
        made.append(Cluster(Where("10.0.0.1:6379", "n", str(program)), lambda: "me", 5.0))
        return made[-1]

    yield make
    for cluster in made:
        await cluster.close()


async def test_questions_go_out_together_and_answers_find_their_way(make: Make) -> None:
    """One agent serves all."""
    cluster = make()
    answers = await asyncio.gather(*(cluster.call(f"m#{n}", "look", n) for n in range(20)))
    assert [f"m#{n}" for n in range(20)] == [asked["with"]["name"] for _, asked in answers]
    assert {cluster.pid} == {pid for pid, _ in answers}


async def test_what_is_sent_to_place_an_actor(make: Make) -> None:
    """The owner's name, and how long a place is waited for."""
    _, asked = await make().create("m#0", 900.0, {"num_gpus": 1})
    expected = {"name": "m#0", "owner": "me", "orphan_seconds": 900.0, "needs": {"num_gpus": 1}, "seconds": 5.0}
    assert ("create", expected) == (asked["do"], asked["with"])


@pytest.mark.parametrize(("name", "kind"), [("lost", Gone), ("absent", Absent), ("slow", RayTrouble)])
async def test_errors(make: Make, name: str, kind: type[Exception]) -> None:
    """Each kind is an error of its own, and all are OSErrors."""
    with pytest.raises(kind) as raised:
        await make().call(name, "look")
    assert kind is raised.type
    assert isinstance(raised.value, OSError)


async def test_an_agent_that_ends_is_started_again(make: Make) -> None:
    """Whoever waits is told; the next question finds another one."""
    cluster = make()
    [first, _] = await cluster.call("m#0", "look")
    waiting = asyncio.create_task(cluster.call("silent", "look"))
    await asyncio.sleep(0)
    with pytest.raises(RayTrouble, match="has ended"):
        await cluster.call("end", "look")
    with pytest.raises(RayTrouble, match="has ended"):
        await waiting
    [second, _] = await cluster.call("m#0", "look")
    assert first != second


async def test_an_agent_that_hangs_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No question waits for ever, whatever Ray's client does."""
    monkeypatch.setattr(ray_client, "MARGIN_SECONDS", 0.1)
    monkeypatch.setattr(ray_agent, "CALL_SECONDS", 0.1)
    cluster = make()
    [first, _] = await cluster.call("m#0", "look")
    with pytest.raises(RayTrouble, match="hangs"):
        await cluster.call("silent", "look")
    [second, _] = await cluster.call("m#0", "look")
    assert first != second


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("""print('{"error": "other", "why": "ImportError: no ray"}')""", "no ray"),
        ("sys.exit(1)", "has ended"),
        ("time.sleep(60)", "no Ray cluster answers at 10.0.0.1:6379"),
    ],
)
async def test_no_cluster(make: Make, monkeypatch: pytest.MonkeyPatch, body: str, why: str) -> None:
    """Why is said, and nothing is left of the attempt."""
    monkeypatch.setattr(ray_client, "CONNECT_SECONDS", 1.0)
    cluster = make(body)
    with pytest.raises(RayTrouble, match=why):
        await cluster.call("m#0", "look")
    assert cluster.pid is None


async def test_a_program_that_is_not_there(make: Make, tmp_path: Path) -> None:
    """It is trouble like any other."""
    cluster = make()
    (tmp_path / "python").unlink()
    with pytest.raises(OSError, match="No such file"):
        await cluster.call("m#0", "look")
