"""The path of a request, over real sockets, in front of an engine that may do anything."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any, Literal

import httpx
import pytest

from backends.endpoint import ReplicaState
from gateway.audit.entries import Strike
from gateway.audit.errors import AuditUnavailable
from gateway.audit.record import Outcome, Turn
from gateway.people.rules import Strikes
from gateway.people.standing import Standing
from gateway.relay.identity import Person
from gateway.settings import Queue, Settings
from policies.input_policy import Open
from policies.strikes import UNTIL_LIFTED, State
from policies.utterance import Utterance
from policies.verdict import CLEAN, Action, Evidence, Verdict
from tests.fakes import (
    END,
    NAME,
    SSE,
    USAGE_CHUNK,
    WORDS,
    Close,
    FakeEngine,
    Hang,
    Pause,
    Received,
    Reset,
    Send,
    Step,
    answer,
    chunk,
    delta,
    event,
    head,
    stream,
    vllm_events,
    well_behaved,
    whole_chat,
)
from tests.gateway.conftest import ALIAS, MODEL, Running, endpoint, eventually, ring_document, running

TEXT = "".join(WORDS)
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "你好"}], "user": "u-1"}
STREAM = {**ASK, "stream": True}
CHAT = "/v1/chat/completions"


def events_of(body: bytes) -> list[Any]:
    """Return the payloads of a stream, [DONE] as text."""
    blocks = [block for block in body.split(b"\n\n") if block and not block.startswith(b":")]
    return [json.loads(block[6:]) if block != b"data: [DONE]" else "[DONE]" for block in blocks]


def text_of(events: Sequence[Any]) -> str:
    chunks = [e for e in events if e != "[DONE]" and "error" not in e]
    return "".join(c["delta"].get("content") or "" for e in chunks for c in e["choices"])


async def post(gateway: Running, body: Any, path: str = CHAT, **headers: str) -> httpx.Response:
    async with gateway.client() as client:
        return await client.post(path, json=body, headers=headers)


def script(engine: FakeEngine, *steps: Step) -> None:
    """Have the engine take these steps with every request."""
    engine.script = lambda _: steps


async def test_a_whole_answer_is_the_engines_but_for_the_model(gateway: Running) -> None:
    """A whole answer carries the name that was asked for, and its content id."""
    response = await post(gateway, ASK)
    assert (200, {**whole_chat(), "model": MODEL}) == (response.status_code, response.json())
    assert len(response.headers["x-content-id"]) == 24


async def test_the_engine_is_told_the_content_id_as_a_uuid(gateway: Running, engine: FakeEngine) -> None:
    """So that its log can be searched for it; llama-cpp-python refuses what is no UUID."""
    response = await post(gateway, ASK)
    told = uuid.UUID(engine.received[-1].headers["x-request-id"])
    assert told.hex.endswith(response.headers["x-content-id"])


async def test_a_stream_ends_with_usage_and_done(gateway: Running, engine: FakeEngine) -> None:
    """A stream comes as events, chunked and uncompressed, with the usage that the engine was asked for."""
    response = await post(gateway, STREAM)
    events = events_of(response.content)
    assert (TEXT, "[DONE]") == (text_of(events), events[-1])
    assert events[-2]["usage"] == USAGE_CHUNK["usage"]
    assert engine.received[-1].json()["stream_options"] == {"include_usage": True}
    assert response.headers["transfer-encoding"] == "chunked"
    assert "content-encoding" not in response.headers
    assert response.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("name", [MODEL, MODEL.rstrip("/"), ALIAS, f"{ALIAS}/"])
async def test_a_model_is_found_by_every_name(gateway: Running, engine: FakeEngine, name: str) -> None:
    """Name, alias and path, with and without slash, lead to the model; the engine reads its own name."""
    response = await post(gateway, {**ASK, "model": name})
    assert (name, NAME) == (response.json()["model"], engine.received[-1].json()["model"])


async def test_an_adapter_is_asked_for_by_its_name(gateway: Running, engine: FakeEngine) -> None:
    """The engine reads the adapter's name; keys allow it, and the list shows it, apart from its base."""
    gateway.services.pool.update([endpoint(engine.port, adapters=("law",))])
    gateway.services.take_keys(ring_document(models=["law"]))
    response = await post(gateway, {**ASK, "model": "law"})
    assert ("law", "law") == (response.json()["model"], engine.received[-1].json()["model"])
    async with gateway.client() as client:
        listed = (await client.get("/v1/models")).json()["data"]
    assert (["law"], 404) == ([one["id"] for one in listed], (await post(gateway, ASK)).status_code)


async def test_an_unknown_model_is_404(gateway: Running, engine: FakeEngine) -> None:
    """llama.cpp takes any name; the gateway does not."""
    response = await post(gateway, {**ASK, "model": "gpt-4"})
    assert (404, "model", "model_not_found") == (
        response.status_code,
        response.json()["error"]["param"],
        response.json()["error"]["code"],
    )
    assert not engine.received


async def test_a_model_that_the_key_may_not_use_does_not_exist(gateway: Running) -> None:
    """A key with a list of models sees no other."""
    gateway.services.take_keys(ring_document(models=["other"]))
    response = await post(gateway, ASK)
    async with gateway.client() as client:
        listed, shown = await client.get("/v1/models"), await client.get(f"/v1/models/{ALIAS}")
    assert (404, [], 404) == (response.status_code, listed.json()["data"], shown.status_code)


async def test_a_model_is_not_asked_for_what_it_cannot(gateway: Running, engine: FakeEngine) -> None:
    """Where it is known what a model does, another route is a 400 that names `model`, and no engine hears of it."""
    embed: dict[str, Any] = {"model": ALIAS, "input": "a"}
    for tasks, path, body in (
        (("embed", "rerank"), CHAT, ASK),
        (("embed", "rerank"), "/v1/completions", {"model": ALIAS, "prompt": "a"}),
        (("generate",), "/v1/embeddings", embed),
        (("generate",), "/v1/rerank", {"model": ALIAS, "query": "a", "documents": ["b"]}),
    ):
        gateway.services.pool.update([endpoint(engine.port, tasks=tasks)])
        async with gateway.client() as client:
            response = await client.post(path, json=body)
        error = response.json()["error"]
        assert (400, "model", "model_not_suited") == (response.status_code, error["param"], error["code"])
    assert engine.received == []
    gateway.services.pool.update([endpoint(engine.port, tasks=("embed",))])
    async with gateway.client() as client:
        assert (await client.post("/v1/embeddings", json=embed)).status_code == 200


async def test_embeddings_and_rerank_pass(gateway: Running) -> None:
    """Routes without generated text are relayed too."""
    found = await post(gateway, {"model": ALIAS, "input": ["a"]}, "/v1/embeddings")
    ranked = await post(gateway, {"model": ALIAS, "query": "q", "documents": ["a", "b"]}, "/v1/rerank")
    assert ([0.5, -0.5], ALIAS) == (found.json()["data"][0]["embedding"], found.json()["model"])
    assert len(ranked.json()["results"]) == 2


async def test_completions_pass(gateway: Running) -> None:
    """The older route is relayed too."""
    response = await post(gateway, {"model": ALIAS, "prompt": "a"}, "/v1/completions")
    assert response.json()["choices"][0]["text"] == TEXT


@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_dead_before_the_first_byte_is_a_502(gateway: Running, engine: FakeEngine, body: Any) -> None:
    """An engine that dies before it answers is an ordinary error."""
    script(engine, Reset())
    response = await post(gateway, body)
    assert (502, "engine", "engine_broken") == (
        response.status_code,
        response.json()["error"]["src"],
        response.json()["error"]["code"],
    )


PARTS = list(vllm_events())


@pytest.mark.parametrize("end", [Reset(), Close()])
@pytest.mark.parametrize("tail", [b"", b'data: {"choices":[{"ind'])
async def test_dead_in_mid_stream_is_one_error_chunk(
    gateway: Running, engine: FakeEngine, end: Step, tail: bytes
) -> None:
    """What came before is there, then one error without `choices`, no [DONE], and an end."""
    steps = [Send(chunk(tail))] if tail else []
    script(engine, Send(head(SSE)), *(Send(chunk(e)) for e in PARTS[:4]), *steps, Pause(0.05), end)
    events = events_of((await post(gateway, STREAM)).content)
    assert text_of(events) == "".join(WORDS[:3])
    assert [e for e in events if e == "[DONE]" or "error" in e] == events[-1:]
    assert (events[-1]["error"]["src"], "choices" in events[-1]) == ("engine", False)


@pytest.mark.parametrize("end", [Reset(), Close(), Send(END), Hang()])
async def test_dead_after_the_finish_is_a_good_end(gateway: Running, engine: FakeEngine, end: Step) -> None:
    """An engine that has said everything may die: the answer gets its usage and [DONE]."""
    script(engine, Send(head(SSE)), *(Send(chunk(e)) for e in PARTS[:-2]), Pause(0.02), end)
    events = events_of((await post(gateway, STREAM)).content)
    assert (TEXT, "[DONE]") == (text_of(events), events[-1])
    assert events[-2]["usage"]["total_tokens"] > 0


async def test_an_end_without_finish_is_an_error(gateway: Running, engine: FakeEngine) -> None:
    """A stream that ends in order but in the middle is not passed off as an answer."""
    script(engine, *stream(*PARTS[:3]))
    events = events_of((await post(gateway, STREAM)).content)
    assert "error" in events[-1]


async def test_a_stall_before_the_first_token_times_out(gateway: Running, engine: FakeEngine) -> None:
    """A silent engine meets the first-token time-out; the client was pinged meanwhile."""
    script(engine, Hang())
    response = await post(gateway, STREAM)
    assert b": ping\n\n" in response.content
    assert events_of(response.content)[-1]["error"]["code"] == "engine_timeout"
    await asyncio.wait_for(engine.left.wait(), 2)


async def test_a_stall_in_mid_stream_times_out(gateway: Running, engine: FakeEngine) -> None:
    """An engine that falls silent meets the idle time-out."""
    script(engine, Send(head(SSE)), Send(chunk(PARTS[1])), Hang())
    response = await post(gateway, STREAM)
    assert events_of(response.content)[-1]["error"]["code"] == "engine_timeout"
    await asyncio.wait_for(engine.left.wait(), 2)


async def test_a_slow_whole_answer_times_out(gateway: Running, engine: FakeEngine) -> None:
    """A whole answer has a time of its own."""
    script(engine, Hang())
    response = await post(gateway, ASK)
    assert (504, "engine_timeout") == (response.status_code, response.json()["error"]["code"])
    await asyncio.wait_for(engine.left.wait(), 2)


async def test_slow_headers_do_not_matter(gateway: Running, engine: FakeEngine) -> None:
    """Headers that come byte by byte are headers."""
    body = json.dumps(whole_chat()).encode()
    raw = head("application/json", length=len(body)) + body
    script(engine, *(Send(raw[i : i + 1]) for i in range(60)), Pause(0.1), Send(raw[60:]))
    assert (await post(gateway, ASK)).status_code == 200


async def test_pings_are_blocks_of_their_own(gateway: Running, engine: FakeEngine) -> None:
    """Dify loses data that shares a block with a comment."""
    script(engine, Send(head(SSE)), Send(chunk(PARTS[0])), Pause(0.6), *(Send(chunk(e)) for e in PARTS[1:]), Send(END))
    content = (await post(gateway, STREAM)).content
    assert b": ping" in content.split(b"\n\n")
    assert text_of(events_of(content)) == TEXT


@pytest.mark.parametrize(
    "steps",
    [
        [Send(b"\x00\x01garbage\r\n\r\n")],
        [Send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nnope!")],
        answer(b"[]"),
        answer(b'{"choices": 7}'),
        [Send(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000)],
    ],
)
@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_garbage_is_an_engine_error(gateway: Running, engine: FakeEngine, body: Any, steps: list[Step]) -> None:
    """What is no HTTP, no JSON or no answer becomes an error of the engine, never a 500."""
    script(engine, *steps)
    response = await post(gateway, body)
    error = events_of(response.content)[-1] if response.status_code == 200 else response.json()
    assert (error["error"]["src"], error["error"]["code"]) == ("engine", "engine_broken")


async def test_garbage_in_mid_stream_is_an_error_chunk(gateway: Running, engine: FakeEngine) -> None:
    """An event that is no JSON ends the stream with an error; what came before it is not lost."""
    script(engine, Send(head(SSE) + chunk(PARTS[1] + b"data: <html>\n\n")), Hang())
    events = events_of((await post(gateway, STREAM)).content)
    assert (text_of(events[:-1]), events[-1]["error"]["code"]) == (WORDS[0], "engine_broken")


async def test_html_500_is_put_into_the_one_shape(gateway: Running, engine: FakeEngine) -> None:
    """A proxy's error page does not reach the client, its status does."""
    page = b"<html>oops</html>"
    script(engine, Send(head("text/html", "500 Internal Server Error", length=len(page)) + page))
    for body in (ASK, STREAM):
        response = await post(gateway, body)
        assert (500, "engine") == (response.status_code, response.json()["error"]["src"])
        assert "html" not in response.json()["error"]["message"]


async def test_an_engines_error_keeps_status_message_and_fields(gateway: Running, engine: FakeEngine) -> None:
    """llama.cpp's own words on a prompt that is too long reach the client."""
    said = {"code": 400, "message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}
    script(engine, *answer({"error": said}, "400 Bad Request"))
    for body in (ASK, STREAM):
        response = await post(gateway, body)
        assert response.status_code == 400
        expected = {**said, "code": "400", "param": None, "src": "engine"}
        assert expected == response.json()["error"]


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "302 Found"])
async def test_what_concerns_our_own_credentials_is_a_502(gateway: Running, engine: FakeEngine, status: str) -> None:
    """A client must not believe that its own key is wrong."""
    script(engine, *answer({"error": {"message": "bad key"}}, status))
    assert (await post(gateway, ASK)).status_code == 502


async def test_an_idle_connection_that_was_reset_is_replaced_unseen(gateway: Running, engine: FakeEngine) -> None:
    """A pooled connection that the engine has dropped costs no request."""
    assert (await post(gateway, ASK)).status_code == 200
    engine.close_connections()
    assert (await post(gateway, ASK)).status_code == 200
    assert engine.connections == 2


async def test_a_connection_that_dies_under_the_request_is_replaced_unseen(
    gateway: Running, engine: FakeEngine
) -> None:
    """An engine that closes an idle connection just as the next request arrives costs no request."""
    assert (await post(gateway, ASK)).status_code == 200
    steps: list[Sequence[Step]] = [[Close()]]

    def once(received: Received) -> Sequence[Step]:
        return steps.pop() if steps else well_behaved(received)

    engine.script = once
    assert (await post(gateway, ASK)).status_code == 200
    assert len(engine.received) == 3


async def test_connections_are_used_again(gateway: Running, engine: FakeEngine) -> None:
    """Ten answers, whole and streamed, need one connection."""
    for i in range(10):
        assert (await post(gateway, STREAM if i % 2 else ASK)).status_code == 200
    assert engine.connections == 1


async def test_nobody_listens(gateway: Running) -> None:
    """An engine that cannot be reached is a 502 that may be tried again."""
    gateway.services.pool.update([endpoint(1)])
    response = await post(gateway, ASK)
    assert (502, "engine_unreachable", "1") == (
        response.status_code,
        response.json()["error"]["code"],
        response.headers["retry-after"],
    )


@pytest.mark.parametrize("state", [ReplicaState.STARTING, ReplicaState.FAILED])
async def test_a_replica_that_is_not_ready_is_a_503(gateway: Running, engine: FakeEngine, state: ReplicaState) -> None:
    """The client is told what the model is doing."""
    gateway.services.pool.update([endpoint(engine.port, state=state)])
    response = await post(gateway, ASK)
    assert (503, "5") == (response.status_code, response.headers["retry-after"])
    assert state.value in response.json()["error"]["message"]


async def test_a_full_replica_is_a_429(settings: Settings, engine: FakeEngine) -> None:
    """Above its share of requests a replica takes no more; without a queue nobody waits for it."""
    script(engine, Pause(0.3), *answer(whole_chat()))
    async with running(settings.model_copy(update={"queue": Queue(places=0)})) as gateway:
        gateway.services.pool.update([endpoint(engine.port, max_in_flight=1)])
        first, second = await asyncio.gather(post(gateway, ASK), post(gateway, ASK))
    assert {200, 429} == {first.status_code, second.status_code}


@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_a_client_that_leaves_frees_the_engine(gateway: Running, engine: FakeEngine, body: Any) -> None:
    """The engine's connection is dropped within a second of the client's, whole answers included."""
    script(engine, Hang())
    payload = json.dumps(body).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-gw-test-0123456789abcdef\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(payload), payload)
    )
    await eventually(lambda: bool(engine.received))
    writer.transport.abort()
    await asyncio.wait_for(engine.left.wait(), 1)
    await eventually(lambda: not gateway.shared.tasks)
    assert set(gateway.services.pool.in_flight.values()) == {0}


async def test_a_slow_reader_slows_the_engine_and_loses_nothing(gateway: Running, engine: FakeEngine) -> None:
    """A client that pauses gets every event; the gateway holds no more than its bounds meanwhile."""
    many = [event(delta({"content": "字" * 4000})) for _ in range(600)]
    script(engine, *stream(*many, event(delta({}, "stop")), event(USAGE_CHUNK), event(b"[DONE]")))
    async with gateway.client() as client, client.stream("POST", CHAT, json=STREAM) as response:
        reading = response.aiter_bytes()
        content = await anext(reading)
        await asyncio.sleep(0.3)
        async for part in reading:
            content += part
    assert len(text_of(events_of(content))) == 4000 * 600


async def test_a_client_that_never_reads_is_cut_off(gateway: Running, engine: FakeEngine) -> None:
    """A client that asks and does not read does not hold an engine for ever."""
    many = [event(delta({"content": "字" * 40_000})) for _ in range(400)]
    script(engine, *stream(*many), Hang())
    payload = json.dumps(STREAM).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", gateway.port, limit=1024)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-gw-test-0123456789abcdef\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(payload), payload)
    )
    await asyncio.wait_for(engine.left.wait(), 10)
    writer.transport.abort()


class Refuses(Open):
    """Refuses everything, at once or by its judge."""

    def __init__(self, local: Verdict, judged: Verdict = CLEAN) -> None:
        self.verdicts = local, judged

    def local(self, utterance: Utterance) -> Verdict:
        del utterance
        return self.verdicts[0]

    async def judge(self, utterance: Utterance) -> Verdict:
        del utterance
        await asyncio.sleep(0.05)
        return self.verdicts[1]


class Counts:
    """Notes whose standing is asked for, and what is counted."""

    def __init__(self, standing: Standing | None = None) -> None:
        self.standing = standing or Standing("p1", counted=True)
        self.asked: list[Person | None] = []
        self.recorded: list[tuple[str, bool]] = []

    async def check(self, person: Person | None, now: float, *, exempt: bool = False) -> Standing:
        del now, exempt
        self.asked.append(person)
        return self.standing

    async def count(self, standing: Standing, utterance: str, turn: str, *, violation: bool) -> Strike:
        del utterance, turn
        self.recorded.append((standing.id, violation))
        return Strike(at=1)


class Log:
    """Notes the records of each turn, in order."""

    def __init__(self) -> None:
        self.records: list[tuple[str, Outcome]] = []
        self.finish_reasons: list[str] = []

    async def accepted(self, turn: Turn) -> None:
        turn.accepted = True
        self.records.append(("accepted", turn.outcome))

    async def judged(self, turn: Turn) -> None:
        self.records.append(("judged", turn.outcome))

    async def finished(self, turn: Turn) -> None:
        self.records.append(("finished", turn.outcome))
        self.finish_reasons.append(turn.finish_reason)


BAD = Verdict(Action.REFUSE, "A1a", (Evidence("keywords.in", "1"),))
MAYBE = Verdict(Action.JUDGE)


@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_a_refused_utterance_reaches_no_engine(gateway: Running, engine: FakeEngine, body: Any) -> None:
    """A refusal is an ordinary 200 answer; it is a strike, on record, and costs no replica."""
    counts, log = Counts(), Log()
    gateway.set_stages(policy=Refuses(BAD), standings=counts, audit=log)
    response = await post(gateway, body)
    assert (200, [], [("p1", True)]) == (response.status_code, engine.received, counts.recorded)
    assert counts.asked == [Person("acme", "u-1")]
    assert [("accepted", Outcome.REFUSED), ("finished", Outcome.REFUSED)] == log.records
    if body is STREAM:
        events = events_of(response.content)
        assert "无法回答" in text_of(events)
        assert ["content_filter"] == [
            c["finish_reason"] for e in events[:-1] for c in e["choices"] if c["finish_reason"]
        ]
        assert (events[-2]["choices"], "usage" in events[-2], events[-1]) == ([], True, "[DONE]")
    else:
        choice = response.json()["choices"][0]
        assert ("content_filter", True) == (choice["finish_reason"], "无法回答" in choice["message"]["content"])


@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_the_judge_refuses_before_a_byte_has_left(gateway: Running, engine: FakeEngine, body: Any) -> None:
    """The judge runs while the engine prefills; when it refuses, the engine is let go and nothing of it is seen."""
    counts, log = Counts(), Log()
    gateway.set_stages(policy=Refuses(MAYBE, BAD), standings=counts, audit=log)
    script(engine, Hang())
    response = await post(gateway, body)
    assert (200, True) == (response.status_code, "无法回答" in response.content.decode())
    assert counts.recorded == [("p1", True)]
    assert [what for what, _ in log.records] == ["accepted", "judged", "finished"]
    await asyncio.wait_for(engine.left.wait(), 1)


@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_the_judge_lets_pass(gateway: Running, body: Any) -> None:
    """A clean verdict of the judge changes nothing of the answer; it ends a row of violations."""
    counts = Counts(Standing("p1", counted=True, state=State(row=1)))
    gateway.set_stages(policy=Refuses(MAYBE, CLEAN), standings=counts)
    response = await post(gateway, body)
    said = (
        text_of(events_of(response.content)) if body is STREAM else response.json()["choices"][0]["message"]["content"]
    )
    assert said == TEXT
    assert counts.recorded == [("p1", False)]


EMBED = ("/v1/embeddings", {"model": ALIAS, "input": "x", "user": "u"})


async def test_a_suspended_person_reaches_no_engine(gateway: Running, engine: FakeEngine) -> None:
    """A suspended person reads so, whatever they ask."""
    gateway.set_stages(standings=Counts(Standing("p1", counted=True, state=State(why=1), closed_until=UNTIL_LIFTED)))
    response = await post(gateway, ASK)
    assert ([], 200) == (engine.received, response.status_code)
    assert "暂停" in response.json()["choices"][0]["message"]["content"]


async def test_a_suspended_person_embeds_nothing(gateway: Running, engine: FakeEngine) -> None:
    """There it is an error of its own, and counts as a suspension in the metrics."""
    log = Log()
    standing = Standing("p1", counted=True, state=State(why=1), closed_until=UNTIL_LIFTED)
    gateway.set_stages(standings=Counts(standing), audit=log)
    response = await post(gateway, {"model": ALIAS, "input": "x", "user": "u"}, "/v1/embeddings")
    assert ([], 400, "suspended") == (engine.received, response.status_code, response.json()["error"]["code"])
    assert [outcome for _, outcome in log.records] == [Outcome.SUSPENDED, Outcome.SUSPENDED]


@pytest.mark.parametrize("status", [400, 403, 429])
@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", ASK), ("/v1/chat/completions", STREAM), EMBED])
async def test_a_suspension_may_be_an_error(
    gateway: Running, engine: FakeEngine, status: Literal[400, 403, 429], path: str, body: Any
) -> None:
    """Where the settings want one: whole, also where a stream was asked for, and with the same words."""
    log = Log()
    standing = Standing("p1", counted=True, state=State(why=1), closed_until=UNTIL_LIFTED)
    gateway.set_stages(standings=Counts(standing), audit=log, strikes=Strikes(suspended_status=status))
    response = await post(gateway, body, path)
    error = response.json()["error"]
    assert ([], status, "suspended", "user") == (engine.received, response.status_code, error["code"], error["param"])
    assert "暂停" in error["message"]
    assert [outcome for _, outcome in log.records] == [Outcome.SUSPENDED, Outcome.SUSPENDED]


async def test_a_turn_knows_its_address(gateway: Running) -> None:
    """As the connection has it."""
    seen: list[str] = []

    class Addresses(Log):
        async def accepted(self, turn: Turn) -> None:
            seen.append(turn.address)
            await super().accepted(turn)

    gateway.set_stages(audit=Addresses())
    await post(gateway, ASK)
    assert seen == ["127.0.0.1"]


async def test_a_log_that_cannot_be_written_is_a_503(gateway: Running) -> None:
    """Nothing is served unrecorded."""

    class Full(Log):
        async def accepted(self, turn: Turn) -> None:
            del turn
            raise AuditUnavailable("No space left on device")

    gateway.set_stages(audit=Full())
    for body in (ASK, STREAM):
        response = await post(gateway, body)
        assert (503, "audit_unavailable") == (response.status_code, response.json()["error"]["code"])


async def test_where_no_text_can_be_the_answer_a_refusal_is_an_error(gateway: Running) -> None:
    """An embeddings request that is refused is a 400."""
    gateway.set_stages(policy=Refuses(BAD))
    response = await post(gateway, {"model": ALIAS, "input": "x"}, "/v1/embeddings")
    assert (400, "content_filter") == (response.status_code, response.json()["error"]["code"])


@pytest.mark.parametrize(
    ("fields", "trusted", "expected"),
    [
        ({"user": "u"}, False, "u"),
        ({"user": "", "safety_identifier": "s"}, False, "s"),
        ({"user": "unknown", "safety_identifier": "s"}, False, "s"),
        ({"user": " "}, False, None),
        ({"user": "unknown"}, False, None),
        ({}, False, None),
        ({}, True, "h"),
        ({"user": "unknown"}, True, "h"),
        ({"user": "u"}, True, "u"),
    ],
)
async def test_who_is_speaking(gateway: Running, fields: dict[str, str], trusted: bool, expected: str | None) -> None:
    """The person is `user`, else `safety_identifier`, else the header of a trusted key, else nobody."""
    counts = Counts()
    gateway.set_stages(standings=counts)
    gateway.services.take_keys(ring_document(trusts_user_header=trusted))
    body = {name: value for name, value in ASK.items() if name != "user"}
    await post(gateway, {**body, **fields}, **{"x-user-id": "h"})
    assert [Person("acme", expected) if expected else None] == counts.asked
    assert counts.recorded == []


@pytest.mark.parametrize(
    ("steps", "body", "outcome"),
    [
        (answer(whole_chat()), ASK, Outcome.OK),
        (stream(*PARTS), STREAM, Outcome.OK),
        ([Reset()], ASK, Outcome.ENGINE_ERROR),
        ([Send(head(SSE)), Send(chunk(PARTS[1])), Reset()], STREAM, Outcome.ENGINE_ERROR),
        (answer({"error": {"message": "long"}}, "400 Bad Request"), ASK, Outcome.CLIENT_ERROR),
    ],
)
async def test_every_turn_has_both_records(
    gateway: Running, engine: FakeEngine, steps: list[Step], body: Any, outcome: Outcome
) -> None:
    """However a turn ends, its end is on record, once."""
    log = Log()
    gateway.set_stages(audit=log)
    script(engine, *steps)
    await post(gateway, body)
    assert [("accepted", Outcome.OK), ("finished", outcome)] == log.records


def ended(*finishes: str) -> dict[str, Any]:
    """A whole answer whose choices ended in these ways."""
    message = {"role": "assistant", "content": "天"}
    choices = [{"index": i, "message": message, "finish_reason": why} for i, why in enumerate(finishes)]
    return whole_chat() | {"choices": choices}


def streamed(*finishes: str) -> list[Step]:
    """The same as a stream."""
    said = [event(delta({"content": "天"}, index=i)) for i in range(len(finishes))]
    return stream(*said, *(event(delta({}, why, index=i)) for i, why in enumerate(finishes)), event(USAGE_CHUNK))


@pytest.mark.parametrize("finishes", [("stop",), ("length",), ("tool_calls",), ("length", "stop"), ("stop", "stop")])
@pytest.mark.parametrize("whole", [True, False])
async def test_why_an_answer_ended_is_on_record(
    gateway: Running, engine: FakeEngine, finishes: tuple[str, ...], whole: bool
) -> None:
    """Whole or streamed; of several choices each way once."""
    log = Log()
    gateway.set_stages(audit=log)
    script(engine, *(answer(ended(*finishes)) if whole else streamed(*finishes)))
    assert (await post(gateway, {**(ASK if whole else STREAM), "n": len(finishes)})).status_code == 200
    assert log.finish_reasons == [",".join(dict.fromkeys(finishes))]


async def test_a_turn_that_cannot_be_recorded_is_not_answered(gateway: Running) -> None:
    """Without its record no byte of an answer leaves."""

    class Broken(Log):
        async def accepted(self, turn: Turn) -> None:
            del turn
            raise OSError(28, "No space left on device")

    gateway.set_stages(audit=Broken())
    response = await post(gateway, ASK)
    assert (500, "internal_error") == (response.status_code, response.json()["error"]["code"])
    assert "space" not in response.text


async def test_metrics_count_the_turn(gateway: Running) -> None:
    """A scrape shows requests, tokens, times and what is in flight, by model and replica."""
    await post(gateway, ASK)
    await post(gateway, STREAM)
    async with gateway.client(None) as client:
        text = (await client.get("/metrics")).text
    labels = f'{{model="{MODEL}",replica="qwen#0"}}'
    assert f'gateway_requests_total{{key="acme/test",model="{MODEL}",outcome="ok",route="chat"}} 2.0' in text
    assert f"gateway_completion_tokens_total{labels} {2.0 * len(WORDS)}" in text
    assert f"gateway_prompt_tokens_total{labels} 10.0" in text
    assert f"gateway_time_to_first_token_seconds_count{labels} 1.0" in text
    assert f"gateway_added_seconds_count{labels} 2.0" in text
    assert f"gateway_in_flight_requests{labels} 0.0" in text
    assert f"gateway_tokens_per_second{labels}" in text
