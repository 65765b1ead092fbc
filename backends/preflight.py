"""Looks at this machine before anything is started there: GPUs, their memory, ports."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends import gpus, listeners, memory
from backends.deployment import Deployment, Engine, check
from backends.errors import DeploymentInvalid, NotNow
from backends.gpus import DeclaredGpu, Gpu, GpusUnknown, Usage
from backends.ports import is_free

MOST_RANK = 16
"""vLLM's own default of --max-lora-rank."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is known of the machine that the engines are to run on."""

    run_dir: Path
    """Where the folders of our own engines lie, which tells them from strangers."""
    gpus: tuple[Gpu, ...] | None = None
    """None: not known."""
    remark: str | None = None
    """Why the GPUs are not known."""
    ours: Mapping[int, float | None] = field(default_factory=dict)
    """MiB that our own running engines have of a GPU; None: that is not known."""


def look(deployments: Sequence[Deployment], run_dir: Path, declared: Sequence[DeclaredGpu] | None = None) -> Machine:
    """Return what is known of this machine; nvidia-smi is asked where a deployment may use a GPU.

    Blocks, for twice `gpus.SECONDS` at most: not for an event loop.
    """
    if declared is not None:
        return Machine(run_dir, gpus.declared(declared))
    if not any(_may_use_gpus(deployment) for deployment in deployments):
        return Machine(run_dir)
    try:
        there = gpus.installed()
        usage = gpus.in_use()
    except GpusUnknown as error:
        return Machine(run_dir, remark=f"GPUs are not looked at: {error}")
    return Machine(run_dir, there, ours=_ours(there, usage, run_dir))


def examine(deployments: Sequence[Deployment], machine: Machine) -> list[DeploymentInvalid]:
    """Return all that is wrong with *deployments* on *machine*, each with its settings key; see also `check`.

    What somebody else has, and may give back, is `NotNow`.
    """
    found = check(deployments)
    found += _hosts_and_ports(deployments, machine.run_dir)
    found += _adapters(deployments)
    if machine.gpus is not None:
        there = {gpu.index: gpu for gpu in machine.gpus}
        found += _gpus_missing(deployments, there)
        said = {problem.key for problem in found}
        wanted = [demand for demand in memory.demands(deployments, there) if demand.gpu in there]
        for i, text, passing in memory.over_committed(wanted, there, machine.ours):
            key = f"deployments[{i}].{memory.decisive(deployments[i])}"
            if key not in said:  # that shares are given away twice is said already
                found.append((NotNow if passing else DeploymentInvalid)(key, text))
    return found


def _may_use_gpus(deployment: Deployment) -> bool:
    return deployment.engine is Engine.VLLM or bool(deployment.gpus) or bool(deployment.n_gpu_layers)


def _ours(there: Sequence[Gpu], usage: Sequence[Usage], run_dir: Path) -> dict[int, float | None]:
    """Return what our own engines have of each GPU.

    A process that cannot be seen, or whose memory is not told, may be one of ours as long as any of them runs.
    """
    found: dict[int, float | None] = {}
    running = bool(usage) and listeners.ours(run_dir)
    numbers = {gpu.uuid: gpu.index for gpu in there}
    for one in usage if running else ():
        if (gpu := numbers.get(one.uuid)) is None:
            continue
        before = found.get(gpu, 0.0)
        if not listeners.exists(one.pid):
            found[gpu] = None
        elif listeners.is_ours(one.pid, run_dir):
            found[gpu] = None if before is None or one.mib is None else before + one.mib
    return found


def _hosts_and_ports(deployments: Sequence[Deployment], run_dir: Path) -> Iterator[DeploymentInvalid]:
    for i, deployment in enumerate(deployments):
        if deployment.engine is Engine.EXTERNAL:
            continue
        if not _is_here(deployment.host):
            yield DeploymentInvalid(f"deployments[{i}].host", f"{deployment.host} is no address of this machine")
            continue
        for port in deployment.ports[: deployment.replicas]:
            if (stranger := listeners.stranger_on(deployment.host, port, run_dir)) is not None:
                yield NotNow(f"deployments[{i}].port", f"{port} is taken by {stranger}")


def _is_here(host: str) -> bool:
    try:
        return is_free(host, 0)
    except (UnicodeError, ValueError):
        return False


def _gpus_missing(deployments: Sequence[Deployment], there: Mapping[int, Gpu]) -> Iterator[DeploymentInvalid]:
    has = f"this machine has {len(there)}"
    for i, deployment in enumerate(deployments):
        missing = [str(gpu) for gpu in deployment.gpus if gpu not in there]
        if missing:
            named = f"GPU {missing[0]} is" if len(missing) == 1 else f"GPUs {', '.join(missing)} are"
            yield DeploymentInvalid(f"deployments[{i}].gpus", f"{named} not there; {has}, counted from 0")
        if deployment.engine is not Engine.VLLM:
            continue
        each = deployment.gpus_each
        if not deployment.gpus and there and each > len(there):
            yield DeploymentInvalid(f"deployments[{i}].tensor_parallel_size", f"wants {each} GPUs; {has}")
        if deployment.replicas == 1 and deployment.tensor_parallel_size is None and len(deployment.gpus) > each:
            text = f"is missing: gpus names {len(deployment.gpus)}, and vLLM would use {each}"
            yield DeploymentInvalid(f"deployments[{i}].tensor_parallel_size", text)


def _adapters(deployments: Sequence[Deployment]) -> Iterator[DeploymentInvalid]:
    """Find adapters of a rank that vLLM refuses after it has loaded the model."""
    for i, deployment in enumerate(deployments):
        said = any(argument.replace("_", "-").startswith("--max-lora-rank") for argument in deployment.extra_args)
        for n, adapter in enumerate(deployment.adapters):
            rank = None if said or deployment.engine is not Engine.VLLM else _rank(Path(adapter.path))
            if rank is not None and rank > MOST_RANK:
                text = f"is of rank {rank}, and vLLM takes {MOST_RANK}: extra_args: [--max-lora-rank, '{rank}']"
                yield DeploymentInvalid(f"deployments[{i}].adapters[{n}].path", text)


def _rank(folder: Path) -> int | None:
    try:
        rank = json.loads((folder / "adapter_config.json").read_bytes())["r"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return rank if isinstance(rank, int) else None
