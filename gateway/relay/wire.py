"""The OpenAI requests we read: what they must have, what they may not have. The rest passes untouched."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jiter
import msgspec

from gateway.problems import invalid
from policies import utterance
from policies.utterance import Utterance

MAX_CHOICES = 128
"""Of one request, prompts times ``n``; OpenAI's own bound of ``n``."""


class _Read(msgspec.Struct):
    """Fields that every route reads."""

    model: str
    user: str | None = None
    safety_identifier: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    n: int | None = None


class _Message(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]] | None = None


class _Chat(_Read):
    messages: list[_Message] = msgspec.field(default_factory=list)


class _Completion(_Read):
    prompt: str | list[str] = ""


class _Embeddings(_Read, kw_only=True):
    input: str | list[str]


class _Document(msgspec.Struct):
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
    words: Callable[[Mapping[str, Any]], Utterance]
    generates: bool
    """Whether it answers with generated text, and so can be streamed, refused in words and cut."""


CHAT = Route("chat", "/v1/chat/completions", _Chat, lambda body: utterance.of_messages(body["messages"]), True)
COMPLETION = Route("completion", "/v1/completions", _Completion, lambda body: utterance.of_input(body["prompt"]), True)
EMBEDDINGS = Route("embeddings", "/v1/embeddings", _Embeddings, lambda body: utterance.of_input(body["input"]), False)
RERANK = Route("rerank", "/v1/rerank", _Rerank, lambda body: utterance.of_input(body["query"]), False)
ROUTES = (CHAT, COMPLETION, EMBEDDINGS, RERANK)

DENIED = {
    "chat_template": "it would replace the template that the model was trained and is guarded with",
    "kv_transfer_params": "it would name other machines to the engine",
    "logits_processors": "it would run code in the engine",
    "prompt_embeds": "a prompt that is no text cannot be judged",
    "prompt_logprobs": "it would repeat the whole prompt past the guard",
    "prompt_token_ids": "a prompt that is no text cannot be judged",
    "return_token_ids": "an answer that is no text cannot be guarded",
    "return_tokens_as_token_ids": "an answer that is no text cannot be guarded",
}
"""Top-level fields that open a way around the guard or into the network, with the reason that the client reads."""


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


def read(route: Route, raw: bytes, *, remote_images: bool = False) -> Request:
    """Parse and check a body. Raises a 400 `Problem` that names the field.

    *remote_images* says whether message parts may carry URLs that the engine would fetch.
    """
    body = _parse(raw)
    _refuse_denied(body)
    try:
        seen = msgspec.convert(body, route.shape)
    except msgspec.ValidationError as error:
        raise _misshaped(str(error)) from None
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
        user=seen.user or seen.safety_identifier,
        utterance=route.words(body),
    )


def _parse(raw: bytes) -> dict[str, Any]:
    if not raw:
        raise invalid("The request has no body; a JSON object is expected.")
    try:
        # Duplicate keys are refused: which of two counts depends on the parser, and the guard's is not the engine's.
        body = jiter.from_json(raw, allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        raise invalid(f"The body is not valid JSON: {error}.", code="invalid_json") from None
    if not isinstance(body, dict):
        raise invalid("The body must be a JSON object.", code="invalid_json")
    return body


def _refuse_denied(body: dict[str, Any]) -> None:
    for name in DENIED.keys() & body.keys():
        if body[name] is not None and body[name] is not False:
            raise invalid(f"`{name}` is not accepted: {DENIED[name]}.", name, "field_not_accepted")
    arguments = body.get("chat_template_kwargs")
    if (
        isinstance(arguments, dict) and "chat_template" in arguments
    ):  # CVE-2025-61620: older vLLM takes it from there too
        field = "chat_template_kwargs.chat_template"
        raise invalid(f"`{field}` is not accepted: {DENIED['chat_template']}.", field, "field_not_accepted")
    for name, value in body.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise invalid(f"`{name}` is out of range.", name)


def _misshaped(message: str) -> Exception:
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
    for i, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(content, list):
            continue
        for j, part in enumerate(content):
            where = f"messages[{i}].content[{j}]"
            if "text" in part and not isinstance(part["text"], str):
                raise invalid(f"`{where}.text` must be a string.", f"{where}.text")
            if not remote_images:
                _refuse_urls(part, where)


def _refuse_urls(value: Any, where: str) -> None:
    """Refuse each URL in a message part that an engine would open: only ``data:`` carries its own bytes."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            path = f"{where}.{name}"
            if isinstance(inner, str) and name.endswith("url") and not inner.startswith("data:"):
                raise invalid(f"`{path}`: only data: URLs are accepted with this key.", path, "remote_url_not_accepted")
            _refuse_urls(inner, path)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for i, inner in enumerate(value):
            _refuse_urls(inner, f"{where}[{i}]")


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
