"""The OpenAI requests we read: what they must have, what they may not have. The rest passes untouched."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import jiter
import msgspec

from gateway.problems import Problem, invalid
from gateway.relay import denied
from policies import utterance
from policies.utterance import Utterance

NOBODY = frozenset({"", "unknown"})
"""What Dify sends in place of a person in its background calls."""
MAX_CHOICES = 128
"""Of one request, prompts times ``n``; OpenAI's own bound of ``n``."""
MAX_MARKS = 400_000
"""Commas and opening brackets in a body, those inside texts too: a long text has one in eighty characters, a body that
is made to keep the parser busy one in ten. Reading so many takes the event loop a tenth of a second."""
MAX_PARTS = 10_000
"""Of all messages; each part is looked at."""
EXPLAINED_BYTES = 1 << 20
"""Up to this size a body that cannot be read is looked at once more, to name the field."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PLAIN_MESSAGE = 2
"""Fields of a message that has a role and a content."""
PLAIN_PART = {"type", "text"}
NESTED = {float, dict, list}
SPEAKING = {"system", "developer", "user"}
"""Roles whose messages are nothing without content; an assistant's may be a tool call."""


class _Read(msgspec.Struct):
    """Fields that every route reads."""

    model: str
    user: str | None = None
    safety_identifier: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None


class _Generates(_Read):
    """Fields by which engines would fail in words of their own, without naming the field."""

    max_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    max_completion_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _Chat(_Generates):
    messages: list[_Message] = msgspec.field(default_factory=list)


class _Completion(_Generates):
    prompt: str | list[str] = ""


class _Embeddings(_Read, kw_only=True):
    input: str | list[str]


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class _Rerank(_Read, kw_only=True):
    query: str
    documents: list[str | _Document]


@dataclass(frozen=True, slots=True)
class Route:
    """One of the POST routes: its path (the engine's too), its shape, and how its words are found."""

    name: str
    path: str
    shape: type[_Read]
    own: tuple[str, ...]
    """The fields in which its words stand."""
    words: Callable[[Mapping[str, Any]], Utterance]
    task: str
    """What a model must be able to do for it; see `Endpoint.tasks`."""

    @property
    def generates(self) -> bool:
        """Whether it answers with generated text, and so can be streamed, refused in words and cut."""
        return self.task == "generate"


def _input(body: Mapping[str, Any]) -> Utterance:
    return utterance.of_input(body["input"])


def _query(body: Mapping[str, Any]) -> Utterance:
    return utterance.of_input(body["query"])


CHAT = Route("chat", "/v1/chat/completions", _Chat, ("messages",), utterance.of_chat, "generate")
COMPLETION = Route("completion", "/v1/completions", _Completion, ("prompt",), utterance.of_completion, "generate")
EMBEDDINGS = Route("embeddings", "/v1/embeddings", _Embeddings, ("input",), _input, "embed")
RERANK = Route("rerank", "/v1/rerank", _Rerank, ("query", "documents"), _query, "rerank")
ROUTES = (CHAT, COMPLETION, EMBEDDINGS, RERANK)

WATCHED = {route.name: denied.WATCHED.difference(route.own) for route in ROUTES}
"""By route, the fields that have to be looked at more closely where they are there."""


@dataclass(slots=True)
class Request:
    """A request that was understood. *body* is the parsed body; it is encoded again for the engine."""

    route: Route
    body: dict[str, Any]
    model: str
    """The name that was asked for."""
    stream: bool
    choices: int
    """Answers that the engine will give: n, times the number of prompts."""
    user: str | None
    utterance: Utterance

    def for_engine(self, served_name: str, *, joined: bool = False) -> bytes:
        """Return the body as the engine gets it: under its own name, and told to report usage with a stream.

        *joined*: a whole answer that is asked as a stream.
        """
        body = {**self.body, "model": served_name}
        if joined:
            body["stream"] = True
        if self.stream or joined:
            body["stream_options"] = {**(self.body.get("stream_options") or {}), "include_usage": True}
        return msgspec.json.encode(body)


def named(*names: str | None) -> str | None:
    """Return the first of *names* that is somebody's; Dify sends "unknown" where it knows nobody."""
    return next((name for name in names if name is not None and name.strip() not in NOBODY), None)


def read(route: Route, raw: bytes, *, remote_images: bool = False) -> Request:
    """Parse and check a body. Raises a 400 `Problem` that names the field.

    *remote_images* says whether message parts may carry URLs that the engine would fetch.
    """
    body = parse(raw)
    if not WATCHED[route.name].isdisjoint(body):
        denied.check_fields(body, route.path, route.own)
        denied.check_template_arguments(body)
    for name, value in body.items():
        if type(value) in NESTED and name not in route.own:
            denied.check_finite(value, name)
    try:
        seen = msgspec.convert(body, route.shape)
    except msgspec.ValidationError as error:
        raise misshaped(str(error)) from None
    if isinstance(seen, _Chat):
        _check_messages(body, remote_images)
    elif isinstance(seen, _Completion) and "prompt" not in body:
        raise invalid("`prompt` is missing: a string or a list of strings.", "prompt")
    return Request(
        route=route,
        body=body,
        model=seen.model,
        stream=_streams(route, seen),
        choices=_choices(seen),
        user=named(seen.user, seen.safety_identifier),
        utterance=route.words(body),
    )


def parse(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. Raises a 400 `Problem` for what is none, or would take too long to read."""
    if not raw:
        raise invalid("The request has no body; a JSON object is expected.")
    if len(raw) > MAX_MARKS and raw.count(b",") + raw.count(b"{") + raw.count(b"[") > MAX_MARKS:
        raise invalid(f"The body has more than {MAX_MARKS} commas and brackets.", code="body_too_complex")
    try:
        # Duplicate keys are refused: which of two counts depends on the parser, and the guard's is not the engine's.
        body = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise _unreadable(raw, str(error)) from None
    if not isinstance(body, dict):
        raise invalid("The body must be a JSON object.", code="invalid_json")
    return body


def _unreadable(raw: bytes, error: str) -> Problem:
    """Return the 400 for what is no JSON; half a surrogate pair, which is no character, is named by its field."""
    where = ""
    if "hex escape" in error and len(raw) <= EXPLAINED_BYTES:
        with contextlib.suppress(ValueError, RecursionError):
            where = (_half_pair(json.loads(raw)) or "").lstrip(".")
    if where:
        return invalid(f"`{where}` has half a surrogate pair, which is no character.", where, "invalid_json")
    return invalid(f"The body is not valid JSON: {error}.", code="invalid_json")


def _half_pair(value: Any) -> str | None:
    """Return the path, from *value* on, of the first text with half a surrogate pair."""
    if isinstance(value, str):
        return "" if value.encode("utf-8", "ignore").decode() != value else None
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        found = _half_pair(one)
        if found is not None:
            return f"[{name}]{found}" if isinstance(value, list) else f".{name}{found}"
    return None


def misshaped(message: str) -> Problem:
    """Turn msgspec's words into OpenAI's: the field's path stands in `param`."""
    what, _, where = message.partition(" - at `$")
    path = where.rstrip("`").lstrip(".").replace("[...]", "[]")
    if what.startswith("Object missing required field `"):
        field = what.removeprefix("Object missing required field `").rstrip("`")
        path = f"{path}.{field}" if path else field
        return invalid(f"`{path}` is missing.", path)
    return invalid(f"`{path}`: {what[0].lower()}{what[1:]}.", path or None)


def _check_messages(body: dict[str, Any], remote_images: bool) -> None:
    messages = body.get("messages")
    if not messages:
        raise invalid("`messages` is missing or empty: a list of messages is expected.", "messages")
    parts = 0
    for i, message in enumerate(messages):
        role, content = message["role"], message.get("content")
        if role not in ROLES:
            raise invalid(f"`messages[{i}].role` must be one of {', '.join(ROLES)}.", f"messages[{i}].role")
        if content is None and role in SPEAKING:
            raise invalid(f"`messages[{i}].content` is missing.", f"messages[{i}].content")
        if len(message) > PLAIN_MESSAGE:
            denied.check_finite(message, f"messages[{i}]")
        if isinstance(content, list):
            parts += len(content)
            if parts > MAX_PARTS:
                text = f"`messages` have more than {MAX_PARTS} parts in their contents."
                raise invalid(text, f"messages[{i}].content", "body_too_complex")
            _check_parts(content, f"messages[{i}].content", remote_images)


def _check_parts(content: list[dict[str, Any]], where: str, remote_images: bool) -> None:
    for j, part in enumerate(content):
        here = f"{where}[{j}]"
        if "text" in part and not isinstance(part["text"], str):
            raise invalid(f"`{here}.text` must be a string.", f"{here}.text")
        if part.keys() != PLAIN_PART or part["type"] != "text":
            denied.check_finite(part, here)
            denied.check_part(part, here, remote=remote_images)


def _streams(route: Route, seen: _Read) -> bool:
    if seen.stream and not route.generates:
        raise invalid(f"`stream` is not possible on {route.path}.", "stream")
    return bool(seen.stream)


def _choices(seen: _Read) -> int:
    n = 1 if seen.n is None else seen.n
    if isinstance(seen, _Completion) and seen.prompt == []:
        raise invalid("`prompt` is empty: a string or a list of strings is expected.", "prompt")
    prompts = len(seen.prompt) if isinstance(seen, _Completion) and isinstance(seen.prompt, list) else 1
    if not 1 <= n * prompts <= MAX_CHOICES:
        raise invalid(f"`n` times the number of prompts must lie between 1 and {MAX_CHOICES}.", "n")
    return n * prompts
