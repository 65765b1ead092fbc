"""The short way of a stream's ordinary chunks says and does what the long way does."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.relay import chunks
from gateway.relay.chunks import ModelName
from gateway.relay.replies import event
from gateway.relay.stream import LESSONS, AnswerStream
from gateway.relay.usual import Usual, learn
from policies.flow import Step
from policies.stream_guard import Through
from policies.verdict import Action, Verdict

MODEL = "engine-name"
ASKED = "/models/Qwen3/"
SHAPES: dict[str, dict[str, Any]] = {
    "vllm": {"id": "1", "object": "chat.completion.chunk", "created": 7, "model": MODEL, "choices": [{"index": 0}]},
    "llama.cpp": {"choices": [{"finish_reason": None, "index": 0}], "created": 7, "id": "1", "model": MODEL},
    "second choice": {"model": MODEL, "choices": [{"index": 1, "logprobs": None}]},
    "no model": {"choices": [{"index": 0}]},
}
CHANNELS = ("content", "reasoning_content", "reasoning", "text")


def chunk(shape: str, channel: str, text: str, **more: Any) -> bytes:
    """Return a chunk of an engine, compact, with its text in *channel*."""
    document = json.loads(json.dumps(SHAPES[shape]))
    document["choices"][0] |= {"text": text} if channel == "text" else {"delta": {channel: text}}
    document.update(more)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def learned(payload: bytes) -> Usual | None:
    decoded = chunks.decode(payload)
    assert decoded.choices
    return learn(payload, decoded.choices[0], ModelName(ASKED), decoded.model)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("channel", CHANNELS)
def test_chunks_alike_are_recognised(shape: str, channel: str) -> None:
    """Engines' shapes, each channel: the text comes out, escaped or not, and the name is put back."""
    usual = learned(chunk(shape, channel, "first"))
    assert usual is not None
    for text in ("你好", 'a "quoted" word', "line\nbreak", "", "\\", '","finish_reason":"stop"'):
        payload = chunk(shape, channel, text)
        assert text == usual.text(event(payload))
        decoded = json.loads(usual.renamed(event(payload))[6:])
        expected = json.loads(payload)
        if "model" in expected:
            expected["model"] = ASKED
        assert expected == decoded
    assert (shape == "no model") == usual.same


@pytest.mark.parametrize("number", [0, 2])
def test_pieces_of_arguments_are_recognised(number: int) -> None:
    """A call's arguments come in hundreds of chunks; those of another call are not taken for them."""

    def piece(text: str, number: int = number) -> bytes:
        call = {"index": number, "function": {"arguments": text}}
        document = {"model": MODEL, "choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}
        return json.dumps(document, separators=(",", ":")).encode()

    usual = learned(piece('{"q'))
    assert usual is not None
    assert f"tool_calls.{number}.arguments" == usual.channel
    assert '\\u6cd5"' == usual.text(event(piece('\\u6cd5"')))
    assert usual.text(event(piece("a", 1))) is None
    assert json.loads(piece('"x"'))["choices"] == json.loads(usual.saying('"x"')[6:])["choices"]


def test_spellings_of_other_serialisers_are_recognised() -> None:
    """Blanks behind colons, and all beyond ASCII escaped: Python's default."""
    document = {"model": MODEL, "choices": [{"index": 0, "delta": {"content": "你"}}]}
    usual = learned(json.dumps(document).encode())
    assert usual is not None
    document["choices"][0]["delta"]["content"] = "好"  # type: ignore[index]
    assert usual.text(event(json.dumps(document).encode())) == "好"


@pytest.mark.parametrize(
    "payload",
    [
        chunk("vllm", "content", ""),
        chunk("vllm", "role", "assistant"),
        b'{"choices":[{"index":0,"delta":{"content":"a","reasoning":"b"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}',
        b'{"choices":[{"index":0,"delta":{"content":"a","content":"a"}}]}',
        b'{"x":{"content":"a"},"choices":[{"index":0,"delta":{"content":"a"}}]}',
        b'{"choices":[{"index":0,"delta":{"content":"\\u0061"}}]}',
        b'{"choices":[{"index":0,"delta":{"tool_calls":[{"function":{"name":"a","arguments":"a"}}]}}]}',
        b'{"choices":[{"index":0,"delta":{"arguments":"a","tool_calls":[{"function":{"arguments":"a"}}]}}]}',
    ],
)
def test_what_is_not_ordinary_is_not_learned(payload: bytes) -> None:
    """No text, several, an end, a field that stands twice, a spelling of its own."""
    usual = learned(payload)
    assert usual is None


@pytest.mark.parametrize(
    "data",
    [
        event(chunk("vllm", "content", "x", created=8)),
        event(chunk("vllm", "reasoning", "x")),
        event(chunk("vllm", "content", "x"))[:-1],
        event(chunk("vllm", "content", "x")) * 2,
        event(chunk("vllm", "content", "x")).replace(b"\n\n", b"\r\n\r\n"),
        event(chunk("vllm", "content", "x")).replace(b'"x"', b'"x","content":"y"'),
        event(chunk("vllm", "content", "x")).replace(b'"x"', b"null"),
        event(chunk("vllm", "content", "x")).replace(b'"x"', b'"x'),
        event(chunk("vllm", "content", "x")).replace(b'"x"', b""),
        event(chunk("vllm", "content", "x")).replace(b'"x"', b'"\xff"'),
        event(chunk("vllm", "content", "x")).replace(b'"x"', b'"a\nb"'),
    ],
)
def test_what_differs_is_not_taken_for_usual(data: bytes) -> None:
    """Another field, another channel, half an event, two, a second text beside the first, broken JSON."""
    usual = learned(chunk("vllm", "content", "first"))
    assert usual is not None
    assert usual.text(data) is None


class Masking:
    """A guard that writes x for a, holds b back, and cuts at c."""

    def __init__(self) -> None:
        self.held = ""

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        del choice, channel
        text, self.held = self.held + delta, ""
        if "c" in text:
            return Step(text.partition("c")[0], Verdict(Action.REFUSE, "A1a"))
        if text.endswith("b"):
            text, self.held = text[:-1], "b"
        return Step(text.replace("a", "x"))

    def finish(self, choice: int) -> Step:
        del choice
        held, self.held = self.held, ""
        return Step("", None, (("content", held),) if held else ())

    def harmless(self, token: str, *, half: bool = False) -> bool:
        del token
        return not half

    def allows(self, text: str, chosen: str, others: Sequence[str]) -> bool:
        del text, chosen, others
        return True


deltas = st.lists(
    st.tuples(
        st.sampled_from(["vllm", "vllm", "vllm", "llama.cpp", "no model"]),
        st.sampled_from(["content", "content", "content", "reasoning", "text"]),
        st.text(st.sampled_from('ab d"\\你\n'), max_size=4) | st.sampled_from(["c", '"},"x":"']),
        st.sampled_from([7, 7, 7, 8]),
    ),
    max_size=20,
)


@given(deltas, st.sampled_from([Through, Masking]))
def test_the_short_way_is_the_long_way(stream: list[tuple[str, str, str, int]], guard: Any) -> None:
    """Whatever comes in whatever order, both say the same to the client and know the same afterwards."""
    short, long = AnswerStream(ASKED, 1, guard()), AnswerStream(ASKED, 1, guard())
    for shape, channel, text, created in stream:
        data = event(chunk(shape, channel, text, created=created))
        long.usual = None
        expected = long.feed(data[6:-2])
        out = short.feed_event(data)
        out = short.feed(data[6:-2]) if out is None else out
        assert _documents(expected) == _documents(out)
    said = ({i: "".join(t) for i, t in answer.said.items() if t} for answer in (short, long))
    assert next(said) == next(said)
    assert (short.cut, short.text_chunks) == (long.cut, long.text_chunks)
    assert _documents(short.end(None)) == _documents(long.end(None))


def _documents(out: bytes) -> list[Any]:
    return [json.loads(block[6:]) for block in out.split(b"\n\n") if block and block != b"data: [DONE]"]


def test_a_stream_without_usual_chunks_is_not_learned_from_for_ever() -> None:
    """Where each chunk is another one, as with log probabilities, the lessons end; one that helps renews them."""
    answer = AnswerStream(ASKED, 1, Through())
    for created in range(LESSONS):
        answer.feed(chunk("vllm", "content", "x", created=created))
    assert answer.usual is not None
    answer.feed(chunk("vllm", "content", "x", created=LESSONS))
    assert answer.usual is None
