"""How much of each GPU's memory the deployments want, and whether it is there. Pure but for the sizes of files."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from backends.deployment import VLLM_SHARE, Deployment, Engine
from backends.gpus import MIB_PER_GIB, Gpu

_MIB = 1024 * 1024
_PART = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")
"""End of a GGUF file's name that is one of several."""
_SLACK_MIB = 1.0
"""For shares that add up to all of it."""


class Demand(NamedTuple):
    """What one replica wants of one GPU."""

    deployment: int
    gpu: int
    mib: float


def model_mib(path: str) -> float:
    """Return the size of a GGUF file, all its parts together; 0 where it is not there."""
    file = Path(path)
    found = _PART.search(file.name)
    parts = file.parent.glob(f"{glob_safe(file.name[: found.start()])}-*-of-{found[1]}.gguf") if found else (file,)
    return sum(part.stat().st_size for part in parts if part.is_file()) / _MIB


def glob_safe(name: str) -> str:
    """Return *name* as a pattern that matches it alone."""
    return re.sub(r"([*?\[])", r"[\1]", name)


def gpus_used(deployment: Deployment, index: int, there: Sequence[int]) -> tuple[int, ...]:
    """Return the GPUs of *there* that replica *index* will use.

    Without `gpus` vLLM takes the first ones, and llama.cpp, where layers go to GPUs at all, those that `tensor_split`
    has shares for, or all.
    """
    if deployment.gpus:
        return deployment.gpus_of(index)
    visible = deployment.environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [part.strip() for part in visible.split(",")]
        there = [int(part) for part in named if part.isdecimal()]
    if deployment.engine is Engine.VLLM:
        return tuple(there[: deployment.gpus_each])
    if deployment.engine is Engine.EXTERNAL or not deployment.n_gpu_layers:
        return ()
    return tuple(there[: len(deployment.tensor_split) or len(there)])


def demands(
    deployments: Sequence[Deployment], gpus: Mapping[int, Gpu], size: Callable[[str], float] = model_mib
) -> Iterator[Demand]:
    """Yield what each replica wants of each of *gpus*, which it has.

    vLLM takes its share of the memory, whatever the model. Of llama.cpp the file's size is taken, divided by
    `tensor_split`: an estimate, and a low one, since what it computes with comes on top, unless few layers go to GPUs.
    """
    for i, deployment in enumerate(deployments):
        for index in range(deployment.replicas):
            used = gpus_used(deployment, index, sorted(gpus))
            for gpu, share in zip(used, _shares(deployment, len(used)), strict=True):
                total = gpus[gpu].total_mib if gpu in gpus else None
                if total is None:
                    continue
                if deployment.engine is Engine.VLLM:
                    yield Demand(i, gpu, total * (deployment.gpu_memory_utilization or VLLM_SHARE))
                elif deployment.n_gpu_layers != 0 and deployment.path is not None:
                    adapters = sum(size(adapter.path) for adapter in deployment.adapters)
                    yield Demand(i, gpu, (size(deployment.path) + adapters) * share)


def _shares(deployment: Deployment, count: int) -> list[float]:
    """Return the part of the model that goes to each of *count* GPUs."""
    weights = list(deployment.tensor_split[:count])
    weights += [0.0 if weights else 1.0] * (count - len(weights))
    whole = sum(weights)
    return [weight / whole if whole else 0.0 for weight in weights]


def over_committed(
    wanted: Sequence[Demand], gpus: Mapping[int, Gpu], ours: Mapping[int, float | None]
) -> Iterator[tuple[int, str, bool]]:
    """Yield deployment, complaint, and whether it may pass, for each GPU that cannot hold what is wanted of it.

    *ours*: MiB that our own running engines have of a GPU, which will not come on top; None: that is not known, so its
    free memory says nothing. The complaint goes to the first deployment for which there is no room.
    """
    for gpu in sorted({demand.gpu for demand in wanted}):
        there = gpus[gpu]
        mine = ours.get(gpu, 0.0)
        free = None if there.free_mib is None or mine is None else there.free_mib + mine
        sum_mib = 0.0
        for demand in (demand for demand in wanted if demand.gpu == gpu):
            sum_mib += demand.mib
            if there.total_mib is not None and sum_mib > there.total_mib + _SLACK_MIB:
                yield demand.deployment, f"{_whose(gpu, wanted)}, and it has {_gib(there.total_mib)} GiB", False
                break
            if free is not None and sum_mib > free + _SLACK_MIB:
                others = "other programs have the rest" if there.total_mib is not None else "others have some"
                yield demand.deployment, f"{_whose(gpu, wanted)}, and {_gib(free)} GiB are free: {others}", True
                break


def _whose(gpu: int, wanted: Sequence[Demand]) -> str:
    """Return what is wanted of *gpu*, in all and by whom."""
    by_deployment: dict[int, float] = {}
    for demand in (demand for demand in wanted if demand.gpu == gpu):
        by_deployment[demand.deployment] = by_deployment.get(demand.deployment, 0.0) + demand.mib
    parts = ", ".join(f"deployments[{i}] {_gib(mib)}" for i, mib in by_deployment.items())
    return f"of GPU {gpu} {_gib(sum(by_deployment.values()))} GiB are wanted ({parts})"


def decisive(deployment: Deployment) -> str:
    """Return the setting that decides how much *deployment* takes of a GPU."""
    if deployment.engine is Engine.VLLM:
        return "gpu_memory_utilization"
    return "n_gpu_layers" if deployment.n_gpu_layers is not None else "gpus"


def _gib(mib: float) -> str:
    return f"{mib / MIB_PER_GIB:.1f}"
