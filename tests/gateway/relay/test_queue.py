"""Requests that wait for a replica, over real sockets: queue, deadline, fairness, what is said, draining."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from backends.endpoint import ReplicaState
from backends.lease import Lease
from gateway.audit.record import Outcome, Turn, Unrecorded
from gateway.relay.wire import Request
from gateway.settings import Queue, Settings
from tests.fakes import END, SSE, FakeEngine, Pause, Received, Send, Step, answer, chunk, head, vllm_events, whole_chat
from tests.gateway.conftest import MODEL, Running, endpoint, eventually, ring_document, running

CHAT = "/v1/chat/completions"


def asked(user: str = "u", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "你好"}], "user": user, **fields}


async def post(gateway: Running, body: dict[str, Any], path: str = CHAT) -> httpx.Response:
    async with gateway.client() as client:
        return await client.post(path, json=body)


def slow(seconds: float) -> Any:
    """Return a script that thinks for some seconds."""

    def script(received: Received) -> Sequence[Step]:
        if received.json().get("stream"):
            events = [Send(chunk(event)) for event in vllm_events()]
            return [Send(head(SSE)), events[0], Pause(seconds), *events[1:], Send(END)]
        return [Pause(seconds), *answer(whole_chat())]

    return script


def people(engine: FakeEngine) -> list[str]:
    return [received.json()["user"] for received in engine.received]


@pytest.fixture
async def one_slot(settings: Settings, engine: FakeEngine) -> AsyncIterator[Running]:
    """A worker with one replica that takes one request at a time."""
    async with running(settings.model_copy(update={"queue": Queue(places=6, seconds=5)})) as gateway:
        gateway.services.pool.update([endpoint(engine.port, slots=1)])
        yield gateway


async def held(gateway: Running, engine: FakeEngine, user: str = "first") -> "asyncio.Task[httpx.Response]":
    """Have somebody's request occupy the engine."""
    task = asyncio.create_task(post(gateway, asked(user)))
    await eventually(lambda: len(engine.received) == 1)
    return task


def waiting(gateway: Running) -> int:
    return gateway.services.pool.queued[MODEL]


async def test_never_more_at_an_engine_than_it_has_slots(one_slot: Running, engine: FakeEngine) -> None:
    """The others wait, and all are answered."""
    most = 0

    def counting(received: Received) -> Sequence[Step]:
        nonlocal most
        most = max(most, one_slot.services.pool.in_flight["qwen#0"])
        return slow(0.02)(received)  # type: ignore[no-any-return]

    engine.script = counting
    answers = await asyncio.gather(*(post(one_slot, asked(f"u{i}", stream=i % 2 == 0)) for i in range(7)))
    assert ([200] * 7, 1) == ([response.status_code for response in answers], most)
    one_slot.services.flush_metrics()
    value = one_slot.services.metrics.registry.get_sample_value
    assert 6 == value("gateway_queue_seconds_count", {"model": MODEL, "replica": "qwen#0"})
    assert 0 == value("gateway_queued_requests", {"model": MODEL})


async def test_a_burst_does_not_starve_others(one_slot: Running, engine: FakeEngine) -> None:
    """Somebody else is answered after one of the burst, not after all of it."""
    engine.script = slow(0.5)
    first = await held(one_slot, engine, "burst")
    engine.script = slow(0.1)
    burst = [asyncio.create_task(post(one_slot, asked("burst"))) for _ in range(5)]
    await eventually(lambda: waiting(one_slot) == 5)
    other = await post(one_slot, asked("other"))
    assert 200 == other.status_code
    assert people(engine)[:4].count("other") == 1
    await asyncio.gather(first, *burst)


async def test_the_more_urgent_key_goes_first(one_slot: Running, engine: FakeEngine) -> None:
    """By the key's priority."""
    engine.script = slow(0.4)
    first = await held(one_slot, engine)
    patient = asyncio.create_task(post(one_slot, asked("patient")))
    await eventually(lambda: waiting(one_slot) == 1)
    one_slot.services.take_keys(ring_document(priority="high"))
    urgent = asyncio.create_task(post(one_slot, asked("urgent")))
    await asyncio.gather(first, patient, urgent)
    assert ["first", "urgent", "patient"] == people(engine)


async def test_a_full_queue_is_a_429(one_slot: Running, engine: FakeEngine) -> None:
    """In OpenAI's shape, with the time to come again, and short enough for the person to whom Dify shows it."""
    engine.script = slow(0.3)
    tasks = [asyncio.create_task(post(one_slot, asked("u"))) for _ in range(7)]
    await eventually(lambda: waiting(one_slot) == 6)
    response = await post(one_slot, asked("u"))
    error = response.json()["error"]
    assert (429, "1") == (response.status_code, response.headers["retry-after"])
    assert ("rate_limit_error", "overloaded", "model", "gateway") == tuple(
        error[name] for name in ("type", "code", "param", "src")
    )
    assert "请 1 秒后再试" in error["message"] and len(error["message"]) < 160
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_waits_too_long_is_a_429(settings: Settings, engine: FakeEngine) -> None:
    """At the deadline, streams too; the one that is at the engine is answered."""
    engine.script = slow(0.6)
    async with running(settings.model_copy(update={"queue": Queue(seconds=0.2)})) as gateway:
        gateway.services.pool.update([endpoint(engine.port, slots=1)])
        first = await held(gateway, engine)
        late = await asyncio.gather(post(gateway, asked("a")), post(gateway, asked("b", stream=True)))
        assert [429, 429] == [response.status_code for response in late]
        assert (200, 1) == ((await first).status_code, len(engine.received))


@pytest.mark.parametrize("stream", [False, True])
async def test_being_busy_can_be_an_answer(settings: Settings, engine: FakeEngine, *, stream: bool) -> None:
    """By setting, since Dify shows any other status as a raw error; where no text can answer it stays an error."""
    turns: list[tuple[Outcome, str]] = []

    class Notes(Unrecorded):
        async def finished(self, turn: Turn) -> None:
            turns.append((turn.outcome, turn.finish_reason))

    engine.script = slow(0.3)
    async with running(settings.model_copy(update={"queue": Queue(places=0, when_full="answer")})) as gateway:
        gateway.services.pool.update([endpoint(engine.port, slots=1)])
        first = await held(gateway, engine)
        gateway.set_stages(audit=Notes())
        response = await post(gateway, asked("a", stream=stream))
        embedded = await post(gateway, {"model": MODEL, "input": "a"}, "/v1/embeddings")
        await first
    assert (200, 429) == (response.status_code, embedded.status_code)
    assert "当前使用的人较多" in response.text.encode().decode("unicode_escape" if "\\u" in response.text else "utf-8")
    assert [(Outcome.REJECTED, "stop")] == turns
    if stream:
        blocks = [block for block in response.text.split("\n\n") if block]
        assert ("data: [DONE]", True) == (blocks[-1], "usage" in json.loads(blocks[-2][6:]))
    else:
        assert "stop" == response.json()["choices"][0]["finish_reason"]


async def test_who_leaves_the_queue_is_forgotten(one_slot: Running, engine: FakeEngine) -> None:
    """Their request reaches no engine."""
    engine.script = slow(0.3)
    first = await held(one_slot, engine)
    payload = json.dumps(asked("gone")).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", one_slot.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-gw-test-0123456789abcdef\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(payload), payload)
    )
    await eventually(lambda: waiting(one_slot) == 1)
    writer.transport.abort()
    await eventually(lambda: waiting(one_slot) == 0)
    await first
    assert 200 == (await post(one_slot, asked("next"))).status_code
    assert ["first", "next"] == people(engine)


async def test_a_replica_drains_under_load(settings: Settings, engine: FakeEngine) -> None:
    """What runs there ends whole; what waits, and what comes, goes to the other replica; nothing is lost."""
    engine.script = slow(0.3)
    async with FakeEngine(slow(0.02)) as other, running(settings) as gateway:
        pool = gateway.services.pool
        both = [endpoint(engine.port, slots=4), endpoint(other.port, replica="qwen#1", slots=4)]
        pool.update(both)
        tasks = [asyncio.create_task(post(gateway, asked(f"u{i}", stream=i % 2 == 0))) for i in range(24)]
        await eventually(lambda: len(engine.received) == 4)
        pool.update([endpoint(engine.port, slots=4, state=ReplicaState.DRAINING), both[1]])
        answers = await asyncio.gather(*tasks)
        assert [200] * 24 == [response.status_code for response in answers]
        assert all("[DONE]" in response.text for response in answers[::2])
        assert (4, 20) == (len(engine.received), len(other.received))
        assert {0} == set(pool.in_flight.values())


async def test_a_restart_serves_who_waits(one_slot: Running, engine: FakeEngine) -> None:
    """A replica that is away for a moment keeps its queue."""
    engine.script = slow(0.2)
    first = await held(one_slot, engine)
    patient = asyncio.create_task(post(one_slot, asked("patient")))
    await eventually(lambda: waiting(one_slot) == 1)
    one_slot.services.pool.update([endpoint(engine.port, slots=1, state=ReplicaState.STARTING)])
    await first
    assert 1 == waiting(one_slot)
    one_slot.services.pool.update([endpoint(engine.port, slots=1)])
    assert 200 == (await patient).status_code


async def test_slots_are_shared_out_among_workers(
    settings: Settings, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """Each worker of two has half of them; where there are too few, the log says so, once."""
    async with running(settings.model_copy(update={"workers": 2})) as gateway:
        pool = gateway.services.pool
        pool.update([endpoint(engine.port, slots=4)])
        assert (2, "") == (pool.loads["qwen#0"].cap, caplog.text)
        for _ in range(2):
            pool.update([endpoint(engine.port, slots=1, replica="qwen#1")])
        assert (1, 1) == (pool.loads["qwen#1"].cap, caplog.text.count("1 slots for 2 workers"))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_turn_leaves_nothing_to_the_collector(gateway: Running, *, stream: bool) -> None:
    """What it was made of goes with its end: a circle of objects in each turn took a sixth of a worker's time."""
    payload = json.dumps(asked(stream=stream)).encode()
    head_bytes = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-gw-test-0123456789abcdef\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)

    async def turns(count: int) -> None:
        for _ in range(count):
            writer.write(b"%bcontent-length: %d\r\n\r\n%b" % (head_bytes, len(payload), payload))
            await reader.readuntil(b"[DONE]\n\n\r\n0\r\n\r\n" if stream else b"}}")

    await turns(3)
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await turns(5)
        gc.collect()
        left = [type(one).__name__ for one in gc.garbage if isinstance(one, Lease | Turn | Request)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        writer.close()
    assert left == []
