"""What every engine must come out as, whatever it is: the same tests for all of them.

`make test-engines` adds llama.cpp's own program and llama-cpp-python's server, `make test-vllm` vLLM.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from tests.e2e.conftest import (
    CALLER,
    CLIENT_KEY,
    E5,
    LLAMA_FOLDER,
    LLAMA_PYTHON,
    LLAMA_SERVER,
    SMOL,
    TINY,
    VLLM,
    Stack,
)
from tests.tiny_gguf import WORDS

LLAMAS = [LLAMA_SERVER, LLAMA_PYTHON] if LLAMA_FOLDER is not None else []
MODELS = [TINY, SMOL, *LLAMAS, *([VLLM] if "GATEWAY_TEST_VLLM_PYTHON" in os.environ else [])]
SAYS = dict.fromkeys((TINY, LLAMA_SERVER, LLAMA_PYTHON, VLLM), "".join(WORDS))
ASK: Any = [{"role": "user", "content": "你好，请介绍一下你自己。"}]


@pytest.fixture
def client(stack: Stack) -> Iterator[OpenAI]:
    """The real client."""
    with OpenAI(base_url=stack.base_url, api_key=CLIENT_KEY, timeout=120, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("model", MODELS)
def test_whole_chat(client: OpenAI, model: str) -> None:
    """A whole answer has its text, its usage and the name that was asked for."""
    answer = client.chat.completions.create(model=model, messages=ASK, temperature=0, max_tokens=16, user="u")
    assert (model, "chat.completion") == (answer.model, answer.object)
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0
    assert SAYS.get(model, answer.choices[0].message.content) == answer.choices[0].message.content


@pytest.mark.parametrize("model", MODELS)
def test_streamed_chat(client: OpenAI, model: str) -> None:
    """A stream has the same text, one usage chunk at its end, and `choices` in every chunk."""
    chunks = list(client.chat.completions.create(model=model, messages=ASK, temperature=0, max_tokens=16, stream=True))
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert SAYS.get(model, text) == text
    assert text
    assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert {model} == {chunk.model for chunk in chunks}


@pytest.mark.parametrize("model", MODELS)
async def test_async_streams_side_by_side(stack: Stack, model: str) -> None:
    """More streams than the engine has slots all come to their end."""
    async with AsyncOpenAI(base_url=stack.base_url, api_key=CLIENT_KEY, timeout=120) as client:

        async def one() -> str:
            stream = await client.chat.completions.create(
                model=model, messages=ASK, temperature=0, max_tokens=12, stream=True
            )
            return "".join([c.delta.content or "" async for chunk in stream for c in chunk.choices])

        texts = await asyncio.gather(*(one() for _ in range(6)))
    assert all(texts)


@pytest.mark.parametrize("model", MODELS)
def test_completions(client: OpenAI, model: str) -> None:
    """The older route works whole and streamed."""
    answer = client.completions.create(model=model, prompt="\n", max_tokens=4, temperature=0)
    assert ("text_completion", model) == (answer.object, answer.model)
    chunks = list(client.completions.create(model=model, prompt="\n", max_tokens=4, temperature=0, stream=True))
    assert answer.choices[0].text == "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert chunks[-1].usage is not None


@pytest.mark.parametrize("model", [model for model in MODELS if model != LLAMA_PYTHON])  # it takes one prompt
def test_several_prompts(client: OpenAI, model: str) -> None:
    """Each prompt has its answer, whole and streamed."""
    more: Any = {"model": model, "prompt": ["\n", "\n"], "max_tokens": 3, "temperature": 0}
    answer = client.completions.create(**more)
    assert answer.choices[0].text == answer.choices[1].text
    said = {0: "", 1: ""}
    for chunk in client.completions.create(**more, stream=True):
        for choice in chunk.choices:
            said[choice.index] += choice.text
    assert said == {0: answer.choices[0].text, 1: answer.choices[1].text}


@pytest.mark.parametrize("model", MODELS)
def test_log_probabilities(client: OpenAI, model: str) -> None:
    """Log probabilities pass, whole and streamed; of the alternatives those that neither are nor begin a word."""
    more: Any = {
        "model": model,
        "messages": [{"role": "user", "content": "Count from one to ten."}],
        "max_tokens": 12,
        "logprobs": True,
        "top_logprobs": 2,
        "temperature": 0,
    }
    answer = client.chat.completions.create(**more)
    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content
    assert tokens is not None
    assert max(len(token.top_logprobs) for token in tokens) == 2
    chunks = list(client.chat.completions.create(**more, stream=True))
    assert any(choice.logprobs is not None for chunk in chunks for choice in chunk.choices)


PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL: Any = {"type": "function", "function": {"name": "weather", "description": "Weather.", "parameters": PARAMETERS}}


def test_tools(client: OpenAI) -> None:
    """A tool call comes out whole, and in pieces that join to the same."""
    more: Any = {"model": CALLER, "messages": ASK, "tools": [TOOL], "temperature": 0}
    answer = client.chat.completions.create(**more)
    assert answer.choices[0].message.tool_calls is not None
    call: Any = answer.choices[0].message.tool_calls[0]
    assert ("weather", {"city": "北京"}) == (call.function.name, json.loads(call.function.arguments))
    stream = client.chat.completions.create(**more, stream=True)
    calls = [c for chunk in stream for choice in chunk.choices for c in choice.delta.tool_calls or []]
    arguments = "".join(c.function.arguments or "" for c in calls if c.function is not None)
    assert {"city": "北京"} == json.loads(arguments)


def test_several_choices(client: OpenAI) -> None:
    """n = 2 gives two answers, whole and streamed, each with its finish."""
    answer = client.chat.completions.create(model=TINY, messages=ASK, temperature=0, n=2)
    assert [SAYS[TINY]] * 2 == [choice.message.content for choice in answer.choices]
    said, ends = {0: "", 1: ""}, set()
    for chunk in client.chat.completions.create(model=TINY, messages=ASK, temperature=0, n=2, stream=True):
        for choice in chunk.choices:
            said[choice.index] += choice.delta.content or ""
            ends |= {choice.index} if choice.finish_reason else set()
    assert ({0: SAYS[TINY], 1: SAYS[TINY]}, {0, 1}) == (said, ends)


def test_embeddings_know_chinese(client: OpenAI) -> None:
    """A paraphrase is nearer than another subject, and both encodings are the same vector."""
    texts = ["出差的机票由谁审批？", "坐飞机出差需要哪位领导批准？", "今天的午饭很好吃。"]
    vectors = [item.embedding for item in client.embeddings.create(model=E5, input=texts).data]  # asks for base64
    plain = client.embeddings.create(model=E5, input=texts[0], encoding_format="float").data[0].embedding
    near, far = (sum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:])
    assert (384, True) == (len(vectors[0]), near > far + 0.02)
    assert all(abs(a - b) < 1e-6 for a, b in zip(vectors[0], plain, strict=True))


def test_rerank_puts_the_right_document_first(stack: Stack) -> None:
    """A query finds its document."""
    body = {
        "model": E5,
        "query": "差旅费报销标准",
        "documents": ["食堂菜单", "出差住宿费和交通费的报销办法", "年会节目"],
    }
    with stack.client() as client:
        results = client.post("/v1/rerank", json={**body, "top_n": 2}).json()["results"]
    assert (1, 2) == (results[0]["index"], len(results))


@pytest.mark.parametrize("model", MODELS)
def test_a_prompt_that_is_too_long_is_the_engines_400(client: OpenAI, model: str) -> None:
    """The engine's own words on its context reach the client."""
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "好 " * 6000}])
    assert caught.value.body is not None
    assert caught.value.body["src"] == "engine"  # type: ignore[index]


def test_an_unknown_model(client: OpenAI) -> None:
    """The SDK raises what it raises for OpenAI."""
    with pytest.raises(NotFoundError):
        client.chat.completions.create(model="nothing", messages=ASK)


def test_a_wrong_key(stack: Stack) -> None:
    """The SDK raises what it raises for OpenAI."""
    with (
        OpenAI(base_url=stack.base_url, api_key="sk-wrong") as wrong,
        pytest.raises(APIStatusError, match="Incorrect API key"),
    ):
        wrong.models.list()


def test_models(client: OpenAI) -> None:
    """The list has the public names; one model is found by its path, slashes and all."""
    assert set(MODELS) | {CALLER, E5} == {model.id for model in client.models.list()}
    path = "/home/usr1/fine-model/Smol/"
    assert client.models.retrieve(path).id == path


def _busy(engine: httpx.Client) -> int:
    return sum(slot["is_processing"] for slot in engine.get("/slots").json())


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_frees_its_slot_within_a_second(stack: Stack, stream: bool) -> None:
    """llama.cpp's own /slots show it, for streams and for whole answers; best of three: a busy machine takes longer."""
    for _ in range(3):
        seconds = await until_free(stack, stream)
        if seconds < 1.0:
            break
    assert seconds < 1.0


async def until_free(stack: Stack, stream: bool) -> float:
    """Return how long an engine goes on with the answer of a client that has left."""
    body = json.dumps(
        {"model": SMOL, "messages": ASK, "max_tokens": 1500, "stream": stream, "ignore_eos": True}
    ).encode()
    with httpx.Client(base_url=f"http://127.0.0.1:{stack.engine_port}", timeout=10) as engine:
        while _busy(engine):
            await asyncio.sleep(0.02)
        _, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (CLIENT_KEY.encode(), len(body), body)
        )
        deadline = time.monotonic() + 60
        while _busy(engine) == 0:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        writer.transport.abort()
        left = time.monotonic()
        while _busy(engine):
            await asyncio.sleep(0.02)
        return time.monotonic() - left
