"""The admin API: FastAPI on its own port, every answer for admins alone, every error in the one shape."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from gateway import metrics
from gateway.admin import keys
from gateway.admin.services import AdminServices
from gateway.key_store import NameTaken, UnknownKey
from gateway.keys import MissingKey, WrongKey
from gateway.problems import INTERNAL, Problem, invalid, of

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/docs", "/openapi.json", "/healthz", "/metrics"})
"""What needs no key: it says nothing of this installation but its health."""
BODY_BYTES = 32 * 1024 * 1024


def create_app(services: AdminServices) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Safety Gateway admin", redoc_url=None)
    app.state.services = services
    app.include_router(keys.router, dependencies=[])
    app.middleware("http")(_guard)
    for kind in (Problem, NameTaken, UnknownKey, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)
    app.add_api_route("/healthz", _health, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    _describe_security(app)
    return app


def _describe_security(app: FastAPI) -> None:
    """Have the documentation page ask for the key; `_guard` is what checks it."""
    bearer = HTTPBearer(auto_error=False).model.model_dump(mode="json", exclude_none=True, by_alias=True)
    made = app.openapi

    def openapi() -> dict[str, object]:
        document = made()
        document.setdefault("components", {})["securitySchemes"] = {"AdminKey": bearer}
        document["security"] = [{"AdminKey": []}]
        return document

    setattr(app, "openapi", openapi)  # noqa: B010 - FastAPI's documented way to change the document


async def _guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let nobody in without an admin key, whatever the route, and no body above the bound."""
    if request.url.path in OPEN_PATHS:
        return await call(request)
    try:
        request.state.admin = await _admin(request)
        _check_length(request.headers.get("content-length", "0"))
        return await call(request)
    except Exception as error:  # noqa: BLE001 - the one table knows what each becomes
        return await _answer_error(request, error)


def _check_length(length: str) -> None:
    if not length.isdigit() or int(length) > BODY_BYTES:
        raise invalid(f"The body has more than {BODY_BYTES} bytes.", code="body_too_large")


async def _admin(request: Request) -> str:
    scheme, _, secret = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise MissingKey
    services: AdminServices = request.app.state.services
    name = await services.admins.name_of(secret.strip())
    if name is None:
        raise WrongKey(secret.strip())
    return name


async def _answer_error(_request: Request, error: Exception) -> Response:
    problem = _problem(error)
    if problem.code == INTERNAL:
        log.error("an admin request failed", exc_info=error)
    headers = {name.decode(): value.decode() for name, value in problem.headers()}
    return Response(problem.body(), problem.status, headers)


def _problem(error: Exception) -> Problem:
    match error:
        case UnknownKey():
            return Problem(404, str(error), param="id", code="not_found")
        case NameTaken():
            return Problem(409, str(error), param="name", code="conflict")
        case RequestValidationError():
            return _misshaped(error)
        case HTTPException():
            return Problem(
                error.status_code, str(error.detail), code="route_not_found" if error.status_code == 404 else None
            )
    return of(error)


def _misshaped(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return invalid(f"`{field}`: {first['msg']}.", field)


async def _health() -> dict[str, str]:
    return {"status": "ok"}


async def _metrics() -> Response:
    return Response(await asyncio.to_thread(metrics.scrape), media_type=metrics.CONTENT_TYPE.decode())
