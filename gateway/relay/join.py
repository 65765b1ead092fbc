"""A whole answer out of a stream. Sans-I/O.

llama.cpp looks for the client of a whole answer only once a second, and of a stream at each token: a client that leaves
would hold its slot for so long. So its whole answers are asked as streams and joined here, which also tells a stalled
engine from a slow one.
"""

from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.relay.replies import engine_problem
from gateway.relay.stream import NOTHING


class Join:
    """Collects the chunks of one answer."""

    def __init__(self) -> None:
        self.done = False
        self._document: dict[str, Any] = {}
        self._choices: dict[int, dict[str, Any]] = {}

    def feed(self, payload: bytes) -> None:
        """Take one event's payload. Raises `EngineBroken`, and `Problem` for an error that the engine reports."""
        if payload == b"[DONE]":
            self.done = True
        if payload in {b"[DONE]", NOTHING}:
            return
        try:
            chunk = msgspec.json.decode(payload)
            if chunk.get("error") is not None:
                raise engine_problem(500, payload)
            for choice in chunk.pop("choices", None) or ():
                self._add(choice)
            self._document.update(chunk)
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError, KeyError) as error:
            raise EngineBroken("The engine sent a stream event that is not an OpenAI chunk.") from error

    def body(self) -> bytes:
        """Return the whole answer. Raises `EngineBroken` where a choice was not finished."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        if not choices or any(choice["finish_reason"] is None for choice in choices):
            raise EngineBroken("The engine ended its answer before it was finished.")
        kind = "text_completion" if "text" in choices[0] else "chat.completion"
        return msgspec.json.encode({**self._document, "object": kind, "choices": choices})

    def _add(self, choice: dict[str, Any]) -> None:
        index: int = choice.get("index", 0)
        whole = self._choices.setdefault(index, {"index": index, "finish_reason": None})
        if "text" in choice:
            whole["text"] = whole.get("text", "") + (choice["text"] or "")
        if "delta" in choice:
            _add_delta(whole.setdefault("message", {"role": "assistant", "content": None}), choice["delta"])
        for name, entries in (choice.get("logprobs") or {}).items():
            if isinstance(entries, list):
                whole.setdefault("logprobs", {}).setdefault(name, []).extend(entries)
        whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]


def _add_delta(message: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if name == "tool_calls":
            for call in value or ():
                _add_call(message.setdefault("tool_calls", []), dict(call))
        elif isinstance(value, str) and name != "role":
            message[name] = (message.get(name) or "") + value
        elif value is not None:
            message[name] = value


def _add_call(calls: list[dict[str, Any]], piece: dict[str, Any]) -> None:
    """Add a piece of a tool call; the first of a call brings its id, type and name."""
    index = piece.pop("index", len(calls))
    function = piece.pop("function", None) or {}
    while len(calls) <= index:
        calls.append({"function": {"name": "", "arguments": ""}})
    calls[index].update(piece)
    for name in ("name", "arguments"):
        calls[index]["function"][name] += function.get(name) or ""
