"""A whole answer out of a stream. Sans-I/O.

llama.cpp looks for the client of a whole answer only once a second, and of a stream at each token: a client that leaves
would hold its slot for so long. So its whole answers are asked as streams and joined here, which also tells a stalled
engine from a slow one.
"""

from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.relay.documents import decoded
from gateway.relay.replies import engine_problem
from gateway.relay.stream import NOTHING
from gateway.relay.wire import MAX_CHOICES

MAX_CALLS = 128
"""Tool calls of one answer, as OpenAI bounds the tools of a request."""


class Join:
    """Collects the chunks of one answer; *choices* is how many choices were asked for."""

    def __init__(self, choices: int = MAX_CHOICES) -> None:
        self.done = False
        self.expected = choices
        self._document: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def feed(self, payload: bytes) -> None:
        """Take one event's payload. Raises `EngineBroken`, and `Problem` for an error that the engine reports."""
        if payload == b"[DONE]":
            self.done = True
        if self.done or payload == NOTHING:
            return
        chunk = decoded(payload)
        try:
            if chunk.get("error") is not None:
                raise engine_problem(500, payload)
            for choice in chunk.pop("choices", None) or ():
                index = _index(choice.get("index", 0), self.expected)
                self._choices.setdefault(index, _Choice(index)).add(choice)
            self._document.update(chunk)
        except (AttributeError, TypeError, KeyError, ValueError) as error:
            raise EngineBroken("The engine sent a stream event that is not an OpenAI chunk.") from error

    @property
    def finished(self) -> bool:
        """Whether every choice is finished; only usage and [DONE] may still come."""
        return sum(choice.finish_reason is not None for choice in self._choices.values()) >= self.expected

    def body(self) -> bytes:
        """Return the whole answer. Raises `EngineBroken` where a choice was not finished."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        if not choices or any(choice.finish_reason is None for choice in choices):
            raise EngineBroken("The engine ended its answer before it was finished.")
        kind = "text_completion" if choices[0].text else "chat.completion"
        document = {**self._document, "object": kind, "choices": [choice.whole() for choice in choices]}
        return msgspec.json.encode(document)


Pieces = dict[str, list[str]]
"""Texts that come bit by bit; joined once, for adding to a long text copies it each time."""


class _Choice:
    """One answer of several. Every method raises what is caught where a chunk is taken."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.finish_reason: str | None = None
        self.text: list[str] = []
        self._message: dict[str, Any] = {}
        self._texts: Pieces = {}
        self._calls: dict[int, _Call] = {}
        self._logprobs: dict[str, list[Any]] = {}

    def add(self, choice: dict[str, Any]) -> None:
        """Add what a chunk says of this choice."""
        if "text" in choice:
            self.text.append(_text(choice["text"]))
        if "delta" in choice:
            self._message.setdefault("role", "assistant")
            self._add_delta(choice["delta"])
        for name, entries in (choice.get("logprobs") or {}).items():
            if isinstance(entries, list):
                self._logprobs.setdefault(name, []).extend(entries)
        self.finish_reason = _text(choice.get("finish_reason")) or self.finish_reason

    def _add_delta(self, delta: dict[str, Any]) -> None:
        for name, value in delta.items():
            if name == "tool_calls":
                for call in _objects(value):
                    index = _index(call.get("index", len(self._calls)), MAX_CALLS)
                    self._calls.setdefault(index, _Call()).add(call)
            elif isinstance(value, str) and name != "role":
                self._texts.setdefault(name, []).append(value)
            elif value is not None:
                self._message[name] = value

    def whole(self) -> dict[str, Any]:
        """Return the choice as a whole answer has it."""
        found: dict[str, Any] = {"index": self.index, "finish_reason": self.finish_reason}
        if self.text:
            found["text"] = "".join(self.text)
        if self._message:
            texts = {name: "".join(pieces) for name, pieces in self._texts.items()}
            found["message"] = {"role": "assistant", "content": None, **self._message, **texts}
        if self._calls:
            found["message"]["tool_calls"] = [self._calls[index].whole() for index in sorted(self._calls)]
        if self._logprobs:
            found["logprobs"] = self._logprobs
        return found


class _Call:
    """One tool call; its first piece brings its id, type and name."""

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._function: Pieces = {"name": [], "arguments": []}

    def add(self, piece: dict[str, Any]) -> None:
        """Add a piece."""
        self._fields.update({name: value for name, value in piece.items() if name not in {"index", "function"}})
        function = piece.get("function") or {}
        for name, pieces in self._function.items():
            pieces.append(_text(function.get(name)))

    def whole(self) -> dict[str, Any]:
        """Return the call as a whole answer has it."""
        return {**self._fields, "function": {name: "".join(pieces) for name, pieces in self._function.items()}}


def _index(index: Any, bound: int) -> int:
    if type(index) is not int or not 0 <= index < bound:
        raise ValueError(f"an index of {index!r:.50}")
    return index


def _text(value: Any) -> str:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"no text: {value!r:.50}")
    return value or ""


def _objects(value: Any) -> list[dict[str, Any]]:
    found = [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise TypeError("no list of objects")
    return found
