"""What a worker knows of the replicas, as it is told of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from backends.endpoint import Endpoint, ReplicaState
from backends.errors import NoReplica, UnknownModel
from backends.pool import Pool, Share, Waiting
from backends.routing import affinity, least_tokens
from backends.upstream import Upstream


def endpoint(replica: str = "m#0", **fields: Any) -> Endpoint:
    known = {"model": "m", "engine": "vllm", "served_name": "m", "host": "127.0.0.1", "port": 1, "state": "ready"}
    return Endpoint(replica=replica, **{**known, **fields, "state": ReplicaState(fields.get("state", "ready"))})


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    made = Pool(Upstream(), waiting=Waiting(8, 5.0))
    yield made
    made.upstream.close()


def failed(pool: Pool, replica: str) -> None:
    breaker = pool.loads[replica].breaker
    breaker.failed(breaker.begin(), asyncio.get_running_loop().time(), dead=True)


async def test_a_model_is_found_by_its_names(pool: Pool) -> None:
    """With and without a trailing slash; nothing else is."""
    pool.update([endpoint(aliases=("/models/m/", "n"))])
    assert {"m"} == {pool.model(name) for name in ("m", "m/", "/models/m", "/models/m/", "n", "n/")}
    with pytest.raises(UnknownModel):
        pool.model("x")


async def test_an_adapter_is_a_model_on_the_replicas_of_its_base(pool: Pool) -> None:
    """It is listed and found by its own name, and waits in the queue of its base, whose replicas it shares."""
    pool.update([endpoint(adapters=("law",), max_in_flight=1), endpoint("m#1", adapters=("law",), max_in_flight=1)])
    assert (["m", "law"], "law") == (list(pool.models), pool.model("law/"))
    assert pool.has_choice("law")
    leases = [await pool.lease("law"), await pool.lease("m")]
    assert {"m#0": 1, "m#1": 1} == pool.in_flight
    assert ["law", "m"] == [leases[0].endpoint.served_as(name) for name in ("law", "m")]
    waiting = asyncio.create_task(pool.lease("m"))
    await asyncio.sleep(0)
    assert {"m": 1} == pool.queued
    async with leases[0]:
        pass
    async with await waiting, leases[1]:
        assert {"m": 0} == pool.queued


async def test_loads_outlive_an_update(pool: Pool) -> None:
    """What runs is still counted; a replica that has gone is forgotten once nothing runs there."""
    pool.update([endpoint()])
    async with await pool.lease("m"):
        pool.update([endpoint(), endpoint("m#1")])
        assert {"m#0": 1, "m#1": 0} == pool.in_flight
        pool.update([endpoint("m#1")])
        assert {"m#0": 1, "m#1": 0} == pool.in_flight
    pool.update([endpoint("m#1")])
    assert {"m#1": 0} == pool.in_flight


async def test_an_engine_that_has_started_anew_begins_with_a_closed_breaker(pool: Pool) -> None:
    """On another port, or after it was not ready; a word on another replica changes nothing."""
    pool.update([endpoint()])
    failed(pool, "m#0")
    pool.update([endpoint(), endpoint("m#1")])
    assert pool.loads["m#0"].breaker.until is not None
    pool.update([endpoint(port=2)])
    assert pool.loads["m#0"].breaker.until is None
    failed(pool, "m#0")
    pool.update([endpoint(port=2, state="starting")])
    assert pool.loads["m#0"].breaker.until is not None
    pool.update([endpoint(port=2)])
    assert pool.loads["m#0"].breaker.until is None


async def test_a_replica_that_drains_gets_nothing_new(pool: Pool) -> None:
    """Nor one that starts, or has failed; with the others there is a choice."""
    states = ("ready", "draining", "ready", "starting", "failed")
    pool.update([endpoint(f"m#{i}", port=i, state=state) for i, state in enumerate(states)])
    assert pool.has_choice("m") and not pool.has_choice("n")
    leases = [await pool.lease("m") for _ in range(6)]
    assert {"m#0", "m#2"} == {lease.endpoint.replica for lease in leases}
    for lease in leases:
        async with lease:
            pass
    assert {0} == set(pool.in_flight.values())


async def test_no_replica_says_what_there_is(pool: Pool) -> None:
    """States of the replicas, in words; of a model without any, that it is stopped."""
    pool.update([endpoint("m#0", state="starting"), endpoint("m#1", state="failed")])
    with pytest.raises(NoReplica, match=r"it is failed, starting"):
        await pool.lease("m")
    with pytest.raises(NoReplica, match="it is stopped"):
        await pool.lease("n")


async def test_a_model_that_goes_sends_its_queue_away(pool: Pool) -> None:
    """At once, not at the deadline."""
    pool.update([endpoint(slots=1)])
    async with await pool.lease("m"):
        waiting = asyncio.create_task(pool.lease("m"))
        await asyncio.sleep(0)
        assert {"m": 1} == pool.queued
        pool.update([])
        with pytest.raises(NoReplica):
            await waiting
    assert {"m": 0} == pool.queued
    with pytest.raises(NoReplica):
        await pool.lease("m")


async def test_a_model_that_comes_back_knows_what_still_runs(pool: Pool) -> None:
    """Its slots are taken until that has ended; then who waits has them."""
    pool.update([endpoint(slots=1)])
    async with await pool.lease("m"):
        pool.update([])
        pool.update([endpoint(slots=1)])
        waiting = asyncio.create_task(pool.lease("m"))
        await asyncio.sleep(0)
        assert {"m": 1} == pool.queued
    async with await waiting as lease:
        assert {"m#0": 1} == pool.in_flight
        assert lease.endpoint.replica == "m#0"


async def test_caps_are_the_smaller_bound_of_slots_and_share() -> None:
    """Slots are shared out; `max_in_flight` is each worker's own; both follow what is published."""
    pool = Pool(Upstream(), share=Share(1, 2))
    pool.update([endpoint(slots=5), endpoint("m#1", max_in_flight=7), endpoint("m#2", slots=8, max_in_flight=3)])
    assert [2, 7, 3] == [load.cap for load in pool.loads.values()]
    pool.update([endpoint(slots=8)])
    assert 4 == pool.loads["m#0"].cap
    pool.upstream.close()


async def test_the_policy_is_the_deployments(pool: Pool) -> None:
    """And is exchanged with it."""
    pool.update([endpoint()])
    assert pool.lines["m"].policy is least_tokens
    pool.update([endpoint(routing="affinity")])
    assert pool.lines["m"].policy is affinity


async def test_the_head_of_a_request_carries_the_engines_key() -> None:
    """The one of its model, from the settings; of another model none."""
    pool = Pool(Upstream(), credentials={"m": "sk-1"})
    external = endpoint(base_path="/api", host="::1", port=9)
    expected = (
        "POST /api/v1/x HTTP/1.1\r\nhost: [::1]:9\r\ncontent-type: application/json\r\nauthorization: Bearer sk-1\r\n"
    )
    assert expected.encode() == pool.request_head(external, "/v1/x")
    assert b"authorization" not in pool.request_head(endpoint("n#0", model="n"), "/v1/x")
    pool.upstream.close()
