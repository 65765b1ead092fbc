"""The data plane's routes, in one list."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from backends.errors import UnknownModel
from gateway import metrics
from gateway.keys import Caller, KeyRefused
from gateway.problems import INTERNAL, Problem, of
from gateway.relay import moderations, wire
from gateway.relay.desk import Desk
from gateway.relay.message import HttpReply, Incoming
from gateway.relay.relay import Relay
from gateway.services import Services

log = logging.getLogger(__name__)

ROUTES = (
    *(("POST", route.path, "relay") for route in wire.ROUTES),
    ("POST", moderations.PATH, "moderations"),
    ("POST", "/v1/appeals", "appeals"),
    ("GET", "/v1/appeals/{id}", "appeal"),
    ("POST", "/v1/complaints", "complaints"),
    ("GET", "/v1/complaints/{id}", "complaint"),
    ("GET", "/v1/models", "models"),
    ("GET", "/v1/models/{id}", "model"),
    ("GET", "/healthz", "health"),
    ("GET", "/readyz", "ready"),
    ("GET", "/metrics", "metrics"),
)
"""Method, path and handler (a method of `App`) of every route that a client can reach."""

OUR_OWN = frozenset(
    {"appeals", "appeal", "complaints", "complaint", "models", "model", "health", "ready", "metrics"},
)
"""Handlers that pass on no word of a model, nor one to a model; the others are the relay's, which guards both."""

PARAMETER = "{id}"
MODELS, APPEALS, COMPLAINTS = "/v1/models/", "/v1/appeals/", "/v1/complaints/"


class UnguardedRoute(Exception):
    """A route would reach a model around the guard; the gateway does not start with it."""


class Answer(NamedTuple):
    """A small answer of the gateway's own."""

    status: int
    body: bytes
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class App:
    """Answers every request of a worker."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.relay = Relay(services)
        self.desk = Desk(services)
        relayed = {route.path: route for route in wire.ROUTES}
        guarded = {("moderations", moderations.PATH), *(("relay", path) for path in relayed)}
        for method, path, name in ROUTES:
            if name not in OUR_OWN and not (method == "POST" and (name, path) in guarded):
                raise UnguardedRoute(f"{method} {path}")
        self._posts: dict[bytes, Callable[[Incoming, HttpReply], Awaitable[None]]] = {
            path.encode(): partial(self.relay.answer, route) for path, route in relayed.items()
        }
        self._posts[moderations.PATH.encode()] = self.relay.moderate
        self._own: dict[tuple[str, str], Handler] = {
            (method, path): getattr(self, f"_{name}") for method, path, name in ROUTES if name in OUR_OWN
        }

    def admit(self, incoming: Incoming) -> None:
        """Refuse a large body whose key is refused anyway."""
        try:
            self._caller(incoming)
        except KeyRefused as error:
            raise of(error) from None

    async def answer(self, incoming: Incoming, reply: HttpReply) -> None:
        """Answer one request."""
        answered = self._posts.get(incoming.target.partition(b"?")[0])
        if answered is not None and incoming.method == "POST":
            await answered(incoming, reply)
            return
        try:
            incoming.address = reply.address
            answer = await self._answer_ourselves(incoming)
            headers = [(b"content-type", answer.content_type), *answer.headers]
            reply.start(answer.status, headers, len(answer.body))
            reply.finish(answer.body)
        except Exception as error:
            problem = of(error)
            if problem.code == INTERNAL:
                log.exception("%s %s failed", incoming.method, incoming.path)
            body = problem.body()
            reply.start(problem.status, problem.headers(), len(body))
            reply.finish(body)

    async def _answer_ourselves(self, incoming: Incoming) -> Answer:
        path, method = incoming.path, "GET" if incoming.method == "HEAD" else incoming.method
        if path in {MODELS, APPEALS, COMPLAINTS}:
            path = path.rstrip("/")
        handler = self._own.get((method, path))
        if handler is None and (route := _with_parameter(path)) is not None:
            handler = self._own.get((method, route))
        if handler is None:
            raise _no_route(incoming.method, path)
        return await handler(incoming)

    async def _models(self, incoming: Incoming) -> Answer:
        caller = self._caller(incoming)
        listed = [self._entry(name) for name in self.services.pool.models if caller.may_use(name)]
        return _json(200, {"object": "list", "data": listed})

    async def _model(self, incoming: Incoming) -> Answer:
        caller, asked = self._caller(incoming), incoming.path.removeprefix(MODELS)
        name = self.services.pool.model(asked)
        if not caller.may_use(name):
            raise UnknownModel(asked)
        return _json(200, {**self._entry(name), "id": asked})

    def _entry(self, name: str) -> dict[str, Any]:
        created = self.services.pool.models[name][0].created
        return {"id": name, "object": "model", "created": created, "owned_by": "safety-gateway"}

    def _caller(self, incoming: Incoming) -> Caller:
        return self.services.ring.caller(incoming.authorization, time.time())

    async def _appeals(self, incoming: Incoming) -> Answer:
        return _received(*await self.desk.appeal(self._caller(incoming), incoming))

    async def _complaints(self, incoming: Incoming) -> Answer:
        return _received(*await self.desk.complain(self._caller(incoming), incoming))

    async def _appeal(self, incoming: Incoming) -> Answer:
        asked = incoming.path.removeprefix(APPEALS)
        return _json(200, await self.desk.show("appeals", asked, self._caller(incoming)))

    async def _complaint(self, incoming: Incoming) -> Answer:
        asked = incoming.path.removeprefix(COMPLAINTS)
        return _json(200, await self.desk.show("complaints", asked, self._caller(incoming)))

    async def _health(self, incoming: Incoming) -> Answer:
        del incoming
        return _json(200, {"status": "ok"})

    async def _ready(self, incoming: Incoming) -> Answer:
        del incoming
        models = self.services.states()
        ready = self.services.has_models and self.services.has_keys and self.services.has_library
        return _json(200 if ready else 503, {"status": "ready" if ready else "not ready", "models": models})

    async def _metrics(self, incoming: Incoming) -> Answer:
        if not self.services.settings.metrics_public:
            raise Problem(404, f"There is no GET {incoming.path} here.", code="route_not_found")
        self.services.flush_metrics()
        body = await asyncio.to_thread(self.services.metrics.render)
        return Answer(200, body, metrics.CONTENT_TYPE)


Handler = Callable[[Incoming], Awaitable[Answer]]


def _json(status: int, document: Any) -> Answer:
    return Answer(status, msgspec.json.encode(document))


def _received(document: Any, repeated: bool) -> Answer:
    headers = ((b"idempotent-replayed", b"true"),) if repeated else ()
    return _json(201, document)._replace(headers=headers)


def _with_parameter(path: str) -> str | None:
    """Return the route with a parameter that *path* is meant for; the name of a model may have slashes."""
    return next((f"{begin}{PARAMETER}" for begin in (MODELS, APPEALS, COMPLAINTS) if path.startswith(begin)), None)


def _no_route(method: str, path: str) -> Problem:
    allowed = [known for known, route, _ in ROUTES if route in {path, _with_parameter(path)}]
    if allowed:
        return Problem(405, f"{path} wants {allowed[0]}, not {method}.", code="method_not_allowed")
    if path.startswith("/v1/v1/"):
        hint = f" The base URL already ends in /v1: ask for {path.removeprefix('/v1')}."
    elif f"/v1{path}" in {known for _, known, _ in ROUTES}:
        hint = f" The base URL must end in /v1: ask for /v1{path}."
    else:
        hint = ""
    return Problem(404, f"There is no {method} {path}.{hint}", code="route_not_found")
