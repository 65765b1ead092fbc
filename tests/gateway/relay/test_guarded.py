"""Every route, every text-bearing field, whole and streamed: a planted word is caught or observed, its twin is not."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.audit.record import Turn, Unrecorded
from keywords.entry import Action, Entry
from keywords.library import Library
from policies.answer_judge import Sentence
from policies.input_policy import Keywords
from policies.keyword_policy import CONTEXT
from policies.stream_guard import keyword_guards
from policies.verdict import Action as Then
from policies.verdict import Evidence, Verdict
from tests.fakes import NAME, SSE, USAGE, FakeEngine, Hang, Received, Send, Step, answer, chunk, event, head, stream
from tests.gateway.conftest import MODEL, Running, ring_document

WORD = "禁忌配方"
TWIN = "家常菜谱"
LIBRARY = Library.build([Entry(id=7, term=WORD, risk="A1d", action=Action.BLOCK)])
ASK = [{"role": "user", "content": "你好"}]


class Kept(Unrecorded):
    """Keeps the turns that were put on record."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    async def finished(self, turn: Turn) -> None:
        self.turns.append(turn)


@pytest.fixture
def guarded(gateway: Running) -> Running:
    """A worker with one forbidden word."""
    gateway.set_stages(policy=Keywords(lambda: LIBRARY), guard=keyword_guards(lambda: LIBRARY), audit=Kept())
    return gateway


def turn_of(gateway: Running) -> Turn:
    audit = gateway.services.stages.audit
    assert isinstance(audit, Kept)
    return audit.turns[-1]


def chat(*messages: dict[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/chat/completions", {"model": MODEL, "messages": list(messages), **more}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def newest(word: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return a request for each place of the newest words."""
    return {
        "chat": chat(said("system", "你是助手"), said("user", f"请说{word}怎么做")),
        "chat parts": chat(said("user", [{"type": "text", "text": "看"}, {"type": "text", "text": word}])),
        "chat, word across parts": chat(
            said("user", [{"type": "text", "text": word[:2]}, {"type": "text", "text": word[2:]}])
        ),
        "chat, word across messages": chat(said("user", f"看{word[:2]}"), said("user", word[2:])),
        "chat, prefilled answer": chat(said("user", "你好"), said("assistant", word)),
        "chat before tool results": chat(
            said("user", word), said("assistant", "好"), said("tool", "1", tool_call_id="1")
        ),
        "chat without user": chat(said("system", word)),
        "completion": ("/v1/completions", {"model": MODEL, "prompt": f"请说{word}"}),
        "completions": ("/v1/completions", {"model": MODEL, "prompt": ["你好", word]}),
        "suffix": ("/v1/completions", {"model": MODEL, "prompt": "你好", "suffix": word}),
        "embedding": ("/v1/embeddings", {"model": MODEL, "input": word}),
        "embeddings": ("/v1/embeddings", {"model": MODEL, "input": ["你好", word]}),
        "rerank": ("/v1/rerank", {"model": MODEL, "query": word, "documents": ["你好"]}),
    }


def _streams(place: str) -> bool:
    return not place.startswith(("embedding", "rerank"))


def around(word: str) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return a request for each place beside the newest words."""
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({"q": word}, ensure_ascii=False)},
    }
    tool = {"type": "function", "function": {"name": "f", "description": word, "parameters": {}}}
    deep = {"type": "object", "properties": {"q": {"type": "string", "enum": [word]}}}
    return {
        "system": chat(said("system", f"不要说{word}"), *ASK),
        "developer": chat(said("developer", word), *ASK),
        "history, user": chat(said("user", word), said("assistant", "不行"), *ASK),
        "history, assistant": chat(*ASK, said("assistant", word), *ASK),
        "history, parts": chat(said("user", [{"type": "text", "text": word}]), said("assistant", "不行"), *ASK),
        "history, tool call": chat(*ASK, {"role": "assistant", "tool_calls": [call]}, *ASK),
        "tool result": chat(*ASK, said("tool", word, tool_call_id="1")),
        "name": chat({**ASK[0], "name": word}),
        "reasoning": chat(*ASK, said("assistant", "好", reasoning_content=word), *ASK),
        "tool": chat(*ASK, tools=[tool]),
        "tool, deep": chat(*ASK, tools=[{**tool, "function": {"name": "f", "parameters": deep}}]),
        "function": chat(*ASK, functions=[{"name": "f", "description": word}]),
        "response format": chat(
            *ASK, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": deep}}
        ),
        "document": ("/v1/rerank", {"model": MODEL, "query": "你好", "documents": [word]}),
        "document, object": ("/v1/rerank", {"model": MODEL, "query": "你好", "documents": [{"text": word}]}),
    }


@pytest.mark.parametrize(
    ("place", "streamed"),
    [(place, streamed) for place in newest("") for streamed in (False, True) if not streamed or _streams(place)],
)
async def test_newest_words_enforce(guarded: Running, engine: FakeEngine, place: str, streamed: bool) -> None:
    """A question with the word is refused, and no engine is asked; its twin is answered."""
    path, body = newest(WORD)[place]
    generates = "messages" in body or "prompt" in body
    async with guarded.client() as client:
        refused = await client.post(path, json={**body, "stream": streamed})
        assert [] == engine.received
        answered = await client.post(path, json={**newest(TWIN)[place][1], "stream": streamed})
    if generates:
        assert 200 == refused.status_code
        assert "content_filter" in refused.text
        assert refused.text.endswith("data: [DONE]\n\n") == streamed
    else:
        assert (400, "content_filter") == (refused.status_code, refused.json()["error"]["code"])
    assert WORD not in refused.text
    assert 200 == answered.status_code
    assert "content_filter" not in answered.text
    assert 1 == len(engine.received)


@pytest.mark.parametrize("place", around(""))
async def test_everything_else_is_observed(guarded: Running, place: str) -> None:
    """The word beside the newest words refuses nobody, and is on record; its twin is not."""
    async with guarded.client() as client:
        path, body = around(WORD)[place]
        assert 200 == (await client.post(path, json=body)).status_code
        assert [(CONTEXT, "7")] == [(found.stage, found.what) for found in turn_of(guarded).observed]
        path, body = around(TWIN)[place]
        assert 200 == (await client.post(path, json=body)).status_code
        assert [] == turn_of(guarded).observed


CHANNELS: dict[str, Any] = {
    "content": lambda text: {"content": text},
    "reasoning_content": lambda text: {"reasoning_content": text},
    "reasoning": lambda text: {"reasoning": text},
    "thinking": lambda text: {"thinking": text},
    "refusal": lambda text: {"refusal": text},
    "tool name": lambda text: {"tool_calls": [{"index": 0, "id": "1", "type": "function", "function": {"name": text}}]},
    "tool arguments": lambda text: {"tool_calls": [{"index": 0, "function": {"arguments": text}}]},
    "second tool": lambda text: {"tool_calls": [{"index": 1, "function": {"arguments": text}}]},
    "custom tool": lambda text: {"tool_calls": [{"index": 0, "custom": {"input": text}}]},
    "custom tool's name": lambda text: {"tool_calls": [{"index": 0, "custom": {"name": text}}]},
    "function name": lambda text: {"function_call": {"name": text}},
    "function arguments": lambda text: {"function_call": {"arguments": text}},
    "text": lambda text: text,
}


def choice_of(channel: str, text: str, index: int, finish: str | None, *, whole: bool) -> dict[str, Any]:
    fields = CHANNELS[channel](text)
    choice: dict[str, Any] = {"index": index, "finish_reason": finish}
    if channel == "text":
        return {**choice, "text": fields}
    if whole:
        return {**choice, "message": {"role": "assistant", "content": None, **fields}}
    return {**choice, "delta": fields}


def _chunk(choices: list[dict[str, Any]], **more: Any) -> bytes:
    return event({"id": "1", "model": NAME, "choices": choices, **more})


def streamed_answer(channel: str, text: str, n: int) -> list[Step]:
    """Return a stream with *text* in the last choice, a character an event, and clean choices before it."""
    events = [_chunk([choice_of(channel, "好的", index, None, whole=False)]) for index in range(n - 1)]
    events += [_chunk([choice_of(channel, character, n - 1, None, whole=False)]) for character in f"前{text}后"]
    events += [_chunk([choice_of(channel, "", index, "stop", whole=False)]) for index in range(n)]
    return stream(*events, _chunk([], usage=USAGE), event(b"[DONE]"))


def whole_answer(channel: str, text: str, n: int) -> list[Step]:
    clean = [choice_of(channel, "好的", index, "stop", whole=True) for index in range(n - 1)]
    document = {
        "id": "1",
        "model": NAME,
        "choices": [*clean, choice_of(channel, f"前{text}后", n - 1, "stop", whole=True)],
    }
    return answer({**document, "usage": USAGE})


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("streams", [False, True])
async def test_answers_are_guarded(guarded: Running, engine: FakeEngine, channel: str, streams: bool, n: int) -> None:
    """In every channel of an answer the word is cut out before its first character leaves; its twin leaves as it came."""
    planted = WORD

    def script(received: Received) -> Sequence[Step]:
        del received
        return streamed_answer(channel, planted, n) if streams else whole_answer(channel, planted, n)

    engine.script = script
    path, body = chat(*ASK, n=n, stream=streams)
    if channel == "text":
        path, body = "/v1/completions", {"model": MODEL, "prompt": "你好", "n": n, "stream": streams}
    async with guarded.client() as client:
        caught = await client.post(path, json=body)
        planted = TWIN
        twin = await client.post(path, json=body)
    assert 200 == caught.status_code
    assert "禁" not in caught.text
    assert "后" not in caught.text.replace("以下", "")
    assert "content_filter" in caught.text
    assert caught.text.endswith("data: [DONE]\n\n") == streams
    assert "content_filter" not in twin.text
    expected = b"".join(step.data for step in script(Received()))  # type: ignore[union-attr]
    assert _meaning(expected, streams) == _meaning(twin.content, streams)


@pytest.mark.parametrize("streams", [False, True])
async def test_answers_that_are_json_are_read_as_json(guarded: Running, engine: FakeEngine, streams: bool) -> None:
    """Where an answer keeps a form, what its JSON says is judged: between a word's characters a line ends."""
    planted = json.dumps("\n".join(WORD))
    engine.script = lambda _: streamed_answer("content", planted, 1) if streams else whole_answer("content", planted, 1)
    path, body = chat(*ASK, stream=streams, response_format={"type": "json_object"})
    async with guarded.client() as client:
        caught = await client.post(path, json=body)
    assert "content_filter" in caught.text
    assert "u7981" not in caught.text


def _meaning(raw: bytes, streams: bool) -> Any:
    """Return the documents of an answer, `model` aside."""
    if not streams:
        return {**json.loads(raw[raw.index(b"{") :]), "model": None}
    payloads = [part.split(b"\n\n")[0] for part in raw.split(b"data: ")[1:]]
    return [{**json.loads(payload), "model": None} for payload in payloads if payload != b"[DONE]"]


@pytest.mark.parametrize("streams", [False, True])
async def test_no_word_hides_between_thought_and_answer(guarded: Running, engine: FakeEngine, streams: bool) -> None:
    """A word that begins in the thoughts and ends in the answer is one."""
    delta, message = {"reasoning_content": "想禁忌"}, {"reasoning_content": "想禁忌", "content": "配方是"}
    events = [
        event({"model": NAME, "choices": [{"index": 0, "delta": delta}]}),
        event({"model": NAME, "choices": [{"index": 0, "delta": {"content": "配方是"}, "finish_reason": "stop"}]}),
    ]
    whole = {"model": NAME, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": USAGE}
    engine.script = lambda _: stream(*events, event(b"[DONE]")) if streams else answer(whole)
    async with guarded.client() as client:
        path, body = chat(*ASK, stream=streams)
        caught = await client.post(path, json=body)
    assert "禁" not in caught.text and "配方" not in caught.text
    assert "content_filter" in caught.text


async def test_a_cut_ends_the_engines_work(guarded: Running, engine: FakeEngine) -> None:
    """Once the answer is cut, the engine's connection is dropped; an open thought is closed before the refusal."""
    text = [
        event({"model": NAME, "choices": [{"index": 0, "delta": {"content": c}}]}) for c in ("<think>想", WORD, "后")
    ]
    engine.script = lambda _: [Send(head(SSE)), *(Send(chunk(part)) for part in text), Hang()]
    async with guarded.client() as client:
        path, body = chat(*ASK, stream=True)
        caught = await client.post(path, json=body)
    contents = [
        document["choices"][0]["delta"].get("content")
        for document in _meaning(caught.content, streams=True)
        if document["choices"]
    ]
    assert "".join(filter(None, contents)).startswith("<think>想</think>")
    await engine.left.wait()
    assert "cut" == turn_of(guarded).outcome


INDEXING = [place for place in newest("") if not _streams(place)]


@pytest.mark.parametrize("place", INDEXING)
async def test_a_key_that_indexes_is_observed(guarded: Running, engine: FakeEngine, place: str) -> None:
    """Its embeddings and rerank inputs go to the engine, and what was found is on record; its chats are refused."""
    guarded.services.take_keys(ring_document(embeddings_guard="observe"))
    async with guarded.client() as client:
        path, body = newest(WORD)[place]
        assert 200 == (await client.post(path, json=body)).status_code
        assert 1 == len(engine.received)
        verdict = turn_of(guarded).verdict
        assert ("A1d", ["7"]) == (verdict.risk, [found.what for found in verdict.evidence])
        path, body = newest(WORD)["chat"]
        assert "content_filter" in (await client.post(path, json=body)).text
    assert 1 == len(engine.received)


class Asked:
    """A judge that keeps what it is shown."""

    def __init__(self) -> None:
        self.seen: list[Sentence] = []

    async def judge_answer(self, sentences: Sequence[Sentence]) -> Verdict:
        self.seen += sentences
        return Verdict(Then.REFUSE, "A1d", (Evidence("judge.answer", "fake"),))


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_judge_is_shown_the_sentence_of_an_answer(
    gateway: Running, engine: FakeEngine, *, streamed: bool
) -> None:
    """Once the answer is over; it changes nothing of it, and what it says is on record."""
    library = Library.build([Entry(id=9, term=TWIN, risk="A1d", action=Action.JUDGE)])
    judge, audit = Asked(), Kept()
    gateway.set_stages(policy=Keywords(lambda: library), answer_judge=judge, audit=audit)
    texts = (f"好的。这是{TWIN[:2]}", f"{TWIN[2:]}。再见。")
    parts = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
    parts.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    message = {"index": 0, "message": {"role": "assistant", "content": "".join(texts)}, "finish_reason": "stop"}
    events = [event({"id": "1", "model": NAME, "choices": [part]}) for part in parts]
    whole = {"id": "1", "model": NAME, "choices": [message], "usage": USAGE}
    engine.script = lambda _: stream(*events, event(b"[DONE]")) if streamed else answer(whole)
    path, body = chat(*ASK, stream=streamed)
    async with gateway.client() as client:
        response = await client.post(path, json=body)
    assert response.status_code == 200
    assert [(f"这是{TWIN}。", (9,))] == [(sentence.text, sentence.entries) for sentence in judge.seen]
    assert "judge.answer" in {found.stage for found in audit.turns[-1].observed}


@pytest.mark.parametrize("where", ["message", "hint", "type"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_an_engines_error_tells_no_word(
    guarded: Running, engine: FakeEngine, where: str, *, streamed: bool
) -> None:
    """Before an answer or in the middle of it; its harmless twin comes as the engine said it."""
    for word in (WORD, TWIN):
        said_by_it = {"message": "no", "type": "bad", where: f"I know {word}", "code": 400}
        steps = answer({"error": said_by_it}, "400 Bad Request")
        if streamed:
            steps = stream(event({"error": said_by_it}))
        engine.script = lambda _, steps=steps: steps
        path, body = chat(*ASK, stream=streamed)
        async with guarded.client() as client:
            response = await client.post(path, json=body)
        assert (word in response.text) is (word == TWIN)
        assert '"src":"engine"' in response.text
