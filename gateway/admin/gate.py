"""The gate of the admin API: who is asking, whether they may, and what they change on record before it is done."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.admin import roles
from gateway.admin.details import details
from gateway.admin.recorder import Action, Denials, Records, put_denied
from gateway.admin.roles import Role, RoleMissing
from gateway.admin.routes import Route, Routes
from gateway.admin.services import AdminServices
from gateway.audit.errors import AuditUnavailable
from gateway.audit.record import new_id
from gateway.keys import KeyRefused, MissingKey, WrongKey
from gateway.problems import Problem, invalid, of

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/openapi.json", "/healthz", "/metrics"})
"""What needs no key, beside the documentation page: it says nothing of this installation but its health."""
PAGE = "/docs"
BODY_SECONDS = 300
"""For an admin to send a whole body."""
INLINE_BYTES = 65_536
"""Above this a body is looked at in a thread."""
LONGEST_TARGET = 200

AnswerError = Callable[[Request, Exception], Awaitable[Response]]


class Gate:
    """Lets nobody in without an admin key, whatever the route, and nobody do what their role does not cover.

    A request that may change something is on record before it is carried out: where it cannot be, it is answered with
    503 `audit_unavailable` and not carried out. How it ended is on record before the answer leaves. *bounds* are the
    most bytes of a body, by path.
    """

    def __init__(self, app: ASGIApp, answer_error: AnswerError, bound: int, bounds: dict[str, int]) -> None:
        self.app = app
        self.answer_error = answer_error
        self.bound = bound
        self.bounds = bounds
        self.denials = Denials()
        self._routes: Routes | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_open(scope["path"]):
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            await self._let_in(Request(scope, receive), answer)
        except Exception as error:
            if answer.status:
                raise
            response = await self.answer_error(Request(scope), error)
            await response(scope, receive, answer)

    async def _let_in(self, request: Request, answer: "_Answer") -> None:
        services: AdminServices = request.app.state.services
        method, path = request.method, request.scope["path"]
        route = (await self._known(request)).find(method, path) or Route(path, {})
        action = _action(request, services, route)
        needed = roles.needed(method, route.path, request.query_params.multi_items())
        changes = roles.changes(method, route.path)
        try:
            await _check(request, services, action, needed)
        except (KeyRefused, RoleMissing) as error:
            if changes or needed is not Role.VIEWER:
                problem = of(error)
                await put_denied(services.records, self.denials, action, problem.status, problem.code or "")
            raise
        request.state.admin, request.state.role, request.state.address = action.admin, action.role, action.address
        bound = self.bounds.get(path, self.bound)
        _check_length(request.headers.get("content-length", "0"), bound)
        if method in roles.READING:
            await self.app(request.scope, request.receive, answer)
            return
        body = await _body(request, bound)
        if changes:
            await _put(request, services.records, answer, action, body)
        await self.app(request.scope, _again(body, request.receive), answer)

    async def _known(self, request: Request) -> Routes:
        """Return the routes; they are read at the first request, when all are there: in a thread, for it takes long."""
        if self._routes is None:
            self._routes = Routes(await asyncio.to_thread(request.app.openapi))
        return self._routes


def is_open(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in OPEN_PATHS or path == PAGE or path.startswith(f"{PAGE}/")


def _action(request: Request, services: AdminServices, route: Route) -> Action:
    """Return what is asked for, as it goes on record; by whom is not known yet."""
    headers = request.headers
    peer = request.client.host if request.client is not None else ""
    return Action(
        id=new_id(),
        action=f"{request.method} {route.path[:LONGEST_TARGET]}",
        target="/".join(route.parameters.values())[:LONGEST_TARGET],
        address=services.proxies.client(peer, headers.get("x-forwarded-for"), headers.get("x-real-ip")),
    )


async def _put(request: Request, records: Records, answer: "_Answer", action: Action, body: bytes) -> None:
    """Record what is about to be carried out, and see to it that how it ends is recorded."""
    headers = request.headers
    said = (body, headers.get("content-type", ""), request.query_params.multi_items(), headers.get("idempotency-key"))
    found = details(*said) if len(body) < INLINE_BYTES else await asyncio.to_thread(details, *said)
    await records.put(action.record(details=found))

    async def ended(status: int) -> None:
        try:
            await records.put(action.record("ok" if status < 400 else "failed", status))
        except AuditUnavailable as error:  # it is done
            log.error("how admin request %s ended is not on record: %s", action.id, error)  # noqa: TRY400

    answer.ended = ended


async def _check(request: Request, services: AdminServices, action: Action, needed: Role) -> None:
    """Say in *action* who asks. Raises `KeyRefused` and `RoleMissing`."""
    scheme, _, secret = request.headers.get("authorization", "").strip().partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret:
        raise MissingKey
    who = await services.admins.find(secret)
    if who is not None:
        action.admin, action.role = who.name, who.role.value
    if who is None or who.refused:
        raise WrongKey(secret)
    if not who.role.may(needed):
        raise RoleMissing(who.role, needed)


def _check_length(length: str, bound: int) -> None:
    if not length.isdigit() or int(length) > bound:
        raise _too_large(bound)


def _too_large(bound: int) -> Problem:
    return invalid(f"The body has more than {bound} bytes.", code="body_too_large")


async def _body(request: Request, bound: int) -> bytes:
    """Read a whole body. Raises the `Problem` of one that is too large or too slow."""
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                data += part
                if len(data) > bound:
                    raise _too_large(bound)
    except TimeoutError:
        raise Problem(408, "The request did not arrive in time.", code="request_timeout") from None
    except ClientDisconnect:
        raise Problem(400, "The client has left.", code="invalid_http") from None
    return bytes(data)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives *body* once more, then goes on."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return again


class _Answer:
    """Sends an answer, and tells `ended` its status before the first byte leaves."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0
        self.ended: Callable[[int], Awaitable[Any]] | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            if self.ended is not None:
                await self.ended(self.status)
        await self._send(message)
