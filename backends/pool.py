"""The replicas a worker can send to, and who may send to which."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from backends.admission import FairQueue
from backends.endpoint import Endpoint, ReplicaState
from backends.errors import NoReplica, UnknownModel
from backends.lease import Lease
from backends.line import Line
from backends.load import NO_SIGNALS, Ask, Load, share
from backends.routing import POLICIES, Routing
from backends.traffic import Report, Usage
from backends.upstream import Upstream

log = logging.getLogger(__name__)

ANY = Ask()


class Share(NamedTuple):
    """Which part of an engine's slots is this worker's."""

    number: int = 0
    workers: int = 1


class Waiting(NamedTuple):
    """How many requests may wait for a replica of one model at one worker, and for how many seconds."""

    most: int = 256
    seconds: float = 50.0


def spellings(name: str) -> tuple[str, ...]:
    """Return *name* with and without a trailing slash: a model may be named by its folder."""
    bare = name.rstrip("/")
    return (bare, f"{bare}/") if bare else (name,)


def _drain(endpoint: Endpoint) -> tuple[str, float]:
    return endpoint.replica, endpoint.since


class Pool:
    """Known replicas, their load as this worker sees it, and connections to them.

    *credentials* maps model names to the API keys of external engines. Belongs to one event loop.
    """

    def __init__(
        self,
        upstream: Upstream,
        *,
        credentials: Mapping[str, str] | None = None,
        connect_seconds: float = 5.0,
        share: Share = Share(),  # noqa: B008 - it cannot be changed
        waiting: Waiting = Waiting(),  # noqa: B008
    ) -> None:
        self.upstream = upstream
        self.credentials = credentials or {}
        self.connect_seconds = connect_seconds
        self.share = share
        self.waiting = waiting
        self.loads: dict[str, Load] = {}
        self.lines: dict[str, Line] = {}
        self.models: dict[str, tuple[Endpoint, ...]] = {}
        self.news = asyncio.Event()
        """Set when the owner of the replicas should hear at once: a model has to be loaded, or a replica lingers."""
        self._model_of: dict[str, str] = {}
        self._base_of: dict[str, str] = {}
        """Models that are adapters on another one, whose replicas and queue they share."""
        self._heads: dict[tuple[str, str], bytes] = {}
        self._gone: set[tuple[str, float]] = set()
        """Drains under way that this worker has let go of: the replica, and the moment at which it began."""

    @property
    def in_flight(self) -> dict[str, int]:
        """Requests of this worker at each replica."""
        return {replica: load.requests for replica, load in self.loads.items()}

    @property
    def queued(self) -> dict[str, int]:
        """Requests that wait for a replica, by model."""
        return {model: len(line.queue) for model, line in self.lines.items()}

    @property
    def lingers(self) -> bool:
        """Whether a replica drains that this worker has not let go of: its owner waits for that."""
        return any(line.leaving for line in self.lines.values())

    def report(self) -> Report:
        """Return what this worker has where, for the owner of the replicas; lets go of those that linger for nobody."""
        now = self.upstream.loop.time()
        usages = {replica: self._usage(load, now) for replica, load in self.loads.items()}
        return Report(usages, [model for model, line in self.lines.items() if line.queue and not line.ready])

    def _usage(self, load: Load, now: float) -> Usage:
        endpoint = load.endpoint
        line = self.lines.get(endpoint.model)
        known = line is not None and (load in line.ready or (load in line.leaving and not self._let_go(load, line)))
        heard = max(load.since, self.upstream.heard.get(endpoint.replica, 0.0))
        silent = now - heard if load.requests else None
        return Usage(known, load.requests, load.taken, endpoint.since, silent)

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Replace what is known; running leases keep their replica, and who waits gets what has room now."""
        models: dict[str, list[Endpoint]] = {}
        names: dict[str, str] = {}
        adapters: dict[str, str] = {}
        for endpoint in endpoints:
            models.setdefault(endpoint.model, []).append(endpoint)
            for name in (endpoint.model, *endpoint.aliases):
                for spelling in spellings(name):
                    names.setdefault(spelling, endpoint.model)
            for adapter in endpoint.adapters:
                adapters.setdefault(adapter, endpoint.model)
                for spelling in spellings(adapter):
                    names.setdefault(spelling, adapter)
        self._gone &= {_drain(endpoint) for replicas in models.values() for endpoint in replicas}
        bases = {model: tuple(replicas) for model, replicas in models.items()}
        self.models = {**bases, **{adapter: bases[base] for adapter, base in adapters.items() if adapter not in bases}}
        self._model_of, self._base_of = names, adapters
        self._heads = {}
        known = {endpoint.replica: self._load(endpoint) for replicas in models.values() for endpoint in replicas}
        self.loads = {**{replica: load for replica, load in self.loads.items() if load.requests}, **known}
        for model in self.lines.keys() - models.keys():
            self.lines[model].close()
        for model, replicas in bases.items():
            self._update_line(model, replicas)

    def model(self, name: str) -> str:
        """Return the public model that *name*, an alias or a path stands for. Raises `UnknownModel`."""
        try:
            return self._model_of[name]
        except KeyError:
            raise UnknownModel(name) from None

    def has_choice(self, model: str) -> bool:
        """Return whether several replicas of *model* are ready."""
        line = self.lines.get(self._base_of.get(model, model))
        return line is not None and len(line.ready) > 1

    async def lease(self, model: str, ask: Ask = ANY) -> Lease:
        """Return a lease on the replica that suits *ask* best, as soon as one has room; enter it at once.

        Raises `NoReplica` and `Overloaded`.
        """
        line = self.lines.get(self._base_of.get(model, model))
        if line is None:
            raise NoReplica(model, ReplicaState.STOPPED.value)
        hold = await line.enter(ask)
        return Lease(
            line,
            hold,
            ask,
            upstream=self.upstream,
            connect_seconds=self.connect_seconds,
            heads=self.request_head,
        )

    def _let_go(self, load: Load, line: Line) -> bool:
        """Let go of a replica that lingers, if nothing of this worker runs there and nobody waits for it alone.

        Return whether so: from then on nothing of it comes there any more, until the drain is over.
        """
        if load.requests or (line.queue and not line.ready):
            return False
        self._gone.add(_drain(load.endpoint))
        line.leaving = [one for one in line.leaving if one is not load]
        return True

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

    def _load(self, endpoint: Endpoint) -> Load:
        """Return what is known of a replica; of an engine that has started anew, nothing but its requests."""
        cap = endpoint.max_in_flight
        if endpoint.slots is not None:
            cap = min(cap, share(endpoint.slots, *self.share))
        load = self.loads.get(endpoint.replica)
        if load is None:
            if endpoint.slots is not None and endpoint.slots < self.share.workers and self.share.number == 0:
                log.warning(
                    "%s has %d slots for %d workers: requests will wait in the engine too, where no queue is fair",
                    endpoint.replica,
                    endpoint.slots,
                    self.share.workers,
                )
            return Load(endpoint, cap)
        before, load.endpoint, load.cap = load.endpoint, endpoint, cap
        moved = (before.host, before.port) != (endpoint.host, endpoint.port)
        if moved or (endpoint.state is ReplicaState.READY and before.state is not ReplicaState.READY):
            load.breaker.renew()
            load.signals = NO_SIGNALS
        return load

    def _update_line(self, model: str, replicas: tuple[Endpoint, ...]) -> None:
        line = self.lines.get(model)
        if line is None:
            line = self.lines[model] = Line(model, FairQueue(*self.waiting), self.upstream.loop)
            line.on_demand = self.news.set
        line.ready = [self.loads[one.replica] for one in replicas if one.state is ReplicaState.READY]
        line.leaving = [self.loads[one.replica] for one in replicas if one.lingers and _drain(one) not in self._gone]
        if line.leaving:
            self.news.set()
        woken, line.wakes = line.wakes, any(one.wakes for one in replicas)
        line.states = ", ".join(sorted({one.state.value for one in replicas}))
        line.policy = POLICIES[Routing(replicas[0].routing)]
        if woken and not line.wakes and not line.ready:
            line.turn_away()  # it was to be loaded for them, and that has failed
        line.serve()
