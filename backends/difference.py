"""What has to be done so that what runs is what is wanted. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from backends.deployment import Deployment

LIVE = frozenset({"aliases", "routing", "max_in_flight", "replicas", "idle_seconds", "pinned"})
"""Fields of a deployment that are changed while its engines go on: none of them is in a command line."""


class Difference(NamedTuple):
    """Models by what has to be done for them; each stands in one place."""

    start: tuple[str, ...]
    """Wanted, and not there."""
    stop: tuple[str, ...]
    """There, and not wanted."""
    restart: tuple[str, ...]
    """Wanted in another way, which takes new engines."""
    change: tuple[str, ...]
    """Wanted in another way, while the engines go on: `LIVE` fields."""
    keep: tuple[str, ...]
    """Wanted as they are."""


def difference(running: Mapping[str, Deployment], wanted: Mapping[str, Deployment]) -> Difference:
    """Return what makes *wanted* of *running*, both by model, in their order."""
    both = [model for model in wanted if model in running]
    changed = {model for model in both if changed_fields(running[model], wanted[model])}
    anew = {model for model in changed if needs_restart(running[model], wanted[model])}
    return Difference(
        start=tuple(model for model in wanted if model not in running),
        stop=tuple(model for model in running if model not in wanted),
        restart=tuple(model for model in both if model in anew),
        change=tuple(model for model in both if model in changed - anew),
        keep=tuple(model for model in both if model not in changed),
    )


def changed_fields(before: Deployment, after: Deployment) -> frozenset[str]:
    """Return the fields in which two deployments differ; one that says a default out loud differs in nothing."""
    return frozenset(name for name in type(after).model_fields if getattr(before, name) != getattr(after, name))


def needs_restart(before: Deployment, after: Deployment) -> bool:
    """Return whether engines of *before* cannot go on as engines of *after*.

    Another number of replicas may share out the GPUs anew.
    """
    both = range(min(before.replicas, after.replicas))
    return bool(changed_fields(before, after) - LIVE) or any(before.gpus_of(i) != after.gpus_of(i) for i in both)


def in_the_way(before: Deployment, after: Deployment) -> bool:
    """Return whether engines of *after* need a port or a GPU that those of *before* hold while they run."""
    return bool(_places(before) & _places(after))


def changes_places(before: Deployment, after: Deployment) -> bool:
    """Return whether a replica of *after* needs a port or a GPU that another one of *before* has to give up first."""
    return any(
        _place(before, i) & _place(after, j) - (_place(after, i) if i < after.replicas else set())
        for i in range(before.replicas)
        for j in range(after.replicas)
        if i != j
    )


def _place(deployment: Deployment, index: int) -> set[tuple[str, int]]:
    port = deployment.port_of(index)
    held = {("port", port)} if port is not None else set()
    return held | {("gpu", gpu) for gpu in deployment.gpus_of(index)}


def _places(deployment: Deployment) -> set[tuple[str, int]]:
    return {place for index in range(deployment.replicas) for place in _place(deployment, index)}
