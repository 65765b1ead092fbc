"""What would be started: the command line of each replica, with what is wrong beside it. Pure."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from backends.deployment import Deployment, Engine
from backends.engines import FAMILIES
from backends.engines.family import Command
from backends.errors import DeploymentInvalid

SECRET = "***"  # noqa: S105 - what is shown instead of one
_SECRETIVE = {"key", "token", "secret", "password", "passwd", "credential", "credentials"}
"""Words in the name of a variable or flag whose value is nobody's business."""
_SECRET_OF_URL = re.compile(r"(?<=//)[^/]*(?=@)|(?<=\?).*")
"""A password or a query, which a valid URL does not have."""
FREE_PORT = 0
"""Stands for the port where none is fixed."""


@dataclass(frozen=True, slots=True)
class PlannedReplica:
    """One process that would be started."""

    replica: str
    port: int | None
    """None: a free one, which is found at the start; the command line has 0 in its place."""
    environment: Mapping[str, str]
    """What is added to the gateway's own."""
    argv: tuple[str, ...]
    shell: str
    """Both as one types them."""


@dataclass(frozen=True, slots=True)
class PlannedDeployment:
    """One deployment: its processes, what is wrong with it, and what was not looked at."""

    index: int
    model: str
    names: tuple[str, ...]
    """Every name by which it is found, adapters among them."""
    engine: str
    url: str | None
    """Of an external engine, which nobody starts."""
    replicas: tuple[PlannedReplica, ...]
    problems: tuple[DeploymentInvalid, ...]
    remarks: tuple[str, ...]


def planned(
    deployments: Sequence[Deployment | str],
    problems: Sequence[DeploymentInvalid] = (),
    *,
    remark: str | None = None,
    secrets: bool = False,
) -> list[PlannedDeployment]:
    """Return what would be started for *deployments*; of one that says too little for a command line, its name stands.

    Each of *problems* goes to the deployment that its key names. *remark* is said of those that may use a GPU.
    *secrets*: whether values that look like secrets are shown.
    """
    return [_deployment(i, one, problems, remark, secrets=secrets) for i, one in enumerate(deployments)]


def document(plan: Sequence[PlannedDeployment]) -> list[dict[str, Any]]:
    """Return the plan as JSON has it."""
    return [
        {
            "deployment": f"deployments[{one.index}]",
            "model": one.model,
            "names": list(one.names),
            "engine": one.engine,
            "url": one.url,
            "replicas": [asdict(replica) for replica in one.replicas],
            "problems": [{"key": problem.key, "message": problem.message} for problem in one.problems],
            "remarks": list(one.remarks),
        }
        for one in plan
    ]


def _deployment(
    i: int, deployment: Deployment | str, problems: Sequence[DeploymentInvalid], remark: str | None, *, secrets: bool
) -> PlannedDeployment:
    begin = f"deployments[{i}]"
    mine = tuple(problem for problem in problems if problem.key == begin or problem.key.startswith(f"{begin}."))
    if isinstance(deployment, str):
        return PlannedDeployment(i, deployment, (deployment,), "", None, (), mine, ())
    replicas = tuple(_replicas(deployment, secrets=secrets))
    remarks = tuple(_remarks(deployment, remark))
    names = (*deployment.all_names, *deployment.adapter_models)
    engine = deployment.engine.value
    url = None if deployment.url is None else _SECRET_OF_URL.sub(SECRET, deployment.url)
    return PlannedDeployment(i, deployment.model, names, engine, url, replicas, mine, remarks)


def _replicas(deployment: Deployment, *, secrets: bool) -> Iterator[PlannedReplica]:
    build = FAMILIES[deployment.engine].command
    for index in range(deployment.replicas if build is not None else 0):
        port = deployment.port_of(index)
        command = build(deployment, port or FREE_PORT, index) if build is not None else Command(())
        shown = command if secrets else concealed(command)
        yield PlannedReplica(f"{deployment.model}#{index}", port, dict(shown.environment), shown.argv, shell(shown))


def _remarks(deployment: Deployment, remark: str | None) -> Iterator[str]:
    if deployment.engine in {Engine.VLLM, Engine.LLAMA_CPP_PYTHON} and deployment.vllm_binary is None:
        module = "vllm" if deployment.engine is Engine.VLLM else "llama_cpp"
        yield f"whether {deployment.python} can import {module} was not tried: it takes many seconds"
    if remark is not None and (deployment.engine is Engine.VLLM or deployment.gpus or deployment.n_gpu_layers):
        yield remark
    if deployment.engine is not Engine.EXTERNAL and deployment.host not in {"127.0.0.1", "::1", "localhost"}:
        yield f"host {deployment.host}: whoever reaches this port asks the engine around the guard"


def shell(command: Command) -> str:
    """Return environment and argv as a line for a shell."""
    variables = (f"{name}={shlex.quote(value)}" for name, value in command.environment.items())
    return " ".join([*variables, shlex.join(command.argv)])


def concealed(command: Command) -> Command:
    """Return *command* with `SECRET` in place of what looks like one: variables and flags by their names."""
    environment = {
        name: SECRET if _is_secretive(name) and value else value for name, value in command.environment.items()
    }
    argv: list[str] = []
    hiding = False
    for word in command.argv:
        flag, equals, _ = word.partition("=")
        if word.startswith("-"):
            hiding = _is_secretive(flag)
            argv.append(f"{flag}={SECRET}" if hiding and equals else word)
        else:
            argv.append(SECRET if hiding else word)
    return Command(tuple(argv), environment)


def _is_secretive(name: str) -> bool:
    return not _SECRETIVE.isdisjoint(re.split(r"[-_]", name.lower()))
