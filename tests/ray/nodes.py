"""A Ray cluster of simulated nodes on this machine, with pretended GPUs: `python tests/ray/nodes.py FOLDER`.

Each has processes of its own, as a machine would; all listen on the loopback. Orders come as words on stdin, each is
answered by a line of JSON: ``kill NAME`` ends the node that has the actor NAME as a power cut would, ``where NAME``
says which node that is, ``free`` tells what nobody uses.
"""

import json
import os
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])
(FOLDER / "ray").mkdir(parents=True)
os.environ |= {
    "RAY_TMPDIR": str(FOLDER),
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TMPDIR": str(FOLDER),  # of the nodes: what a lost one leaves
}

import ray  # noqa: E402 - it reads the environment
from ray._private.state import actors  # noqa: E402 - the public way needs the dashboard
from ray.cluster_utils import Cluster  # noqa: E402

GPUS = 2
NODES = 2


def node_of(name: str) -> str:
    """Return the id of the node that the actor runs on; nothing where none does."""
    found = [actor for actor in actors().values() if actor["Name"] == name and actor["State"] == "ALIVE"]
    return found[0]["Address"]["NodeID"] if found else ""


def main() -> None:
    """Run the cluster until stdin ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1, num_gpus=GPUS) for _ in range(NODES)]
    ray.init(cluster.address, log_to_driver=False)
    print(json.dumps(cluster.address), file=out, flush=True)
    for line in sys.stdin:
        order, *words = line.split()
        answer: object = None
        if order == "where":
            answer = node_of(words[0])
        elif order == "kill":
            node = next(node for node in nodes if node.node_id == node_of(words[0]))
            cluster.remove_node(node, allow_graceful=False)
        elif order == "free":
            answer = ray.available_resources()
        print(json.dumps(answer), file=out, flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
