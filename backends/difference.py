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
    changed = {model: changed_fields(running[model], wanted[model]) for model in both}
    return Difference(
        start=tuple(model for model in wanted if model not in running),
        stop=tuple(model for model in running if model not in wanted),
        restart=tuple(model for model in both if changed[model] - LIVE),
        change=tuple(model for model in both if changed[model] and not changed[model] - LIVE),
        keep=tuple(model for model in both if not changed[model]),
    )


def changed_fields(before: Deployment, after: Deployment) -> frozenset[str]:
    """Return the fields in which two deployments differ; one that says a default out loud differs in nothing."""
    return frozenset(name for name in type(after).model_fields if getattr(before, name) != getattr(after, name))


def needs_restart(before: Deployment, after: Deployment) -> bool:
    """Return whether engines of *before* cannot go on as engines of *after*."""
    return bool(changed_fields(before, after) - LIVE)


def in_the_way(before: Deployment, after: Deployment) -> bool:
    """Return whether engines of *after* need a port or a GPU that those of *before* hold while they run."""
    return (before.port is not None and before.port == after.port) or bool(set(before.gpus) & set(after.gpus))
