"""The one error shape, and the one table from exception to status.

Every error of `/v1` and `/admin` leaves as ``{"error": {"message", "type", "param", "code", "src"}}``: OpenAI's
error object, plus ``src``, which says whether the gateway or an engine is speaking.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from redis.exceptions import RedisError

from backends import errors as backend
from gateway import keys
from gateway.audit.errors import AuditUnavailable
from policies import refusals

GATEWAY = "gateway"
ENGINE = "engine"
INTERNAL = "internal_error"
"""Code of the one 500: a fault of our own, whose details stand in the log alone."""


class Problem(Exception):
    """An error as the client reads it; can be raised or made from another exception by `of`."""

    def __init__(  # noqa: PLR0913 - the fields of OpenAI's error object, all by name
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        src: str = GATEWAY,
        retry_after: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.src = src
        self.retry_after = retry_after
        self.extra = extra or {}

    def document(self) -> dict[str, Any]:
        """Return the error body; fields that an engine added beside OpenAI's own stay."""
        own = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code, "src": self.src}
        return {"error": {**self.extra, **own}}

    def body(self) -> bytes:
        """Return the error body as JSON."""
        return msgspec.json.encode(self.document())

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that belong to this error, but for the length of its body."""
        found = [(b"content-type", b"application/json")]
        if self.retry_after is not None:
            found.append((b"retry-after", b"%d" % self.retry_after))
        if self.status == 401:  # RFC 9110, 11.6.1: a 401 names the scheme it wants
            found.append((b"www-authenticate", b"Bearer"))
        return found


def invalid(message: str, param: str | None = None, code: str | None = None) -> Problem:
    """Return the 400 for a request that cannot be understood; *param* names the field."""
    return Problem(400, message, param=param, code=code)


def not_http(reason: object) -> Problem:
    """Return the 400 for bytes that are no request, for a *reason* in the parser's words."""
    hint = ": a URL has all but ASCII percent-encoded (curl -G --data-urlencode)" if "in url" in str(reason) else ""
    return invalid(f"This is not valid HTTP: {reason}{hint}.", code="invalid_http")


def _key_refused(error: Exception) -> Problem:
    return Problem(401, str(error), code="invalid_api_key")


def _unknown_model(error: Exception) -> Problem:
    return Problem(404, str(error), param="model", code="model_not_found")


def _no_replica(error: Exception) -> Problem:
    return Problem(503, str(error), kind="server_error", param="model", code="model_not_ready", retry_after=5)


def _overloaded(error: Exception) -> Problem:
    seconds = error.retry_after if isinstance(error, backend.Overloaded) else 1
    text = f"{refusals.busy(seconds)}{error}"  # Dify shows it to the person as it stands
    return Problem(429, text, kind="rate_limit_error", param="model", code="overloaded", retry_after=seconds)


def _unreachable(error: Exception) -> Problem:
    return Problem(502, str(error), kind="server_error", code="engine_unreachable", src=ENGINE, retry_after=1)


def _timeout(error: Exception) -> Problem:
    return Problem(504, str(error), kind="server_error", code="engine_timeout", src=ENGINE)


def _broken(error: Exception) -> Problem:
    return Problem(502, str(error), kind="server_error", code="engine_broken", src=ENGINE)


def _state_unavailable(error: Exception) -> Problem:
    del error  # it names the server's address
    text = "The gateway's state server cannot be used now; its log says why."
    return Problem(503, text, kind="server_error", code="state_unavailable", retry_after=5)


def _audit_unavailable(error: Exception) -> Problem:
    del error  # it names files
    text = "The gateway's audit log cannot be written now, and nothing is served unrecorded; its log says why."
    return Problem(503, text, kind="server_error", code="audit_unavailable", retry_after=5)


TABLE = {
    AuditUnavailable: _audit_unavailable,
    RedisError: _state_unavailable,
    keys.KeyRefused: _key_refused,
    backend.UnknownModel: _unknown_model,
    backend.NoReplica: _no_replica,
    backend.Overloaded: _overloaded,
    backend.EngineUnreachable: _unreachable,
    backend.EngineTimeout: _timeout,
    backend.EngineBroken: _broken,
}


def of(error: Exception) -> Problem:
    """Return *error* as the client reads it; what is not in the table is our own fault: 500, and no details."""
    if isinstance(error, Problem):
        return error
    for kind in type(error).__mro__:
        if kind in TABLE:
            return TABLE[kind](error)
    return Problem(500, "The gateway failed to handle this request.", kind="server_error", code=INTERNAL)
