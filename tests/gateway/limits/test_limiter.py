"""Rate limits of keys and people, in a worker with a real state server and over real sockets."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from redis.asyncio import Redis

from gateway import tasks
from gateway.audit.record import Outcome, Turn, Unrecorded
from gateway.limits.rules import Bounds
from gateway.people.standing import Standing
from gateway.relay.identity import Person
from gateway.settings import Limits, Settings
from keywords.entry import Action, Entry
from keywords.library import Library
from policies.strikes import UNTIL_LIFTED
from tests.fakes import END, SSE, FakeEngine, Pause, Received, Send, Step, answer, chunk, head, vllm_events, whole_chat
from tests.gateway.conftest import MODEL, Running, endpoint, eventually, ring_document, running

CHAT = "/v1/chat/completions"
TOLD = "x-ratelimit-remaining-"


def asked(user: str = "u", **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "你好"}], "user": user, "max_tokens": 50, **fields}


async def post(gateway: Running, body: dict[str, Any], path: str = CHAT) -> httpx.Response:
    async with gateway.client() as client:
        return await client.post(path, json=body)


@contextlib.asynccontextmanager
async def limited(settings: Settings, engine: FakeEngine, valkey: Path, **limits: Any) -> AsyncIterator[Running]:
    """A worker with *limits*."""
    changed = {"redis_url": f"unix://{valkey}", "limits": Limits(**limits)}
    async with running(settings.model_copy(update=changed)) as gateway:
        gateway.services.pool.update([endpoint(engine.port)])
        try:
            yield gateway
        finally:
            await gateway.services.limiter.meter.close()
            await gateway.services.redis.aclose()


@pytest.fixture(autouse=True)
def empty(redis: "Redis") -> None:
    """Nobody has used anything."""


def slowly(received: Received) -> Sequence[Step]:
    """Think for a while before each answer."""
    if received.json().get("stream"):
        events = [Send(chunk(event)) for event in vllm_events()]
        return [Send(head(SSE)), events[0], Pause(0.4), *events[1:], Send(END)]
    return [Pause(0.4), *answer(whole_chat())]


async def test_a_person_may_ask_so_often_a_minute(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """Others go on; who is turned away is told when to come again, and the engine hears nothing of it."""
    async with limited(settings, engine, valkey, person=Bounds(requests_per_minute=2)) as gateway:
        left = [(await post(gateway, asked())).headers[f"{TOLD}requests"] for _ in range(2)]
        refused = await post(gateway, asked())
        other = await post(gateway, asked("other"))
        unnamed = [(await post(gateway, asked(""))).status_code for _ in range(3)]
    error = refused.json()["error"]
    assert (["1", "0"], 429, 200, [200] * 3) == (left, refused.status_code, other.status_code, unnamed)
    assert ("requests", "rate_limit_exceeded", None, "gateway") == tuple(
        error[name] for name in ("type", "code", "param", "src")
    )
    assert 55 <= int(refused.headers["retry-after"]) <= 61
    assert ("2", "0") == tuple(refused.headers[f"x-ratelimit-{what}-requests"] for what in ("limit", "remaining"))
    assert "提问过于频繁" in error["message"] and "x-content-id" in refused.headers
    assert 6 == len(engine.received)


async def test_a_key_has_limits_of_its_own(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """They stand above the settings, for itself and for its people; a change counts at once."""
    async with limited(settings, engine, valkey, key=Bounds(requests_per_minute=1)) as gateway:
        gateway.services.take_keys(ring_document(limits={"requests_per_minute": 3, "person_requests_per_minute": 1}))
        found = [(await post(gateway, asked(user))).status_code for user in ("a", "a", "b", "c", "d")]
        assert [200, 429, 200, 200, 429] == found
        gateway.services.take_keys(ring_document(limits={"requests_per_minute": 4}))
        assert 200 == (await post(gateway, asked("a"))).status_code


async def test_tokens_are_estimated_then_settled(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """What the answer did not need is there again once it has ended."""
    async with limited(settings, engine, valkey, person=Bounds(tokens_per_minute=100)) as gateway:
        first = await post(gateway, asked(max_tokens=90))
        usage = first.json()["usage"]["total_tokens"]
        assert 8 == int(first.headers[f"{TOLD}tokens"])
        second = await post(gateway, asked(max_tokens=10))
        assert 100 - usage - 12 == int(second.headers[f"{TOLD}tokens"])
        third = await post(gateway, asked(max_tokens=100_000))
        assert (429, "tokens") == (third.status_code, third.json()["error"]["type"])


async def test_more_than_there_ever_is_may_be_asked_for(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """Where nothing else was used: a high `max_tokens` is a habit, not a need."""
    async with limited(settings, engine, valkey, person=Bounds(tokens_per_minute=100)) as gateway:
        response = await post(gateway, asked(max_tokens=100_000))
        assert (200, "0") == (response.status_code, response.headers[f"{TOLD}tokens"])


async def test_streams_at_once(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """A whole answer is none; whose stream has ended, or who has left, may have the next one."""
    engine.script = slowly
    async with limited(settings, engine, valkey, person=Bounds(parallel_streams=2)) as gateway:
        running_now = [asyncio.create_task(post(gateway, asked(stream=True))) for _ in range(2)]
        await eventually(lambda: len(engine.received) == 2)
        refused = await post(gateway, asked(stream=True))
        whole = await post(gateway, asked())
        ended = await asyncio.gather(*running_now)
        again = await post(gateway, asked(stream=True))
        assert (429, "5", 200) == (refused.status_code, refused.headers["retry-after"], whole.status_code)
        assert [200, 200, 200] == [response.status_code for response in (*ended, again)]
        before = len(engine.received)
        leaving = [asyncio.create_task(post(gateway, asked(stream=True))) for _ in range(2)]
        await eventually(lambda: len(engine.received) == before + 2)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        await eventually(lambda: not gateway.shared.tasks)
        assert 200 == (await post(gateway, asked(stream=True))).status_code


async def test_a_stream_that_runs_keeps_its_place(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """For as long as it runs, however long; its worker renews it."""
    engine.script = slowly
    async with limited(settings, engine, valkey, person=Bounds(parallel_streams=1)) as gateway:
        meter = gateway.services.limiter.meter
        meter.span = meter.span._replace(place=150)
        async with tasks.running(asyncio.create_task(gateway.services.limiter.run())):
            first = asyncio.create_task(post(gateway, asked(stream=True)))
            await eventually(lambda: len(engine.received) == 1)
            await asyncio.sleep(0.3)
            assert 429 == (await post(gateway, asked(stream=True))).status_code
            assert 200 == (await first).status_code


@pytest.mark.parametrize("stream", [False, True])
async def test_it_can_be_an_answer(settings: Settings, engine: FakeEngine, valkey: Path, *, stream: bool) -> None:
    """By setting, since Dify shows any other status as a raw error; on record, and no violation."""
    turns: list[tuple[Outcome, str, str]] = []

    class Notes(Unrecorded):
        async def finished(self, turn: Turn) -> None:
            turns.append((turn.outcome, turn.finish_reason, turn.counts))

    bounds = Bounds(requests_per_minute=1)
    async with limited(settings, engine, valkey, person=bounds, when_over="answer") as gateway:
        gateway.set_stages(audit=Notes())
        word = Entry(id=1, term="炸弹", risk="A1d", action=Action.BLOCK)
        gateway.services.shelf.use(Library.build([word]))
        await post(gateway, asked())
        body = asked(stream=stream, messages=[{"role": "user", "content": "炸弹"}])
        response = await post(gateway, body)
        embedded = await post(gateway, {"model": MODEL, "input": "a", "user": "u"}, "/v1/embeddings")
    assert (200, 429) == (response.status_code, embedded.status_code)
    assert (Outcome.REJECTED, "stop", "") == turns[1]
    documents = [json.loads(block[6:]) for block in response.text.split("\n\n")[:-2]] if stream else [response.json()]
    said = "".join(
        choice.get("delta", choice.get("message", {})).get("content") or ""
        for document in documents
        for choice in document["choices"]
    )
    assert said.startswith("您的提问过于频繁，请 ")
    assert "0" == response.headers[f"{TOLD}requests"]


async def test_who_is_suspended_uses_nothing(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """They are not answered; a refused question counts, though its tokens come back."""

    class Suspended:
        async def check(self, person: Person | None, now: float, *, exempt: bool = False) -> Standing:
            del now, exempt
            return Standing(person.id if person else "", closed_until=UNTIL_LIFTED if person else None)

    bounds = Bounds(requests_per_minute=5, tokens_per_minute=1_000)
    async with limited(settings, engine, valkey, key=bounds) as gateway:
        standings = gateway.services.stages.standings
        gateway.set_stages(standings=Suspended())
        suspended = await post(gateway, asked())
        gateway.set_stages(standings=standings)
        word = Entry(id=1, term="炸弹", risk="A1d", action=Action.BLOCK)
        gateway.services.shelf.use(Library.build([word]))
        await post(gateway, asked(messages=[{"role": "user", "content": "炸弹"}]))
        left = (await post(gateway, asked(max_tokens=10))).headers
    assert f"{TOLD}requests" not in suspended.headers
    assert ("3", str(1_000 - 12)) == (left[f"{TOLD}requests"], left[f"{TOLD}tokens"])


async def test_moderations_are_requests(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """They ask no engine, and have no tokens."""
    async with limited(settings, engine, valkey, key=Bounds(requests_per_minute=1, tokens_per_minute=1)) as gateway:
        found = [await post(gateway, {"input": "a"}, "/v1/moderations") for _ in range(2)]
    assert [200, 429] == [response.status_code for response in found]


async def test_what_is_limited_is_counted(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """As rejected, and by whose limit it was."""
    async with limited(settings, engine, valkey, person=Bounds(requests_per_minute=1)) as gateway:
        for _ in range(3):
            await post(gateway, asked())
        gateway.services.flush_metrics()
        value = gateway.services.metrics.registry.get_sample_value
    labels = {"key": "acme/test", "whose": "person", "what": "requests"}
    assert 2 == value("gateway_limited_requests_total", labels)
    rejected = {"route": "chat", "model": MODEL, "key": "acme/test", "outcome": "rejected"}
    assert 2 == value("gateway_requests_total", rejected)


async def test_the_real_client_reads_it(settings: Settings, engine: FakeEngine, valkey: Path) -> None:
    """OpenAI's own library raises its RateLimitError, and finds the headers."""
    async with limited(settings, engine, valkey, key=Bounds(requests_per_minute=1)) as gateway:
        base = f"{gateway.url}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key="sk-gw-test-0123456789abcdef", max_retries=0) as client:
            ask = client.chat.completions.with_raw_response.create
            first = await ask(model=MODEL, messages=[{"role": "user", "content": "你好"}])
            with pytest.raises(openai.RateLimitError) as raised:
                await ask(model=MODEL, messages=[{"role": "user", "content": "你好"}])
    assert "0" == first.headers[f"{TOLD}requests"]
    assert ("requests", "rate_limit_exceeded") == (raised.value.type, raised.value.code)


async def test_no_limit_asks_nobody(settings: Settings, engine: FakeEngine) -> None:
    """Where none is set the state server is not even looked for, and no header speaks of one."""
    async with running(settings) as gateway:
        gateway.services.pool.update([endpoint(engine.port)])
        response = await post(gateway, asked(stream=True))
        assert gateway.services.limiter.meter._connection is None
    assert [name for name in response.headers if name.startswith("x-ratelimit")] == []


async def test_with_redis_away_each_worker_counts_alone(
    settings: Settings, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    """By default; the log says so once."""
    caplog.set_level(logging.WARNING)
    bounds = Bounds(requests_per_minute=2, tokens_per_minute=1_000, parallel_streams=1)
    async with running(settings.model_copy(update={"limits": Limits(person=bounds)})) as gateway:
        gateway.services.pool.update([endpoint(engine.port)])
        found = [await post(gateway, asked(stream=True)) for _ in range(3)]
    assert [200, 200, 429] == [response.status_code for response in found]
    assert "988" != found[1].headers[f"{TOLD}tokens"], "the first one was settled"
    assert 1 == caplog.text.count("rate limits are counted by each worker")


async def test_with_redis_away_it_can_be_closed(settings: Settings, engine: FakeEngine) -> None:
    """Nobody is answered uncounted who has a limit; who has none is."""
    limits = Limits(person=Bounds(requests_per_minute=2), state_away="closed")
    async with running(settings.model_copy(update={"limits": limits})) as gateway:
        gateway.services.pool.update([endpoint(engine.port)])
        named, unnamed = await post(gateway, asked()), await post(gateway, asked(""))
    assert (503, "limits_unknown", "1") == (
        named.status_code,
        named.json()["error"]["code"],
        named.headers["retry-after"],
    )
    assert 200 == unnamed.status_code
