"""What may leave beside the texts of an answer: short labels that stay the same, and nothing that says something."""

import json
from typing import Any

import pytest

from backends.errors import EngineBroken
from gateway.relay.fields import Fields
from keywords.entry import Action, Entry
from keywords.library import Library
from policies.stream_guard import Through, keyword_guards

WORD = "坏词语"


def guarded() -> Fields:
    library = Library.build((Entry(id=1, term=WORD, risk="A1f", action=Action.BLOCK),))
    return Fields(keyword_guards(lambda: library)())


def chunk(delta: dict[str, Any], **document: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    return json.dumps({"id": "c-1", "object": "chat.completion.chunk", "choices": [choice], **document}).encode()


def test_a_usual_chunk_leaves_as_it_came() -> None:
    """Texts, ids, usage and numbers: not a byte is changed."""
    payload = chunk({"role": "assistant", "content": "你好"}, usage={"prompt_tokens": 3}, created=1)
    assert Fields(Through()).kept(payload) is payload


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_details": [{"text": WORD}]},
        {"audio": {"transcript": WORD}},
        {"annotations": [WORD]},
        {"novel_field": WORD},
        {"tool_calls": [{"index": 0, "id": "1", "novel": WORD}]},
        {"tool_calls": [{"index": 0, "function": {"name": "f", "novel": WORD}}]},
        {"function_call": {"name": "f", "novel": WORD}},
        {WORD: 1},
    ],
)
def test_what_is_no_known_text_does_not_leave(delta: dict[str, Any]) -> None:
    """A string in a field that nobody guards is left out with it, the text beside it stays."""
    out = guarded().kept(chunk({"content": "好", **delta}))
    assert WORD not in json.dumps(json.loads(out), ensure_ascii=False)
    assert json.loads(out)["choices"][0]["delta"]["content"] == "好"


@pytest.mark.parametrize("name", ["id", "system_fingerprint", "service_tier", "novel"])
def test_a_label_with_a_listed_word_or_of_great_length_does_not_leave(name: str) -> None:
    """Ids are for matching, not for reading."""
    for value in (WORD, f"x{WORD}", "x" * 300):
        assert name not in json.loads(guarded().kept(chunk({"content": "好"}, **{name: value})))


def test_a_label_stays_as_it_came_first() -> None:
    """A word cannot leave letter by letter in an id that changes from chunk to chunk."""
    fields = guarded()
    first = fields.kept(chunk({"content": "好"}, id="a"))
    second = fields.kept(chunk({"content": "好"}, id="b"))
    assert (json.loads(first)["id"], json.loads(second)["id"]) == ("a", "a")


def test_a_name_that_stands_twice_is_an_error() -> None:
    """Which of the two counts differs between parsers."""
    with pytest.raises(EngineBroken):
        Fields(Through()).kept(b'{"choices":[{"index":0,"delta":{"content":"a","content":"b"}}]}')


def test_the_most_choices_keep_their_labels() -> None:
    """Each of 128 choices has a role, a reason for its end and a call's id; none of them is one label too many."""
    call = {"index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}}
    choices = [
        {
            "index": index,
            "finish_reason": "tool_calls",
            "message": {"role": "assistant", "tool_calls": [{**call, "id": f"call-{index}"}]},
        }
        for index in range(128)
    ]
    payload = json.dumps({"id": "c-1", "choices": choices}).encode()
    assert guarded().kept(payload) is payload


def test_texts_of_calls_stay() -> None:
    """Functions and custom tools: what the guard sees leaves by it."""
    calls = [
        {"index": 0, "id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"index": 1, "id": "2", "type": "custom", "custom": {"name": "g", "input": "好"}},
    ]
    payload = chunk({"tool_calls": calls, "function_call": {"name": "f", "arguments": "{}"}, "thinking": "想"})
    assert guarded().kept(payload) is payload


def beside(*tops: Any) -> bytes:
    """Return a chunk with log probabilities in which other tokens stand."""
    token = {"token": "好", "bytes": list("好".encode()), "logprob": -1.0, "top_logprobs": [*tops]}
    choice = {"index": 0, "delta": {"content": "好"}, "logprobs": {"content": [token]}}
    return json.dumps({"id": "c-1", "choices": [choice]}).encode()


def other(token: str, spelled: bytes | None = None) -> dict[str, Any]:
    return {"token": token, "bytes": list(token.encode() if spelled is None else spelled), "logprob": -2.0}


def test_tokens_that_begin_a_word_are_taken_away() -> None:
    """What might have been said instead spells no word over several places; the others stay beside the text."""
    assert guarded().kept(harmless := beside(other("很"), other("不"))) is harmless
    kept = json.loads(guarded().kept(beside(other("很"), other("坏"), other("看坏词"), other("\ufffd", b"\xe5\x9d"))))
    half = {"token": "\ufffd", "bytes": None, "logprob": -2.0}
    assert [other("很"), half] == kept["choices"][0]["logprobs"]["content"][0]["top_logprobs"]


def test_tokens_of_completions_that_begin_a_word_are_taken_away() -> None:
    """There they are the names of numbers."""
    logprobs = {"tokens": ["好"], "token_logprobs": [-1.0], "top_logprobs": [{"好": -1.0, "坏": -2.0}, None]}
    payload = json.dumps({"choices": [{"index": 0, "text": "好", "logprobs": logprobs}]}).encode()
    kept = json.loads(guarded().kept(payload))["choices"][0]["logprobs"]
    assert {**logprobs, "top_logprobs": [{"好": -1.0}, None]} == kept


@pytest.mark.parametrize(
    "logprobs", [{"content": [{"top_logprobs": [{}]}]}, {"content": 5}, {"top_logprobs": [5]}, [1], 7]
)
def test_log_probabilities_of_no_known_shape_are_taken_away(logprobs: Any) -> None:
    """Nothing can be said for them."""
    payload = json.dumps({"choices": [{"index": 0, "text": "好", "logprobs": logprobs}]}).encode()
    assert {"index": 0, "text": "好"} == json.loads(guarded().kept(payload))["choices"][0]
