"""The admin API: FastAPI on its own port, every answer for admins alone, every error in the one shape."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from sqlalchemy.exc import InterfaceError, OperationalError
from starlette.exceptions import HTTPException

from gateway import metrics
from gateway.admin import aliases, audit, keys, keyword_versions, keywords, people
from gateway.admin.services import AdminServices
from gateway.key_store import AgreementMissing, NameTaken, UnknownKey
from gateway.keys import MissingKey, WrongKey
from gateway.keyword_files import MOST_BYTES
from gateway.keyword_trials import REFUSALS
from gateway.problems import INTERNAL, Problem, invalid, of

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/docs", "/openapi.json", "/healthz", "/metrics"})
"""What needs no key: it says nothing of this installation but its health."""
MOST_NAMED = 5
"""Fields that one error names."""
BODY_BYTES = 32 * 1024 * 1024


def create_app(services: AdminServices) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Safety Gateway admin", redoc_url=None)
    app.state.services = services
    app.include_router(keys.router, dependencies=[])
    app.include_router(keywords.router)
    app.include_router(keyword_versions.router)
    if services.people is not None:
        app.include_router(people.router)
        app.include_router(aliases.router)
    app.include_router(audit.router)
    app.middleware("http")(_guard)
    for kind in (
        Problem,
        NameTaken,
        UnknownKey,
        *REFUSALS,
        *people.REFUSALS,
        RequestValidationError,
        HTTPException,
        Exception,
    ):
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


KEY_PROBLEMS: dict[type[Exception], tuple[int, str, str]] = {
    UnknownKey: (404, "id", "not_found"),
    NameTaken: (409, "name", "conflict"),
    AgreementMissing: (400, "label_agreement", "agreement_missing"),
}
"""Status, parameter and code of what the key store refuses."""


async def _guard(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
    """Let nobody in without an admin key, whatever the route, and no body above the bound."""
    if request.url.path in OPEN_PATHS:
        return await call(request)
    try:
        request.state.admin = await _admin(request)
        bound = MOST_BYTES if request.url.path == keywords.IMPORT_PATH else BODY_BYTES
        _check_length(request.headers.get("content-length", "0"), bound)
        return await call(request)
    except Exception as error:  # noqa: BLE001 - the one table knows what each becomes
        return await _answer_error(request, error)


def _check_length(length: str, bound: int) -> None:
    if not length.isdigit() or int(length) > bound:
        raise invalid(f"The body has more than {bound} bytes.", code="body_too_large")


async def _admin(request: Request) -> str:
    scheme, _, secret = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not secret.strip():
        raise MissingKey
    services: AdminServices = request.app.state.services
    name = await services.admins.name_of(secret.strip())
    if name is None:
        raise WrongKey(secret.strip())
    return name


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = _problem(request, error)
    if problem.code == INTERNAL:
        log.error("an admin request failed", exc_info=error)
    headers = {name.decode(): value.decode() for name, value in problem.headers()}
    return Response(problem.body(), problem.status, headers)


def _problem(request: Request, error: Exception) -> Problem:
    match error:
        case UnknownKey() | NameTaken() | AgreementMissing():
            status, param, code = KEY_PROBLEMS[type(error)]
            return Problem(status, str(error), param=param, code=code)
        case _ if isinstance(error, REFUSALS):
            return keywords.problem(error)
        case _ if isinstance(error, people.REFUSALS):
            return people.problem(error)
        case RequestValidationError():
            return _misshaped(request, error)
        case HTTPException():
            return _no_route(request, error)
    return _database_away(error) or of(error)


def _database_away(error: Exception) -> Problem | None:
    """Return the 503 of a full disk, a database that is locked for too long, or a server that is lost."""
    if not isinstance(error, OperationalError | InterfaceError):
        return None
    log.error("the database cannot be used: %s", error.orig)
    text = f"The database cannot be used now: {error.orig}"
    return Problem(503, text, kind="server_error", code="database_unavailable", retry_after=5)


def _no_route(request: Request, error: HTTPException) -> Problem:
    path, method = request.url.path, request.method
    if error.status_code == 405:
        return Problem(405, f"{path} does not take {method}.", code="method_not_allowed")
    if error.status_code == 404:
        return Problem(404, f"There is no {method} {path}.", code="route_not_found")
    return Problem(error.status_code, str(error.detail))


def _misshaped(request: Request, error: RequestValidationError) -> Problem:
    """Name every field that is wrong, since a misspelt one looks like one that is missing; `param` is the first."""
    errors = error.errors()
    if any(found["type"] == "json_invalid" for found in errors):
        return invalid(f"The body is not valid JSON: {errors[0]['ctx']['error']}.", code="invalid_json")
    if error.body and "json" not in request.headers.get("content-type", ""):
        return invalid("The body must come with `Content-Type: application/json`.", "Content-Type")
    named = [(_field(found["loc"]), found["msg"]) for found in errors[:MOST_NAMED]]
    return invalid(" ".join(f"`{field}`: {text}." for field, text in named), named[0][0])


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location[1:]) or "body"


async def _health() -> dict[str, str]:
    return {"status": "ok"}


async def _metrics() -> Response:
    return Response(await asyncio.to_thread(metrics.scrape), media_type=metrics.CONTENT_TYPE.decode())
