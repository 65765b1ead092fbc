"""The parts of an engine's answer that the relay reads, typed; msgspec skips all else at no cost."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.relay.documents import decoded


class Function(msgspec.Struct):
    """A function call's name and arguments, whole or a piece of them."""

    name: str | None = None
    arguments: str | None = None


class Custom(msgspec.Struct):
    """A call of a tool that takes any text."""

    name: str | None = None
    input: str | None = None


class ToolCall(msgspec.Struct):
    """One tool call of a message."""

    index: int | None = None
    function: Function | None = None
    custom: Custom | None = None


class Message(msgspec.Struct):
    """A message, or a delta of one."""

    content: str | msgspec.UnsetType | None = msgspec.UNSET
    reasoning_content: str | None = None
    reasoning: str | None = None
    thinking: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: Function | None = None


class Choice(msgspec.Struct):
    """One of the n answers: chat streams have *delta*, whole chats *message*, completions *text*."""

    index: int = 0
    delta: Message | None = None
    message: Message | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: Any = None


class Usage(msgspec.Struct):
    """Token counts."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Chunk(msgspec.Struct):
    """One event of a stream, or a whole answer."""

    choices: list[Choice] | msgspec.UnsetType | None = msgspec.UNSET
    model: str | None = None
    usage: Usage | None = None
    error: Any = None


decode = msgspec.json.Decoder(Chunk).decode

SPELLED = frozenset({"reasoning_content", "reasoning", "content", "refusal"})
"""Lists of tokens in the log probabilities of chats."""


def texts(choice: Choice) -> Iterator[tuple[str, str]]:
    """Yield (channel, text) for each text-bearing field of *choice*, in the order of their saying; each channel once.

    Raises `EngineBroken`.
    """
    if choice.text:
        yield "text", choice.text
    message = choice.delta or choice.message
    if message is None:
        return
    if message.reasoning_content:
        yield "reasoning_content", message.reasoning_content
    if message.reasoning:
        yield "reasoning", message.reasoning
    if message.thinking:
        yield "thinking", message.thinking
    if message.content:
        yield "content", message.content
    if message.refusal:
        yield "refusal", message.refusal
    if message.tool_calls:
        yield from _call_texts(message.tool_calls)
    if message.function_call is not None:
        yield from _function_texts("function_call", message.function_call)


def _call_texts(calls: list[ToolCall]) -> Iterator[tuple[str, str]]:
    numbers = [number if call.index is None else call.index for number, call in enumerate(calls)]
    if len(set(numbers)) != len(numbers):
        raise EngineBroken("The engine sent two tool calls under one index.")
    for number, call in zip(numbers, calls, strict=True):
        yield from _function_texts(f"tool_calls.{number}", call.function)
        if call.custom is not None and call.custom.name:
            yield f"tool_calls.{number}.custom.name", call.custom.name
        if call.custom is not None and call.custom.input:
            yield f"tool_calls.{number}.custom.input", call.custom.input


def _function_texts(prefix: str, function: Function | None) -> Iterator[tuple[str, str]]:
    if function is not None and function.name:
        yield f"{prefix}.name", function.name
    if function is not None and function.arguments:
        yield f"{prefix}.arguments", function.arguments


def tokens(logprobs: Any) -> tuple[str, list[str]]:
    """Return the text that log probabilities spell, and the other tokens that they name.

    Chats have lists of ``{"token": …, "bytes": …, "top_logprobs": […]}``, completions lists side by side. Bytes must
    spell their token, and nothing else may be in them that says something: else what is returned is nobody's text.
    """
    try:
        return _tokens(logprobs)
    except (AttributeError, KeyError, TypeError, ValueError):  # in no shape that is known: nothing can be said for them
        return "\0", []


def _tokens(logprobs: dict[str, Any]) -> tuple[str, list[str]]:
    said: list[str] = []
    others: list[str] = []
    for name, entries in logprobs.items():
        if name == "tokens":
            said += entries or ()
        elif name == "top_logprobs":
            for top in entries or ():
                _check_numbers((top or {}).values())
                others += top or ()
        elif name in SPELLED:
            for entry in entries or ():
                said.append(_token(entry))
                others += [_token(top, other=True) for top in entry.get("top_logprobs") or ()]
        else:
            _check_numbers(entries or ())
    return "".join(said), others


def thin_out(logprobs: Any, keeps: Callable[[str, bool], bool]) -> bool:
    """Take away the other tokens that *keeps* does not, asked with each and whether it has half a character.

    Of one that it does not keep for that alone the bytes and other numbers go. Return whether anything went. Raises as
    `_tokens` does for shapes that are not known.
    """
    changed = False
    for name, entries in logprobs.items():
        if name == "top_logprobs":
            for top in entries or ():
                gone = [token for token in top or () if not keeps(token, False)]
                changed |= bool(gone)
                for token in gone:
                    del top[token]
        elif name in SPELLED:
            for entry in entries or ():
                tops = entry.get("top_logprobs") or []
                kept = [_unspelled(top, keeps) for top in tops if keeps(top["token"], False)]
                if kept != tops:
                    entry["top_logprobs"], changed = kept, True
    return changed


def _unspelled(top: dict[str, Any], keeps: Callable[[str, bool], bool]) -> dict[str, Any]:
    if _is_whole(top) or keeps(top["token"], True):
        return top
    return {"token": top["token"], "bytes": None, "logprob": top.get("logprob")}


def _is_whole(entry: dict[str, Any]) -> bool:
    spelled = entry.get("bytes")
    return spelled is None or bytes(spelled) == entry["token"].encode()


def _is_half(token: str, spelled: bytes) -> bool:
    """Return whether *spelled* is *token* but for half a character, which engines leave out or replace."""
    return token in {spelled.decode("utf-8", how) for how in ("ignore", "replace")}


def _token(entry: dict[str, Any], *, other: bool = False) -> str:
    """Return a token. Half a character is allowed of *other* tokens alone: those that were said add up to a word."""
    token: str = entry["token"]
    spelled = entry.get("bytes")
    if spelled is not None and bytes(spelled) != token.encode() and not (other and _is_half(token, bytes(spelled))):
        raise ValueError("bytes that spell another token")
    _check_numbers(value for name, value in entry.items() if name not in {"token", "bytes", "top_logprobs"})
    return token


def _check_numbers(values: Iterable[Any]) -> None:
    if not all(value is None or isinstance(value, int | float) for value in values):
        raise TypeError("more than numbers")


def put(choice: dict[str, Any], channel: str, text: str) -> None:
    """Set the text of *channel* in the decoded *choice*; what does not exist there yet, or is null, is made."""
    if channel == "text":
        choice["text"] = text
        return
    message = _made(choice, "message" if choice.get("message") is not None else "delta", dict)
    head, *rest = channel.split(".")
    if head == "tool_calls":
        call = _call_of(_made(message, "tool_calls", list), int(rest[0]))
        kind, field = ("function", *rest[1:])[-2:]
        _made(call, kind, dict)[field] = text
    elif head == "function_call":
        _made(message, "function_call", dict)[rest[0]] = text
    else:
        message[head] = text


def _made(parent: dict[str, Any], name: str, make: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """Return what *parent* has under *name*; where it has nothing, or null, that is made."""
    if parent.get(name) is None:
        parent[name] = make()
    return parent[name]


def _call_of(calls: list[dict[str, Any]], number: int) -> dict[str, Any]:
    for position, call in enumerate(calls):
        index = call.get("index")
        if (position if index is None else index) == number:
            return call
    calls.append({"index": number})
    return calls[-1]


class ModelName:
    """Puts the name that was asked for back into what the engine sent.

    Where the engine's spelling of the field stands exactly once, its bytes are exchanged and all others stay as they
    are; a ``"model":"…"`` inside a text has escaped quotes and cannot be mistaken for it. Else the JSON is written
    anew.
    """

    __slots__ = (
        "_engine",
        "_forms",
        "_new",
        "asked",
    )

    def __init__(self, asked: str) -> None:
        self.asked = asked
        self._new = msgspec.json.encode(asked)
        self._engine: str | None = None
        self._forms: list[tuple[bytes, bytes]] = []

    def restore(self, payload: bytes, engine_model: str | None) -> bytes:
        """Return *payload*, whose field ``model`` is *engine_model*, with the asked name in its place."""
        if engine_model is None or engine_model == self.asked:
            return payload
        if engine_model != self._engine:
            self._learn(engine_model)
        for old, new in self._forms:
            if payload.count(old) == 1:
                return payload.replace(old, new)
        document = decoded(payload)
        document["model"] = self.asked
        return msgspec.json.encode(document)

    def _learn(self, engine_model: str) -> None:
        self._engine = engine_model
        spelled = dict.fromkeys((msgspec.json.encode(engine_model), json.dumps(engine_model).encode()))
        self._forms = [
            (b'"model":%b%b' % (blank, name), b'"model":%b%b' % (blank, self._new))
            for name in spelled
            for blank in (b"", b" ")
        ]
