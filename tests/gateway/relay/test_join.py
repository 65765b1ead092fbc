import json
import time
from collections.abc import Sequence
from typing import Any

import pytest

from backends.errors import EngineBroken
from gateway.problems import Problem
from gateway.relay.join import Join
from tests.fakes import WORDS, FakeEngine, Received, Reset, Send, Step, chunk, delta, head, stream, vllm_events
from tests.gateway.conftest import Running, endpoint
from tests.gateway.relay.test_turn import ASK, post


def joined(*chunks: dict[str, Any]) -> dict[str, Any]:
    join = Join()
    for one in chunks:
        join.feed(json.dumps(one).encode())
    join.feed(b"[DONE]")
    assert join.done
    found: dict[str, Any] = json.loads(join.body())
    return found


def test_a_chat_is_joined() -> None:
    """Role, text, reasoning, finish, usage and whatever else the engine says stand where a whole answer has them."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    found = joined(
        delta({"role": "assistant", "content": None}),
        delta({"reasoning_content": "想"}),
        delta({"content": "你"}),
        delta({"content": "好"}),
        delta({}, "stop"),
        {**delta({}), "choices": [], "usage": usage, "timings": {"n": 1}},
    )
    message = {"role": "assistant", "content": "你好", "reasoning_content": "想"}
    assert found["choices"] == [{"index": 0, "finish_reason": "stop", "message": message}]
    assert ("chat.completion", usage, {"n": 1}) == (found["object"], found["usage"], found["timings"])


def test_tool_calls_are_joined() -> None:
    """The pieces of two calls become two calls."""

    def piece(index: int, **fields: Any) -> dict[str, Any]:
        return delta({"tool_calls": [{"index": index, **fields}]})

    found = joined(
        piece(0, id="a", type="function", function={"name": "f", "arguments": "{"}),
        piece(0, function={"arguments": "}"}),
        piece(1, id="b", type="function", function={"name": "g", "arguments": "[]"}),
        delta({}, "tool_calls"),
    )
    calls = [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
    ]
    assert found["choices"][0]["message"] == {"role": "assistant", "content": None, "tool_calls": calls}


def test_choices_and_log_probabilities_are_kept_apart() -> None:
    """Each choice has its own text and log probabilities, in the order of their index."""

    def text(index: int, said: str, finish: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": index, "text": said, "finish_reason": finish, "logprobs": {"content": [said]}}]}

    found = joined(text(1, "b"), text(0, "a"), text(1, "B", "stop"), text(0, "A", "length"))
    assert [(c["text"], c["finish_reason"], c["logprobs"]) for c in found["choices"]] == [
        ("aA", "length", {"content": ["a", "A"]}),
        ("bB", "stop", {"content": ["b", "B"]}),
    ]
    assert found["object"] == "text_completion"


def tool_calls(value: Any) -> bytes:
    return json.dumps(delta({"tool_calls": value})).encode()


GARBAGE = [
    b"x",
    b"[]",
    b"7",
    b'{"choices": [7]}',
    b'{"choices": [{"delta": 7}]}',
    b'{"choices": 7}',
    b'{"choices": {"a": 1}}',
    b"\xff",
    b"[" * 100_000,
    b'{"choices": [{"x":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
    b'{"choices": [{"text": 7}]}',
    b'{"choices": [{"text": "a", "finish_reason": 7}]}',
    b'{"choices": [{"text": "a", "logprobs": [1]}]}',
    *(json.dumps({"choices": [{"index": index, "text": "a"}]}).encode() for index in (-1, 2, "0", 0.0, True, None, [])),
    *(tool_calls([{"index": index, "function": {}}]) for index in (-1, 128, 3_000_000, "0", 1.0, None, {})),
    tool_calls(7),
    tool_calls({"index": 0}),
    tool_calls(["f"]),
    tool_calls([{"function": "f"}]),
    tool_calls([{"function": {"name": 7}}]),
    tool_calls([{"function": {"arguments": {"a": 1}}}]),
]


@pytest.mark.parametrize("payload", GARBAGE)
def test_garbage_is_the_engines_fault(payload: bytes) -> None:
    """What is no chunk is an engine error."""
    with pytest.raises(EngineBroken):
        Join(2).feed(payload)


def test_what_comes_after_the_end_is_not_part_of_the_answer() -> None:
    """Nothing behind [DONE] is read."""
    join = Join()
    for payload in (json.dumps(delta({"content": "a"}, "stop")).encode(), b"[DONE]", b'{"choices": [7]}', b"x"):
        join.feed(payload)
    join.feed(json.dumps(delta({"content": "b"})).encode())
    assert "a" == json.loads(join.body())["choices"][0]["message"]["content"]


@pytest.mark.usefixtures("untraced")
def test_a_long_answer_costs_what_its_pieces_cost() -> None:
    """Pieces are put together once, at the end."""
    join, piece = Join(), json.dumps(delta({"content": "x" * 100})).encode()
    began = time.process_time()
    for _ in range(60_000):
        join.feed(piece)
    assert time.process_time() - began < 5
    join.feed(json.dumps(delta({}, "stop")).encode())
    assert 6_000_000 == len(json.loads(join.body())["choices"][0]["message"]["content"])


def test_an_unfinished_answer_is_no_answer() -> None:
    """A stream that ends in the middle is not passed off as a whole answer."""
    join = Join()
    join.feed(json.dumps(delta({"content": "a"})).encode())
    with pytest.raises(EngineBroken):
        join.body()


def test_an_error_event_is_the_engines_problem() -> None:
    """An error inside the stream keeps its message and its status."""
    with pytest.raises(Problem) as caught:
        Join().feed(b'{"error": {"message": "no memory", "code": 503}}')
    assert (503, "no memory") == (caught.value.status, caught.value.message)


async def test_a_whole_answer_is_asked_as_a_stream_where_that_helps(gateway: Running, engine: FakeEngine) -> None:
    """The client gets one whole answer; the engine was asked for a stream with usage."""
    engine.script = lambda _: stream(*vllm_events())
    gateway.services.pool.update([endpoint(engine.port, notices_late=True)])
    response = await post(gateway, ASK)
    found = response.json()
    assert ("".join(WORDS), "application/json") == (
        found["choices"][0]["message"]["content"],
        response.headers["content-type"],
    )
    assert (ASK["model"], len(WORDS)) == (found["model"], found["usage"]["completion_tokens"])
    assert (True, {"include_usage": True}) == (
        engine.received[0].json()["stream"],
        engine.received[0].json()["stream_options"],
    )
    await post(gateway, ASK)
    assert engine.connections == 1


async def test_a_stream_that_breaks_is_an_error_of_a_whole_answer(gateway: Running, engine: FakeEngine) -> None:
    """Half an answer is none: the client gets an ordinary error."""

    def broken(received: Received) -> Sequence[Step]:
        del received
        return [Send(head("text/event-stream")), *(Send(chunk(e)) for e in list(vllm_events())[:3]), Reset()]

    engine.script = broken
    gateway.services.pool.update([endpoint(engine.port, notices_late=True)])
    response = await post(gateway, ASK)
    assert (502, "engine_broken") == (response.status_code, response.json()["error"]["code"])
