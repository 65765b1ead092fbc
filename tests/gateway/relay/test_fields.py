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
