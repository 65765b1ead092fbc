"""Replicas that die, over real sockets: who notices, and who must not."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from tests.fakes import (
    END,
    SSE,
    WORDS,
    FakeEngine,
    Hang,
    Pause,
    Received,
    Reset,
    Send,
    Step,
    Until,
    answer,
    chunk,
    head,
    vllm_events,
    well_behaved,
    whole_chat,
)
from tests.gateway.conftest import MODEL, Running, endpoint, eventually

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "你好"}]}
STREAM = {**ASK, "stream": True}
CHAT = "/v1/chat/completions"
PARTS = list(vllm_events())


async def post(gateway: Running, body: dict[str, Any]) -> httpx.Response:
    async with gateway.client() as client:
        return await client.post(CHAT, json=body)


@contextlib.asynccontextmanager
async def pooled(gateway: Running, *engines: FakeEngine, **fields: Any) -> AsyncIterator[None]:
    """Serve the model with *engines* in this block."""
    replicas = [endpoint(one.port, replica=f"qwen#{i}", **fields) for i, one in enumerate(engines)]
    gateway.services.pool.update(replicas)
    yield
    await eventually(lambda: not gateway.shared.tasks)
    assert {0} == set(gateway.services.pool.in_flight.values())


@pytest.fixture
async def three() -> AsyncIterator[list[FakeEngine]]:
    async with FakeEngine() as a, FakeEngine() as b, FakeEngine() as c:
        yield [a, b, c]


DONE, ERROR = "[DONE]", "[ERROR]"


def told(text: str) -> str:
    """Return what a stream says, with its end."""
    payloads = [block.removeprefix("data: ") for block in text.split("\n\n") if block.startswith("data: ")]
    events = [json.loads(payload) for payload in payloads if payload != DONE]
    words = [choice["delta"].get("content") or "" for e in events for choice in e.get("choices", ())]
    return "".join(words) + ERROR * sum("error" in e for e in events) + DONE * payloads.count(DONE)


def received(engines: Sequence[FakeEngine]) -> int:
    return sum(len(one.received) for one in engines)


async def test_a_replica_killed_under_64_streams(gateway: Running, three: list[FakeEngine]) -> None:
    """Its own streams end with one error chunk each, the others whole; nobody new sees it until it is back."""
    dying, living = three[:2]
    on = asyncio.Event()

    def script(_: Received) -> Sequence[Step]:
        return [
            Send(head(SSE)),
            *(Send(chunk(e)) for e in PARTS[:4]),
            Until(on),
            *(Send(chunk(e)) for e in PARTS[4:]),
            Send(END),
        ]

    dying.script = living.script = script
    async with pooled(gateway, dying, living):
        tasks = [asyncio.create_task(post(gateway, STREAM)) for _ in range(64)]
        await eventually(lambda: received([dying, living]) == 64, seconds=30)
        await asyncio.sleep(0.2)
        port, lost = dying.port, len(dying.received)
        dying.die()
        dying.received.clear()
        living.script = well_behaved
        fresh = await asyncio.gather(*(post(gateway, ASK) for _ in range(32)))
        assert [200] * 32 == [response.status_code for response in fresh]
        on.set()
        said = [told(response.text) for response in await asyncio.gather(*tasks)]
        assert {"".join(WORDS[:3]) + ERROR: lost, "".join(WORDS) + DONE: 64 - lost} == Counter(said)
        assert 20 <= lost <= 44
        dying.script = well_behaved
        await dying.listen(port)
        await asyncio.sleep(1.1)
        await asyncio.gather(*(post(gateway, STREAM) for _ in range(16)))
        assert len(dying.received) >= 1


async def test_whole_answers_outlive_their_replica(gateway: Running, three: list[FakeEngine]) -> None:
    """One that dies before its first byte costs nobody an answer."""
    dying, living = three[:2]
    dying.script = lambda _: [Hang()]
    async with pooled(gateway, dying, living):
        tasks = [asyncio.create_task(post(gateway, ASK)) for _ in range(48)]
        await eventually(lambda: received([dying, living]) >= 40)
        dying.die()
        answers = await asyncio.gather(*tasks)
        assert {200} == {response.status_code for response in answers}
        assert {"".join(WORDS)} == {r.json()["choices"][0]["message"]["content"] for r in answers}


@pytest.mark.parametrize("joined", [False, True])
async def test_half_a_whole_answer_is_begun_anew(gateway: Running, three: list[FakeEngine], *, joined: bool) -> None:
    """Its client has seen nothing of it yet; where whole answers are asked as streams, too."""
    said = json.dumps(whole_chat()).encode()
    half = [Send(head("application/json", length=len(said)) + said[:40])]
    if joined:
        half = [Send(head(SSE)), *(Send(chunk(e)) for e in PARTS[:3])]
    steps: list[Sequence[Step]] = [[*half, Pause(0.05), Reset()]]
    for one in three:
        one.script = lambda r: steps.pop() if steps else well_behaved(r)
    async with pooled(gateway, *three, notices_late=joined):
        response = await post(gateway, ASK)
        assert (200, 2) == (response.status_code, received(three))
        assert "".join(WORDS) == response.json()["choices"][0]["message"]["content"]
        steps.extend([[*half, Reset()]] * 2)
        assert (502, 4) == ((await post(gateway, ASK)).status_code, received(three))


async def test_they_wait_for_a_slot_of_the_others(gateway: Running, three: list[FakeEngine]) -> None:
    """Where the replicas that are left are full, the orphans go first of all who wait."""
    dying, living = three[:2]
    dying.script = lambda _: [Hang()]
    living.script = lambda _: [Pause(0.1), *answer(whole_chat())]
    async with pooled(gateway, dying, living, slots=4):
        tasks = [asyncio.create_task(post(gateway, ASK)) for _ in range(16)]
        await eventually(lambda: len(dying.received) == 4)
        dying.die()
        assert {200} == {response.status_code for response in await asyncio.gather(*tasks)}


@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_a_request_that_kills_engines_is_not_taken_to_each(
    gateway: Running, three: list[FakeEngine], body: dict[str, Any]
) -> None:
    """It is sent twice at most; then it is an error."""
    for one in three:
        one.script = lambda _: [Reset()]
    async with pooled(gateway, *three):
        response = await post(gateway, body)
        assert (502, "engine_broken", 2) == (response.status_code, response.json()["error"]["code"], received(three))


async def test_where_nobody_listens_the_next_one_is_asked(gateway: Running, three: list[FakeEngine]) -> None:
    """However many: nothing was sent there."""
    async with pooled(gateway, *three):
        three[0].die()
        three[1].die()
        answers = await asyncio.gather(*(post(gateway, STREAM) for _ in range(12)))
        assert {200} == {response.status_code for response in answers}
        three[2].die()
        response = await post(gateway, ASK)
        assert (502, "engine_unreachable") == (response.status_code, response.json()["error"]["code"])


@pytest.mark.parametrize("status", ["400 Bad Request", "422 Unprocessable", "500 Internal Server Error"])
async def test_an_answer_is_an_answer(gateway: Running, three: list[FakeEngine], status: str) -> None:
    """A refused input is refused once; nobody asks another replica whether it sees it differently."""
    for one in three:
        one.script = lambda _: answer({"error": {"message": "no"}}, status)
    async with pooled(gateway, *three):
        response = await post(gateway, ASK)
        assert (int(status[:3]), 1) == (response.status_code, received(three))


async def test_a_replica_that_says_it_is_not_available_is_passed_over(
    gateway: Running, three: list[FakeEngine]
) -> None:
    """A 503 while it loads its model is no answer, unless there is nobody else."""
    loading = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
    for one in three[:2]:
        one.script = lambda _: answer(loading, "503 Service Unavailable")
    async with pooled(gateway, three[0], three[2]):
        assert {200} == {(await post(gateway, STREAM)).status_code for _ in range(8)}
    async with pooled(gateway, *three[:1]):
        response = await post(gateway, ASK)
        assert (503, "Loading model") == (response.status_code, response.json()["error"]["message"])


async def test_after_the_first_byte_nothing_is_asked_again(gateway: Running, three: list[FakeEngine]) -> None:
    """Half a head is an answer that has begun."""
    for one in three:
        one.script = lambda _: [Send(b"HTTP/1.1 200"), Pause(0.05), Reset()]
    async with pooled(gateway, *three):
        assert (502, 1) == ((await post(gateway, ASK)).status_code, received(three))


async def test_the_record_names_the_replica_that_answered(gateway: Running, three: list[FakeEngine]) -> None:
    """Metrics count for the one that did the work."""
    async with pooled(gateway, *three[:2]):
        three[0].die()
        await asyncio.gather(*(post(gateway, ASK) for _ in range(6)))
    gateway.services.flush_metrics()
    text = gateway.services.metrics.render().decode()
    assert f'gateway_completion_tokens_total{{model="{MODEL}",replica="qwen#1"}} {6 * len(WORDS)}.0' in text
    assert f'gateway_moved_requests_total{{model="{MODEL}",replica="qwen#1"}}' in text
