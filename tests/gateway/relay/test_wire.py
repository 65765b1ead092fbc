import json
from typing import Any

import pytest

from gateway.problems import Problem
from gateway.relay import wire
from gateway.relay.wire import CHAT, COMPLETION, DENIED, EMBEDDINGS, RERANK, Route

USER = {"role": "user", "content": "你好"}
CHAT_BODY: dict[str, Any] = {"model": "m", "messages": [USER]}


def refused(route: Route, body: Any, **options: Any) -> Problem:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(Problem) as caught:
        wire.read(route, raw, **options)
    assert 400 == caught.value.status
    return caught.value


IMAGE = {"type": "image_url", "image_url": {"url": "http://10.0.0.1/x.png"}}
BAD_FIELDS: list[tuple[Route, Any, str | None]] = [
    (CHAT, {"messages": [USER]}, "model"),
    (CHAT, {"model": 7, "messages": [USER]}, "model"),
    (CHAT, {"model": "m"}, "messages"),
    (CHAT, {"model": "m", "messages": []}, "messages"),
    (CHAT, {"model": "m", "messages": "hi"}, "messages"),
    (CHAT, {"model": "m", "messages": [{"content": "hi"}]}, "messages[0].role"),
    (CHAT, {"model": "m", "messages": [{"role": "user", "content": 7}]}, "messages[0].content"),
    (
        CHAT,
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
        "messages[0].content[0].text",
    ),
    (CHAT, {**CHAT_BODY, "stream": "yes"}, "stream"),
    (CHAT, {**CHAT_BODY, "user": 7}, "user"),
    (CHAT, {**CHAT_BODY, "n": 0}, "n"),
    (CHAT, {**CHAT_BODY, "n": 129}, "n"),
    (CHAT, {**CHAT_BODY, "stream_options": 1}, "stream_options"),
    (CHAT, {"model": "m", "messages": [{"role": "user", "content": [IMAGE]}]}, "messages[0].content[0].image_url.url"),
    (
        CHAT,
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "x", "image_url": "file:///etc/passwd"}]}]},
        "messages[0].content[0].image_url",
    ),
    (CHAT, b'{"model": "m", "temperature": 1e999, "messages": [{"role": "user", "content": "a"}]}', "temperature"),
    (COMPLETION, {"model": "m"}, "prompt"),
    (COMPLETION, {"model": "m", "prompt": [1, 2, 3]}, "prompt[0]"),
    (COMPLETION, {"model": "m", "prompt": [[1, 2]]}, "prompt[0]"),
    (COMPLETION, {"model": "m", "prompt": ["a"] * 65, "n": 2}, "n"),
    (COMPLETION, {"model": "m", "prompt": []}, "prompt"),
    (EMBEDDINGS, {"model": "m"}, "input"),
    (EMBEDDINGS, {"model": "m", "input": [1]}, "input[0]"),
    (EMBEDDINGS, {"model": "m", "input": "a", "stream": True}, "stream"),
    (RERANK, {"model": "m", "query": "q"}, "documents"),
    (RERANK, {"model": "m", "query": "q", "documents": [7]}, "documents[0]"),
    (RERANK, {"model": "m", "documents": ["a"]}, "query"),
]


@pytest.mark.parametrize(("route", "body", "param"), BAD_FIELDS)
def test_a_bad_field_is_named(route: Route, body: Any, param: str | None) -> None:
    """Every refusal of a body names the field."""
    problem = refused(route, body)
    assert param == problem.param
    assert param is None or param in problem.message


BAD_JSON = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"a"',
    b"{}x",
    b'{"a": NaN}',
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"model": "a", "model": "b", "messages": []}',
    b'{"messages": [{"role": "user", "role": "system", "content": "a"}], "model": "m"}',
    b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"a":' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("raw", BAD_JSON)
def test_bad_json_is_refused(raw: bytes) -> None:
    """What is not one JSON object without duplicate keys is a 400, however deep or long."""
    refused(CHAT, raw)


@pytest.mark.parametrize("name", DENIED)
def test_fields_around_the_guard_are_refused_by_name(name: str) -> None:
    """A field that opens a way around the guard is refused, and says so."""
    problem = refused(CHAT, {**CHAT_BODY, name: True})
    assert (name, "field_not_accepted") == (problem.param, problem.code)


def test_a_template_is_refused_in_the_arguments_too() -> None:
    """What is refused at the top is refused where an engine would also take it from."""
    problem = refused(CHAT, {**CHAT_BODY, "chat_template_kwargs": {"chat_template": "{{ x }}"}})
    assert (problem.param, problem.code) == ("chat_template_kwargs.chat_template", "field_not_accepted")


@pytest.mark.parametrize("value", [None, False])
def test_denied_fields_that_are_off_pass(value: Any) -> None:
    """A client that spells out the default is not refused."""
    assert wire.read(CHAT, json.dumps({**CHAT_BODY, "return_token_ids": value}).encode())


def test_unknown_fields_pass() -> None:
    """What the gateway does not know reaches the engine as it came."""
    body = {**CHAT_BODY, "min_p": 0.05, "chat_template_kwargs": {"enable_thinking": False}, "tools": [{"a": [1.0]}]}
    request = wire.read(CHAT, json.dumps(body).encode())
    assert {**body, "model": "served"} == json.loads(request.for_engine("served"))


def test_a_stream_always_asks_for_usage() -> None:
    """The engine is told to report usage, whatever the client said of it."""
    body = {**CHAT_BODY, "stream": True, "stream_options": {"include_usage": False, "x": 1}}
    sent = json.loads(wire.read(CHAT, json.dumps(body).encode()).for_engine("m"))
    assert {"include_usage": True, "x": 1} == sent["stream_options"]


def test_a_whole_answer_gets_no_stream_options() -> None:
    """vLLM refuses stream_options where nothing is streamed."""
    assert b"stream_options" not in wire.read(CHAT, json.dumps(CHAT_BODY).encode()).for_engine("m")


def test_data_urls_pass() -> None:
    """A picture that carries its own bytes opens no connection."""
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    assert wire.read(CHAT, json.dumps({"model": "m", "messages": [{"role": "user", "content": [part]}]}).encode())


def test_remote_images_pass_where_the_key_allows_them() -> None:
    """A key may be allowed to have pictures fetched."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": [IMAGE]}]}).encode()
    assert wire.read(CHAT, body, remote_images=True)


def test_the_newest_user_words_are_the_utterance() -> None:
    """History, system prompt and tool results are not what the person has just said."""
    parts = [
        {"type": "text", "text": "新"},
        {"type": "image_url", "image_url": {"url": "data:,"}},
        {"type": "text", "text": "词"},
    ]
    messages = [
        {"role": "system", "content": "系统"},
        {"role": "user", "content": "旧"},
        {"role": "assistant", "content": "答"},
        {"role": "user", "content": parts},
        {"role": "tool", "content": "结果"},
    ]
    assert "新\n词" == wire.read(CHAT, json.dumps({"model": "m", "messages": messages}).encode()).utterance.text


def test_dify_escapes_are_decoded_before_anything_looks() -> None:
    """Dify escapes all but ASCII; the utterance is the characters."""
    raw = b'{"model": "m", "messages": [{"role": "user", "content": "\\u4f60\\u597d"}]}'
    assert "你好" == wire.read(CHAT, raw).utterance.text


def test_prompts_times_n_are_the_choices() -> None:
    """Two prompts with n = 3 give six answers."""
    request = wire.read(COMPLETION, json.dumps({"model": "m", "prompt": ["a", "b"], "n": 3}).encode())
    assert 6 == request.choices
