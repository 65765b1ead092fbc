"""Engines that report no usage are asked for their own counts."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.fakes import WORDS, FakeEngine, Received, Reset, Step, answer, stream, vllm_events, whole_chat
from tests.gateway.conftest import Running, endpoint
from tests.gateway.relay.test_turn import ASK, STREAM, events_of, post


def engine_that_counts(received: Received) -> Sequence[Step]:
    """Answer without usage, and count on the routes that the engines have for it."""
    if received.path.startswith("/v1/"):
        if received.json().get("stream"):
            return stream(*vllm_events(usage=False))
        return answer({k: v for k, v in whole_chat().items() if k != "usage"})
    body: Any = received.json()
    if received.path == "/apply-template":
        return answer({"prompt": "<user>" + body["messages"][0]["content"]})
    if "content" in body:
        return answer({"tokens": list(range(len(body["content"])))})
    return answer({"count": 100 if "messages" in body else len(body.get("prompt", body.get("input")))})


TOKENS = len("".join(WORDS))
EXPECTED = {"vllm": 100, "llama_server": len("<user>你好"), "xllamacpp": len("<user>你好"), "llama_cpp_python": None}


@pytest.mark.parametrize("kind", EXPECTED)
@pytest.mark.parametrize("body", [ASK, STREAM])
async def test_usage_is_counted_by_the_engine(gateway: Running, engine: FakeEngine, kind: str, body: Any) -> None:
    """Each engine counts in its own way."""
    engine.script = engine_that_counts
    gateway.services.pool.update([endpoint(engine.port, engine=kind)])
    response = await post(gateway, body)
    usage = (events_of(response.content)[-2] if body is STREAM else response.json())["usage"]
    prompt = EXPECTED[kind]
    assert usage["completion_tokens"] == TOKENS
    assert usage["prompt_tokens"] == prompt if prompt is not None else usage["prompt_tokens"] > 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


LIES: list[Any] = [
    {"count": -5},
    {"count": "seven"},
    {"count": 1.5},
    {"count": None},
    {"count": 10**400},
    {"count": [1]},
    {},
    [],
    7,
    b'{"count": 1e999}',
    b"[" * 100_000,
    b'{"count": 7, "x": "' + b"x" * (1 << 20) + b'"}',
    b"\xff",
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: str(lie)[:20])
async def test_an_engine_that_counts_nonsense_is_not_believed(gateway: Running, engine: FakeEngine, lie: Any) -> None:
    """Whatever an engine says of tokens, the answer has usage that is some."""

    def lying(received: Received) -> Sequence[Step]:
        return engine_that_counts(received) if received.path.startswith("/v1/") else answer(lie)

    engine.script = lying
    response = await post(gateway, ASK)
    assert 200 == response.status_code
    usage = response.json()["usage"]
    assert 0 < usage["prompt_tokens"] < 100 > usage["completion_tokens"] > 0


@pytest.mark.parametrize("kind", ["external", "vllm"])
async def test_without_a_tokenizer_usage_is_estimated(gateway: Running, engine: FakeEngine, kind: str) -> None:
    """An engine that cannot be asked, or will not answer, still gives numbers above zero."""

    def silent(received: Received) -> Sequence[Step]:
        return engine_that_counts(received) if received.path.startswith("/v1/") else [Reset()]

    engine.script = silent
    gateway.services.pool.update([endpoint(engine.port, engine=kind)])
    usage = events_of((await post(gateway, STREAM)).content)[-2]["usage"]
    assert min(usage["prompt_tokens"], usage["completion_tokens"]) > 0
    assert json.dumps(usage)
