"""The admin API: FastAPI on its own port, every answer for admins alone, every error in the one shape."""

import asyncio
import logging
from collections.abc import Callable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from starlette.exceptions import HTTPException

from gateway import metrics
from gateway.admin import admins, aliases, audit, backends, docs, keys, keyword_versions, keywords, people
from gateway.admin.gate import Gate
from gateway.admin.services import AdminServices
from gateway.admin_store import AdminNameTaken, LastAdmin, UnknownAdmin
from gateway.key_store import AgreementMissing, NameTaken, UnknownKey
from gateway.keyword_files import MOST_BYTES
from gateway.keyword_trials import REFUSALS
from gateway.problems import INTERNAL, Problem, invalid, of

log = logging.getLogger(__name__)

MOST_NAMED = 5
"""Fields that one error names."""
BODY_BYTES = 32 * 1024 * 1024


def create_app(services: AdminServices) -> FastAPI:
    """Return the application."""
    app = FastAPI(title="Safety Gateway admin", description=docs.DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.services = services
    app.include_router(admins.router)
    app.include_router(keys.router, dependencies=[])
    app.include_router(keywords.router)
    app.include_router(keyword_versions.router)
    app.include_router(people.router)
    app.include_router(aliases.router)
    app.include_router(audit.router)
    app.include_router(backends.router)
    app.add_middleware(Gate, answer_error=_answer_error, bound=BODY_BYTES, bounds={keywords.IMPORT_PATH: MOST_BYTES})
    refusals = (*REFUSALS, *people.REFUSALS, *backends.REFUSALS)
    for kind in (Problem, LastAdmin, *KEY_PROBLEMS, *refusals, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)
    app.add_api_route("/healthz", _health, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.include_router(docs.router)
    _describe(app)
    return app


def _describe(app: FastAPI) -> None:
    """Have the documentation page ask for the key, and say which role each route needs; `Gate` is what checks both."""
    bearer = HTTPBearer(auto_error=False).model.model_dump(mode="json", exclude_none=True, by_alias=True)
    made = app.openapi

    def openapi() -> dict[str, object]:
        document = made()
        document.setdefault("components", {})["securitySchemes"] = {"AdminKey": bearer}
        document["security"] = [{"AdminKey": []}]
        docs.name_roles(document)
        docs.shape_errors(document)
        return document

    setattr(app, "openapi", openapi)  # noqa: B010 - FastAPI's documented way to change the document


KEY_PROBLEMS: dict[type[Exception], tuple[int, str, str]] = {
    UnknownKey: (404, "id", "not_found"),
    NameTaken: (409, "name", "conflict"),
    AgreementMissing: (400, "label_agreement", "agreement_missing"),
    UnknownAdmin: (404, "id", "not_found"),
    AdminNameTaken: (409, "name", "conflict"),
}
"""Status, parameter and code of what the stores of keys refuse."""


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = _problem(request, error)
    if problem.code == INTERNAL:
        log.error("an admin request failed", exc_info=error)
    headers = {name.decode(): value.decode() for name, value in problem.headers()}
    return Response(problem.body(), problem.status, headers)


def _problem(request: Request, error: Exception) -> Problem:
    match error:
        case RequestValidationError():
            return _misshaped(request, error)
        case HTTPException():
            return _no_route(request, error)
    return _refused(error) or _database_away(error) or of(error)


def _refused(error: Exception) -> Problem | None:
    """Return what a store refuses, as the client reads it."""
    if type(error) in KEY_PROBLEMS:
        status, param, code = KEY_PROBLEMS[type(error)]
        return Problem(status, str(error), param=param, code=code)
    if isinstance(error, LastAdmin):
        return Problem(409, str(error), param=error.field, code="last_admin")
    stores: tuple[tuple[tuple[type[Exception], ...], Callable[[Exception], Problem]], ...] = (
        (REFUSALS, keywords.problem),
        (people.REFUSALS, people.problem),
        (backends.REFUSALS, backends.problem),
    )
    for kinds, problem in stores:
        if isinstance(error, kinds):
            return problem(error)
    return None


def _database_away(error: Exception) -> Problem | None:
    """Return the 503 of a full disk, a database that is locked for too long, or a server that is lost.

    A server that takes no connection is told by the socket's own error; nothing else here opens sockets, but Redis'
    client, which has errors of its own.
    """
    lost = isinstance(error, DBAPIError) and (
        error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    )
    if not (lost or isinstance(error, ConnectionError)):
        return None
    cause = error.orig if isinstance(error, DBAPIError) else error
    log.error("the database cannot be used: %s", cause)
    text = f"The database cannot be used now: {cause}"
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
