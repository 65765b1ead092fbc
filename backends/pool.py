"""The replicas a worker can send to, and the leases on them."""

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from backends import routing
from backends.endpoint import Endpoint, ReplicaState
from backends.errors import NoReplica, Overloaded, UnknownModel
from backends.upstream import Exchange, Upstream


def spellings(name: str) -> tuple[str, ...]:
    """Return *name* with and without a trailing slash: a model may be named by its folder."""
    bare = name.rstrip("/")
    return (bare, f"{bare}/") if bare else (name,)


class Lease(Exchange):
    """The right to one request on one replica; an async context that frees the replica whatever happens.

    Leaving it before the answer was read to the end closes the connection, which cancels the engine's work.
    """

    def __init__(self, pool: "Pool", endpoint: Endpoint) -> None:
        super().__init__(pool.upstream, endpoint, pool.connect_seconds)
        self.pool = pool

    async def __aenter__(self) -> Self:
        """Count the request as in flight."""
        load = self.pool.in_flight
        load[self.endpoint.replica] = load.get(self.endpoint.replica, 0) + 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Free the replica."""
        self.pool.in_flight[self.endpoint.replica] -= 1
        self.close()

    async def ask(self, path: str, body: bytes, request_id: str) -> None:
        """Send *body* to the engine's *path*; an answer that was not read to its end is dropped.

        Raises `EngineUnreachable`.
        """
        self.close()
        head = self.pool.request_head(self.endpoint, path)
        await self.send(
            b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (head, request_id.encode(), len(body), body)
        )


class Pool:
    """Known replicas, their load as this worker sees it, and connections to them.

    *credentials* maps model names to the API keys of external engines.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        credentials: Mapping[str, str] | None = None,
        connect_seconds: float = 5.0,
    ) -> None:
        self.upstream = upstream
        self.credentials = credentials or {}
        self.connect_seconds = connect_seconds
        self.in_flight: dict[str, int] = {}
        self.models: dict[str, tuple[Endpoint, ...]] = {}
        self._model_of: dict[str, str] = {}
        self._heads: dict[tuple[str, str], bytes] = {}

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace what is known; running leases keep their replica."""
        models: dict[str, list[Endpoint]] = {}
        names: dict[str, str] = {}
        for endpoint in endpoints:
            models.setdefault(endpoint.model, []).append(endpoint)
            for name in (endpoint.model, *endpoint.aliases):
                for spelling in spellings(name):
                    names.setdefault(spelling, endpoint.model)
        self.models = {model: tuple(replicas) for model, replicas in models.items()}
        self._model_of = names
        self._heads = {}
        known = {replica.replica for replicas in models.values() for replica in replicas}
        self.in_flight = {replica: n for replica, n in self.in_flight.items() if n or replica in known}

    def model(self, name: str) -> str:
        """Return the public model that *name*, an alias or a path stands for. Raises `UnknownModel`."""
        try:
            return self._model_of[name]
        except KeyError:
            raise UnknownModel(name) from None

    def ready(self, model: str) -> list[Endpoint]:
        """Return the replicas of *model* that can take requests."""
        return [endpoint for endpoint in self.models.get(model, ()) if endpoint.state is ReplicaState.READY]

    def lease(self, model: str, key: str = "") -> Lease:
        """Return a lease on the replica that suits *model* best; *key* keeps a conversation together.

        Raises `NoReplica` and `Overloaded`.
        """
        ready = self.ready(model)
        if not ready:
            states = sorted({endpoint.state.value for endpoint in self.models.get(model, ())})
            raise NoReplica(model, ", ".join(states) or ReplicaState.STOPPED.value)
        endpoint = routing.choose(ready, self.in_flight, key)
        if self.in_flight.get(endpoint.replica, 0) >= endpoint.max_in_flight:
            raise Overloaded(model)
        return Lease(self, endpoint)

    def request_head(self, endpoint: Endpoint, path: str) -> bytes:
        """Return request line and headers for *path* on *endpoint*; made once for each."""
        known = self._heads.get((endpoint.replica, path))
        if known is not None:
            return known
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        lines = [
            f"POST {endpoint.base_path}{path} HTTP/1.1",
            f"host: {host}:{endpoint.port}",
            "content-type: application/json",
        ]
        if endpoint.model in self.credentials:
            lines.append(f"authorization: Bearer {self.credentials[endpoint.model]}")
        head = "".join(f"{line}\r\n" for line in lines).encode("latin-1")
        self._heads[endpoint.replica, path] = head
        return head
