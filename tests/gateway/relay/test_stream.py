"""The rules of a stream, at byte level, fed with what engines really send."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from backends.errors import EngineBroken
from gateway.problems import Problem
from gateway.relay.chunks import Usage, tokens
from gateway.relay.sse import EventSplitter
from gateway.relay.stream import DONE, AnswerStream
from policies.flow import Step
from policies.stream_guard import Through
from policies.verdict import Action, Verdict

ASKED = "/home/usr1/fine-model/Qwen3-14B-5e5/"
ENGINE = "engine-name"
BAD = Verdict(Action.REFUSE, "A1a")


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": {} if delta is None else delta, "finish_reason": finish}
    return json.dumps({"id": "1", "model": ENGINE, "choices": [choice], **more}, separators=(",", ":")).encode()


USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def usage_chunk(**more: Any) -> bytes:
    document = {"id": "1", "model": ENGINE, "choices": [], "usage": USAGE, **more}
    return json.dumps(document, separators=(",", ":")).encode()


VLLM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "你"}),
    chunk({"content": "好"}, "stop"),
    usage_chunk(),
    b"[DONE]",
]
LLAMA = [
    chunk({"role": "assistant", "content": None}),
    chunk({"content": "你"}),
    chunk({"content": "好"}),
    chunk({}, "stop"),
    usage_chunk(timings={"predicted_n": 2}),
    b"[DONE]",
]
NO_USAGE = [chunk({"role": "assistant", "content": "你好"}), chunk({}, "stop"), b"[DONE]"]
USAGE_WITH_CHOICES = [chunk({"content": "你"}, usage=USAGE), chunk({"content": "好"}, "stop", usage=USAGE), b"[DONE]"]
NO_DONE = [chunk({"content": "你好"}, "stop"), usage_chunk()]
TWICE = [*VLLM, usage_chunk(), b"[DONE]"]
NO_MODEL = [
    b'{"choices":[{"index":0,"delta":{"content":"\xe4\xbd\xa0\xe5\xa5\xbd"},"finish_reason":"stop"}]}',
    b"[DONE]",
]
NO_CHOICES = [b'{"id":"1","model":"engine-name"}', *VLLM]

SEVERAL_PROMPTS = [b"null", *LLAMA]

ENGINES = {
    "llama.cpp, several prompts": SEVERAL_PROMPTS,
    "vllm": VLLM,
    "llama.cpp": LLAMA,
    "no usage": NO_USAGE,
    "usage beside choices": USAGE_WITH_CHOICES,
    "no [DONE]": NO_DONE,
    "everything twice": TWICE,
    "no model": NO_MODEL,
    "a chunk without choices": NO_CHOICES,
}
FRAMINGS = {
    "lf": lambda payload: b"data: " + payload + b"\n\n",
    "crlf": lambda payload: b"data: " + payload + b"\r\n\r\n",
    "comments": lambda payload: b": ping\ndata: " + payload + b"\n\n",
    "two data lines": lambda payload: b"data: " + payload.replace(b",", b",\ndata: ", 1) + b"\n\n",
}


def relay(raw: Sequence[bytes], guard: Any = None, choices: int = 1) -> bytes:
    """Return what the client gets for the engine's reads *raw*."""
    answer = AnswerStream(ASKED, choices, guard or Through())
    splitter = EventSplitter(1 << 20)
    out = b"".join(answer.feed(payload) for read in raw for payload in splitter.feed(read))
    out += b"".join(answer.feed(payload) for payload in splitter.finish())
    if answer.cut is not None:
        out += answer.refused("不能继续。")
    assert answer.complete
    assert finishes_of(out) == answer.finishes
    return out + answer.end(answer.tokens or Usage(prompt_tokens=9, completion_tokens=9))


def finishes_of(out: bytes) -> list[str]:
    """Why each choice ended, as the client reads it."""
    chunks = [json.loads(block.removeprefix(b"data: ")) for block in out.split(b"\n\n") if block]
    found = [choice.get("finish_reason") for chunk in chunks for choice in chunk["choices"]]
    return [why for why in found if why]


def blocks_of(out: bytes) -> list[bytes]:
    assert out.endswith(b"\n\n")
    return out[:-2].split(b"\n\n")


def check_rules(out: bytes) -> list[dict[str, Any]]:
    """Hold *out* to every rule of Dify's reader and return the decoded chunks."""
    assert b"\r" not in out
    blocks = blocks_of(out)
    assert all(block.startswith(b"data: ") and b"\n" not in block for block in blocks)
    assert b"data: [DONE]" == blocks[-1]
    assert 1 == blocks.count(b"data: [DONE]")
    chunks = [json.loads(block[6:]) for block in blocks[:-1]]
    assert all("choices" in chunk for chunk in chunks)
    usages = [chunk for chunk in chunks if chunk["choices"] == []]
    assert usages == chunks[-1:]
    assert usages[0]["usage"]["total_tokens"] > 0
    assert all(chunk.get("model", ASKED) == ASKED for chunk in chunks)
    return chunks


def text_of(chunks: list[dict[str, Any]], field: str = "content", index: int = 0) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get(field) or "" for choice in choices)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("engine", ENGINES)
def test_whatever_an_engine_sends_the_client_gets_the_one_form(engine: str, framing: str) -> None:
    """Every engine's quirks come out as the form that Dify reads, wherever the reads are cut."""
    raw = b"".join(FRAMINGS[framing](payload) for payload in ENGINES[engine])
    expected = relay([raw])
    assert "你好" == text_of(check_rules(expected))
    for cut in range(1, len(raw)):
        assert expected == relay([raw[:cut], raw[cut:]]), cut
    assert expected == relay([raw[i : i + 1] for i in range(len(raw))])


def test_the_engines_bytes_pass_but_for_the_model() -> None:
    """A chunk leaves as the engine wrote it, key order and blanks included, except its model."""
    odd = b'{ "x" : 1.50, "model": "engine-name", "choices" : [ {"delta":{"content":"\\u4f60"},"index":0} ] }'
    answer = AnswerStream(ASKED, 1, Through())
    assert b"data: " + odd.replace(b"engine-name", ASKED.encode()) + b"\n\n" == answer.feed(odd)


def test_a_model_name_inside_the_text_stays() -> None:
    """Text that looks like the field is not taken for it."""
    said = '"model":"engine-name"'
    out = AnswerStream(ASKED, 1, Through()).feed(chunk({"content": said}))
    document = json.loads(out[6:])
    assert (ASKED, said) == (document["model"], document["choices"][0]["delta"]["content"])


def test_a_nested_field_of_the_same_value_stays() -> None:
    """Where the spelling stands twice, only the field at the top is exchanged."""
    document = {"extra": {"model": ENGINE}, "model": ENGINE, "choices": [{"index": 0, "delta": {"content": "a"}}]}
    out = AnswerStream(ASKED, 1, Through()).feed(json.dumps(document).encode())
    assert (ENGINE, ASKED) == (json.loads(out[6:])["extra"]["model"], json.loads(out[6:])["model"])


def test_what_is_no_json_breaks_the_answer() -> None:
    """Garbage from an engine is an error of the engine."""
    with pytest.raises(EngineBroken):
        AnswerStream(ASKED, 1, Through()).feed(b"<html>")


@pytest.mark.parametrize("payload", [b"[1]", b'"x"', b'{"choices":1}', b'{"choices":[{"index":"a"}]}', b"\xff"])
def test_json_of_another_shape_breaks_the_answer(payload: bytes) -> None:
    """JSON that is no chunk is an error of the engine."""
    with pytest.raises(EngineBroken):
        AnswerStream(ASKED, 1, Through()).feed(payload)


def test_an_error_event_is_the_engines_problem() -> None:
    """An error inside a stream keeps its message and says that the engine speaks."""
    with pytest.raises(Problem) as caught:
        AnswerStream(ASKED, 1, Through()).feed(b'{"error":{"message":"out of memory","type":"x","code":500}}')
    assert ("out of memory", "engine", 500) == (caught.value.message, caught.value.src, caught.value.status)


def test_null_error_is_no_error() -> None:
    """A chunk with "error": null is an ordinary one."""
    assert AnswerStream(ASKED, 1, Through()).feed(chunk({"content": "a"}, error=None))


def test_all_choices_must_finish() -> None:
    """With n = 2 an answer is complete when both choices are."""
    answer = AnswerStream(ASKED, 2, Through())
    answer.feed(chunk({"content": "a"}, "stop", index=0))
    assert not answer.complete
    answer.feed(chunk({"content": "b"}, "stop", index=1))
    assert answer.complete


def test_nothing_follows_done() -> None:
    """What an engine says after [DONE] does not reach the client."""
    answer = AnswerStream(ASKED, 1, Through())
    answer.feed(b"[DONE]")
    assert b"" == answer.feed(chunk({"content": "late"}))


class Holding:
    """Holds the last character of each channel back, and cuts at 禁."""

    def __init__(self) -> None:
        self.held: dict[tuple[int, str], str] = {}
        self.last: dict[int, str] = {}

    def feed(self, choice: int, channel: str, delta: str) -> Step:
        text = self.held.pop((choice, channel), "") + delta
        self.last[choice] = channel
        if "禁" in text:
            return Step(text[: text.index("禁")], BAD)
        self.held[choice, channel] = text[-1:]
        return Step(text[:-1])

    def finish(self, choice: int) -> Step:
        channel = self.last.get(choice, "content")
        held = self.held.pop((choice, channel), "")
        return Step("", None, ((channel, held),) if held else ())

    def harmless(self, token: str, *, half: bool = False) -> bool:
        del token
        return not half

    def allows(self, text: str, chosen: str, others: Sequence[str]) -> bool:
        del others
        return text == chosen


@pytest.mark.parametrize("engine", ["vllm", "llama.cpp", "usage beside choices"])
def test_held_text_comes_out_before_the_finish(engine: str) -> None:
    """Text that a guard holds is released, at the latest with the finish of its choice."""
    raw = b"".join(FRAMINGS["lf"](payload) for payload in ENGINES[engine])
    chunks = check_rules(relay([raw], Holding()))
    assert "你好" == text_of(chunks)
    finishes = [i for i, c in enumerate(chunks) for choice in c["choices"] if choice["finish_reason"]]
    texts = [i for i, c in enumerate(chunks) for choice in c["choices"] if choice["delta"].get("content")]
    assert len(finishes) == 1
    assert max(texts) <= finishes[0]


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning", "refusal"])
def test_held_text_keeps_its_channel(field: str) -> None:
    """What is held of reasoning comes out as reasoning."""
    raw = b"".join(
        FRAMINGS["lf"](p) for p in [chunk({field: "你"}), chunk({field: "好"}), chunk({}, "stop"), b"[DONE]"]
    )
    assert "你好" == text_of(check_rules(relay([raw], Holding())), field)


def test_held_tool_arguments_come_out_in_their_call() -> None:
    """What is held of a tool call's arguments comes out as arguments of that call."""
    calls = [{"index": 1, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
    raw = [chunk({"tool_calls": calls}), chunk({}, "tool_calls"), b"[DONE]"]
    chunks = check_rules(relay([b"".join(FRAMINGS["lf"](p) for p in raw)], Holding()))
    found = [call for c in chunks for ch in c["choices"] for call in ch["delta"].get("tool_calls") or []]
    assert {1} == {call["index"] for call in found}
    assert '{"a":1}' == "".join(call["function"].get("arguments") or "" for call in found)


@pytest.mark.parametrize("index", [None, 0])
def test_a_call_whose_index_is_null_is_the_one_of_its_place(index: int | None) -> None:
    """What is held of it is missing from it, and comes out in it; there is no second one."""
    call = {"index": index, "function": {"arguments": "秘密"}}
    raw = [chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), b"[DONE]"]
    out = check_rules(relay([b"".join(FRAMINGS["lf"](p) for p in raw)], Holding()))
    calls = [one for c in out for ch in c["choices"] for one in ch["delta"].get("tool_calls") or []]
    assert "秘密" == "".join(one["function"]["arguments"] for one in calls)
    assert len(calls) == 2


ARGUMENTS = {"tool_calls": [{"index": 0, "function": {"arguments": "秘密"}}]}
NAME = {"function_call": {"name": "秘密"}}


@pytest.mark.parametrize("call", [ARGUMENTS, NAME])
@pytest.mark.parametrize("null", [{"tool_calls": None, "function_call": None, "content": None}, None])
def test_null_fields_do_not_break_the_end(null: dict[str, None] | None, call: dict[str, Any]) -> None:
    """Engines send them in the chunk that brings the finish, into which goes what was held."""
    choice = {"index": 0, "delta": null, "finish_reason": "tool_calls"}
    end = json.dumps({"id": "1", "model": ENGINE, "choices": [choice]}).encode()
    out = check_rules(relay([b"".join(FRAMINGS["lf"](p) for p in (chunk(call), end, b"[DONE]"))], Holding()))
    assert (1, 1) == (str(out).count("秘"), str(out).count("密"))


def test_changed_chunks_lose_their_log_probabilities() -> None:
    """Log probabilities would tell what is held back."""
    payload = json.loads(chunk({"content": "你好"}))
    payload["choices"][0]["logprobs"] = {"content": [{"token": "你好"}]}
    out = AnswerStream(ASKED, 1, Holding()).feed(json.dumps(payload).encode())
    assert "logprobs" not in json.loads(out[6:])["choices"][0]


def test_a_cut_ends_the_answer_with_a_refusal() -> None:
    """After a cut: what was allowed, the refusal as a delta, content_filter, usage, [DONE]; nothing of the word."""
    raw = b"".join(FRAMINGS["lf"](p) for p in [chunk({"content": "好的"}), chunk({"content": "禁词"}), *VLLM])
    chunks = check_rules(relay([raw], Holding()))
    assert "好的不能继续。" == text_of(chunks)
    assert ["content_filter"] == [ch["finish_reason"] for c in chunks for ch in c["choices"] if ch["finish_reason"]]


def test_a_cut_closes_an_open_think() -> None:
    """Dify swallows everything behind a <think> that is never closed."""
    raw = b"".join(FRAMINGS["lf"](p) for p in [chunk({"content": "<think>嗯嗯"}), chunk({"content": "禁"})])
    said = text_of(check_rules(relay([raw], Holding())))
    assert said.index("</think>") < said.index("不能继续")


def test_a_cut_ends_every_open_choice() -> None:
    """With n = 2 a cut finishes both choices."""
    raw = b"".join(FRAMINGS["lf"](p) for p in [chunk({"content": "一二"}, index=1), chunk({"content": "禁"}, index=0)])
    chunks = check_rules(relay([raw], Holding(), choices=2))
    ends = {ch["index"]: ch["finish_reason"] for c in chunks for ch in c["choices"] if ch["finish_reason"]}
    assert {0: "content_filter", 1: "content_filter"} == ends


def test_completions_are_guarded_and_cut_in_their_own_shape() -> None:
    """The `text` of /v1/completions is a channel like any other."""

    def text(said: str) -> bytes:
        return json.dumps({"model": ENGINE, "choices": [{"index": 0, "text": said, "finish_reason": None}]}).encode()

    raw = b"".join(FRAMINGS["lf"](p) for p in [text("好的"), text("禁词")])
    chunks = check_rules(relay([raw], Holding()))
    assert "好的不能继续。" == "".join(ch["text"] for c in chunks for ch in c["choices"])


def test_the_last_bytes_are_usage_and_done() -> None:
    """The stream ends with one usage chunk and one [DONE]."""
    out = relay([b"".join(FRAMINGS["lf"](p) for p in VLLM)])
    assert out.endswith(b"data: " + usage_chunk().replace(ENGINE.encode(), ASKED.encode()) + b"\n\n" + DONE)


@pytest.mark.parametrize("engine", ["vllm", "llama.cpp", "usage beside choices", "no usage"])
@pytest.mark.parametrize("guard", [Through, Holding])
def test_a_label_is_the_last_words(engine: str, guard: Any) -> None:
    """Where a key asks for it, the label stands behind the text, before the finish, and the rules hold as ever."""
    answer = AnswerStream(ASKED, 1, guard(), label="（AI生成）")
    out = b"".join(answer.feed(payload) for payload in ENGINES[engine])
    chunks = check_rules(out + answer.end(answer.tokens or Usage(prompt_tokens=9, completion_tokens=9)))
    assert "你好（AI生成）" == text_of(chunks)
    assert [["stop"]] == [[c["finish_reason"] for c in chunk["choices"]] for chunk in chunks[-2:-1]]


def test_a_tool_call_has_no_label() -> None:
    """What is no text needs none."""
    answer = AnswerStream(ASKED, 1, Through(), label="（AI生成）")
    call = {"tool_calls": [{"index": 0, "id": "1", "function": {"name": "f", "arguments": "{}"}}]}
    out = answer.feed(chunk(call)) + answer.feed(chunk({}, "tool_calls"))
    assert "AI" not in out.decode()


def test_a_label_is_guarded_as_well() -> None:
    """The label runs through the guard: with what stands before it, it can be a word."""
    answer = AnswerStream(ASKED, 1, Holding(), label="禁")
    answer.feed(chunk({"content": "你好"}, "stop"))
    assert answer.cut is not None


def test_log_probabilities_of_held_text_do_not_leave() -> None:
    """Engines send them while they hold text back themselves, to see whether a stop word comes of it."""
    answer = AnswerStream(ASKED, 1, Holding())
    document = json.loads(chunk({"content": ""}))
    document["choices"][0]["logprobs"] = {"content": [{"token": "EVIL", "logprob": -1, "top_logprobs": []}]}
    assert b"EVIL" not in answer.feed(json.dumps(document).encode())


@pytest.mark.parametrize("index", [-1, 1, 10**6])
def test_choices_that_were_not_asked_for_break_the_answer(index: int) -> None:
    """Text spread over made-up choices would be judged in pieces."""
    with pytest.raises(EngineBroken):
        AnswerStream(ASKED, 1, Through()).feed(chunk({"content": "a"}, index=index))


def test_two_calls_under_one_index_break_the_answer() -> None:
    """The second would hide behind the first."""
    call = {"index": 0, "function": {"arguments": "a"}}
    with pytest.raises(EngineBroken):
        AnswerStream(ASKED, 1, Through()).feed(chunk({"tool_calls": [call, call]}))


def test_unread_numbers_do_not_break_the_end() -> None:
    """A field that nobody reads may hold what no float can; the answer that has gone out ends in order or broken."""
    answer = AnswerStream(ASKED, 1, Through())
    answer.feed(chunk({"content": "a"}, "stop").replace(b'"id":"1"', b'"id":1e999'))
    with pytest.raises(EngineBroken):
        answer.end(Usage(prompt_tokens=1, completion_tokens=1))


def test_an_empty_finish_reason_is_none() -> None:
    """Some engines send "" in every chunk; what is held stays held."""
    answer = AnswerStream(ASKED, 1, Holding())
    assert "好" not in text_of([json.loads(answer.feed(chunk({"content": "你好"}, ""))[6:])])
    assert not answer.complete


def test_nothing_comes_after_the_finish() -> None:
    """Text behind a choice's end would pass a guard that has let go of it."""
    answer = AnswerStream(ASKED, 2, Through())
    answer.feed(chunk({"content": "a"}))
    answer.feed(chunk({"content": "b"}, "stop"))
    with pytest.raises(EngineBroken):
        answer.feed(chunk({"content": "c"}))


def test_a_message_in_a_stream_breaks_it() -> None:
    """Beside an empty delta it would pass unread."""
    payload = b'{"choices":[{"index":0,"delta":{},"message":{"content":"a"}}]}'
    with pytest.raises(EngineBroken):
        AnswerStream(ASKED, 1, Through()).feed(payload)


@pytest.mark.parametrize("logprobs", [{"content": ["x"]}, {"content": 5}, {"top_logprobs": [5]}, [], "x", 7])
def test_log_probabilities_of_no_known_shape_do_not_leave(logprobs: Any) -> None:
    """Nothing can be said for them."""
    document = json.loads(chunk({"content": "你好啊"}))
    document["choices"][0]["logprobs"] = logprobs
    assert b"logprobs" not in AnswerStream(ASKED, 1, Holding()).feed(json.dumps(document).encode())


def test_bytes_that_were_said_do_not_add_up_to_a_word() -> None:
    """Of a token that was said its bytes are its text; of those that were not, half a character may stand there."""
    half = list("坏".encode()[:2])
    said = {"content": [{"token": "", "bytes": half, "logprob": -1.0, "top_logprobs": []}]}
    other = {"token": "", "bytes": half, "logprob": -2.0}
    beside = {"content": [{"token": "好", "bytes": list("好".encode()), "logprob": -1.0, "top_logprobs": [other]}]}
    assert tokens(said) == ("\0", [])
    assert tokens(beside) == ("好", [""])
