"""What the gateway itself says, as bytes: events, refusals, errors that came from an engine."""

from typing import Any

import msgspec

from backends.errors import EngineBroken
from gateway.audit.record import Turn
from gateway.problems import ENGINE, Problem
from gateway.relay.documents import decoded
from gateway.relay.wire import CHAT, Request

PING = b": ping\n\n"
JSON_HEADERS = [(b"content-type", b"application/json")]
EVENT_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy in front must not hold events back
]

NO_TOKENS = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def content_id(turn_id: str) -> tuple[bytes, bytes]:
    """Return the header by which an answer can be found again in the log."""
    return (b"x-content-id", turn_id.encode("ascii"))


def headers_of(turn: Turn) -> list[tuple[bytes, bytes]]:
    """Return the headers of every answer to a turn: its content id, and where its rate limits stand."""
    own = [content_id(turn.id)]
    return own if turn.allowance is None else [*own, *turn.allowance.headers()]


def event(payload: bytes) -> bytes:
    """Return one server-sent event."""
    return b"data: %b\n\n" % payload


def _choice(**fields: Any) -> dict[str, Any]:
    return {"index": 0, "logprobs": None, **fields}


def _document(request: Request, turn_id: str, created: int, choice: dict[str, Any]) -> dict[str, Any]:
    chat = request.route is CHAT
    kind = "chat.completion" if chat else "text_completion"
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{turn_id}",
        "object": f"{kind}.chunk" if chat and request.stream else kind,
        "created": created,
        "model": request.model,
        "choices": [choice],
    }


def whole_words(request: Request, turn_id: str, created: int, text: str, finish: str) -> bytes:
    """Return the gateway's own words as an ordinary whole answer: Dify shows any other status as a raw error."""
    said = {"message": {"role": "assistant", "content": text}} if request.route is CHAT else {"text": text}
    choice = _choice(**said, finish_reason=finish)
    return msgspec.json.encode({**_document(request, turn_id, created, choice), "usage": NO_TOKENS})


def streamed_words(request: Request, turn_id: str, created: int, text: str, finish: str) -> bytes:
    """Return the gateway's own words as an ordinary stream: role, text, finish, usage, ``[DONE]``."""
    if request.route is CHAT:
        parts: list[dict[str, Any]] = [
            {"delta": {"role": "assistant", "content": ""}, "finish_reason": None},
            {"delta": {"content": text}, "finish_reason": None},
            {"delta": {}, "finish_reason": finish},
        ]
    else:
        parts = [{"text": text, "finish_reason": None}, {"text": "", "finish_reason": finish}]
    documents = [_document(request, turn_id, created, _choice(**part)) for part in parts]
    documents.append({**documents[-1], "choices": [], "usage": NO_TOKENS})
    return b"".join(event(msgspec.json.encode(document)) for document in documents) + event(b"[DONE]")


def engine_problem(status: int, body: bytes) -> Problem:
    """Return an engine's error as the client reads it: its status, message and fields, in the one shape.

    What an engine says of *our* credentials, a redirect, or a status that does not exist is not the client's business:
    502.
    """
    found = _error_object(body)
    message = found.pop("message", None)
    kind, param, code = found.pop("type", None), found.pop("param", None), found.pop("code", None)
    if isinstance(code, int) and 400 <= code <= 599:  # llama.cpp and vLLM repeat, or mid-stream bring, the status here
        status = code
    if status in {401, 403, 407} or not 400 <= status <= 599:
        return Problem(502, f"The engine refused the gateway ({status}).", kind="server_error", code="engine_refused")
    if not isinstance(message, str) or not message:
        message = f"The engine answered {status} without an error that can be read."
    if not isinstance(kind, str):
        kind = "server_error" if status >= 500 else "invalid_request_error"
    return Problem(
        status,
        message,
        kind=kind,
        param=param if isinstance(param, str) else None,
        code=str(code) if code is not None else None,
        src=ENGINE,
        extra=found,
    )


def _error_object(body: bytes) -> dict[str, Any]:
    """Return the error object of an engine's body: OpenAI's shape, the bare one of older vLLM, or FastAPI's detail."""
    try:
        document = decoded(body)
    except EngineBroken:
        return {}
    if not isinstance(document, dict):
        return {}
    error = document.get("error", document)
    if isinstance(error, str):
        return {"message": error}
    if isinstance(error, dict):
        found = dict(error)
        if "message" not in found and isinstance(found.get("detail"), str):
            found["message"] = found.pop("detail")
        found.pop("object", None)
        return found
    return {}
