"""What is asked of Ray for a replica. Pure."""

from typing import Any

from backends.deployment import Deployment

CPUS = 1
"""In Ray's books, for each engine: a node that was started with ``--num-cpus 0``, such as a head, then gets none."""


def resources(deployment: Deployment) -> dict[str, Any]:
    """Return the actor's options and the bundles of its placement group.

    ``bundles`` is empty where there is no group: up to one GPU needs none. Several GPUs are one bundle, since an actor
    cannot span two, and so always lie on one node (STRICT_PACK).
    """
    gpus = deployment.ray_gpus
    needed: dict[str, float] = {"CPU": CPUS, **({"GPU": gpus} if gpus else {})}
    return {"num_cpus": CPUS, "num_gpus": gpus, "bundles": [needed] if gpus > 1 else []}
