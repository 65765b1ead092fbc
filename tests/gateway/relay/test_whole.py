import json
from typing import Any

import pytest

from backends.errors import EngineBroken
from gateway.problems import Problem
from gateway.relay import wire
from gateway.relay.chunks import Usage
from gateway.relay.whole import WholeAnswer
from gateway.relay.wire import CHAT, COMPLETION
from policies.stream_guard import Through
from tests.fakes import whole_chat
from tests.gateway.relay.test_stream import Holding

ASK = wire.read(CHAT, b'{"model": "asked", "messages": [{"role": "user", "content": "a"}]}')


def relay(document: Any, guard: Any = None, request: Any = ASK) -> dict[str, Any]:
    answer = WholeAnswer(request, json.dumps(document, ensure_ascii=False).encode())
    list(answer.guarded(guard or Through()))
    found: dict[str, Any] = json.loads(answer.encode(Usage(3, 4)))
    assert [choice.get("finish_reason") or "" for choice in found["choices"]] == answer.finishes
    return found


def test_only_the_model_changes() -> None:
    """What needs no change keeps its bytes, numbers as they were written included."""
    raw = (
        b'{ "model" : "engine", "x": 1.50, "choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": 1} }'
    )
    assert b'"x": 1.50' in WholeAnswer(ASK, raw.replace(b'"model" :', b'"model":')).encode(None)


def test_missing_usage_is_put_in() -> None:
    """Dify's client fails on an answer without usage."""
    document = whole_chat()
    del document["usage"]
    assert relay(document)["usage"] == {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


def test_a_message_always_has_its_content() -> None:
    """Dify reads message["content"], also of a tool call."""
    document = whole_chat()
    del document["choices"][0]["message"]["content"]
    assert relay(document)["choices"][0]["message"]["content"] is None


def test_a_guard_that_holds_text_loses_none() -> None:
    """What was held until the finish stands in its place, and nothing is changed."""
    assert {**whole_chat("你好啊"), "model": "asked"} == relay(whole_chat("你好啊"), Holding())


def test_a_cut_answer_ends_with_the_refusal() -> None:
    """Nothing of the word and nothing behind it, the refusal, content_filter."""
    document = whole_chat("好的禁词后面", reasoning_content="想")
    [choice] = relay(document, Holding())["choices"]
    assert choice["finish_reason"] == "content_filter"
    assert choice["message"]["content"].startswith("好的")
    assert "禁" not in json.dumps(choice, ensure_ascii=False)
    assert "后面" not in choice["message"]["content"]


def test_a_cut_in_the_reasoning_takes_the_content_with_it() -> None:
    """What stands behind the cut in the order of saying is not shown."""
    [choice] = relay(whole_chat("答案", reasoning_content="想禁"), Holding())["choices"]
    assert ("想", False) == (choice["message"]["reasoning_content"], "答案" in choice["message"]["content"])


def test_completions_are_guarded() -> None:
    """`text` is a channel like any other."""
    request = wire.read(COMPLETION, b'{"model": "asked", "prompt": "a"}')
    document = {"model": "e", "choices": [{"index": 0, "text": "好的禁词", "finish_reason": "stop"}]}
    [choice] = relay(document, Holding(), request)["choices"]
    assert ("content_filter", True, False) == (
        choice["finish_reason"],
        choice["text"].startswith("好的"),
        "禁" in choice["text"],
    )


@pytest.mark.parametrize("raw", [b"", b"<html>", b"7", b'{"choices": {}}', b"\xff"])
def test_what_is_no_answer_is_an_engine_error(raw: bytes) -> None:
    """Garbage is the engine's fault."""
    with pytest.raises(EngineBroken):
        WholeAnswer(ASK, raw)


def test_a_label_is_the_last_words() -> None:
    """Behind the text of a chat and of a completion, not behind a tool call."""
    answer = WholeAnswer(ASK, json.dumps(whole_chat("你好")).encode(), label="（AI生成）")
    list(answer.guarded(Through()))
    [choice] = json.loads(answer.encode(None))["choices"]
    assert ("你好（AI生成）", "stop") == (choice["message"]["content"], choice["finish_reason"])


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [{"index": 0, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "delta": {}, "message": {"content": "a"}}]},
        {"choices": [{"index": 3, "message": {"content": "a"}}]},
        {"choices": [{"index": -1, "message": {"content": "a"}}]},
    ],
)
def test_what_is_no_answer_is_the_engines_fault(document: dict[str, Any]) -> None:
    """A 200 without choices, or with others than were asked for, is not passed on as an answer."""
    with pytest.raises(EngineBroken):
        relay(document)


def test_an_error_under_200_is_an_error() -> None:
    """Its message and status are the client's."""
    with pytest.raises(Problem, match="out of memory"):
        relay({"error": {"message": "out of memory", "code": 500}})


def test_unread_numbers_that_no_float_holds() -> None:
    """Where the answer has to be written anew they are the engine's fault; else it passes as it came."""
    raw = json.dumps(whole_chat("a")).encode().replace(b'"created": 1', b'"created": 1e999')
    answer = WholeAnswer(ASK, raw, label="x")
    list(answer.guarded(Through()))
    with pytest.raises(EngineBroken):
        answer.encode(None)
