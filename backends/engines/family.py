"""What the gateway has to know of an engine: how it is started, probed and asked for token counts. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from backends.deployment import Deployment


@dataclass(frozen=True, slots=True)
class Command:
    """How a process is started: argv, and what is added to the environment."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


class CommandBuilder(Protocol):
    """Builds the command line of replica *index* of a deployment, which is to listen on *port*. Pure."""

    def __call__(self, deployment: Deployment, port: int, index: int = 0) -> Command: ...


@dataclass(frozen=True, slots=True)
class Question:
    """A POST to an engine and how its JSON answer is read."""

    path: str
    body: Mapping[str, Any]
    read: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """How an engine counts tokens.

    *template*: messages → the question whose answer is the whole prompt as text; None: `count` takes messages itself.
    *count*: (served name, text or messages) → the question whose answer is a number.
    """

    count: Callable[[str, Any], Question]
    template: Callable[[Any], Question] | None = None


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of engine."""

    command: CommandBuilder | None
    """None where nothing is started."""
    served_name: Callable[[Deployment], str]
    slots: Callable[[Deployment], int | None]
    health_path: str = "/health"
    tokenizer: Tokenizer | None = None
    notices_late: bool = False
    """See `Endpoint.notices_late`."""


def cuda(deployment: Deployment, index: int = 0) -> dict[str, str]:
    """Return the environment: the GPUs that are named for replica *index*, and what the deployment adds."""
    gpus = deployment.gpus_of(index)
    devices = {"CUDA_VISIBLE_DEVICES": ",".join(map(str, gpus))} if gpus else {}
    return {**devices, **deployment.environment}


def number(value: float) -> str:
    """Return *value* as one writes it: 1 for 1.0."""
    return f"{value:g}"
