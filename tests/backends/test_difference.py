"""What has to be done so that what runs is what is wanted."""

from typing import Any

import pytest

from backends.deployment import Deployment
from backends.difference import Difference, changed_fields, changes_places, difference, in_the_way, needs_restart


def deployment(model: str = "m", **fields: Any) -> Deployment:
    return Deployment.model_validate({"model": model, "engine": "vllm", "path": "/models/m", **fields})


def by_model(*deployments: Deployment) -> dict[str, Deployment]:
    return {one.model: one for one in deployments}


def test_every_model_stands_in_one_place() -> None:
    """What is new starts, what is gone stops, what is the same is kept."""
    running = by_model(deployment("a"), deployment("b"), deployment("c"), deployment("d"))
    wanted = by_model(
        deployment("e"), deployment("d"), deployment("c", replicas=2), deployment("b", gpu_memory_utilization=0.5)
    )
    assert difference(running, wanted) == Difference(
        start=("e",), stop=("a",), restart=("b",), change=("c",), keep=("d",)
    )


@pytest.mark.parametrize("field", [{"aliases": ["x"]}, {"routing": "affinity"}, {"max_in_flight": 3}, {"replicas": 5}])
def test_what_stands_in_no_command_line_needs_no_new_engine(field: dict[str, Any]) -> None:
    found = difference(by_model(deployment()), by_model(deployment(**field)))
    assert (("m",), ()) == (found.change, found.restart)


@pytest.mark.parametrize(
    "field",
    [{"path": "/models/n"}, {"port": 8001}, {"gpus": [1]}, {"extra_args": ["--x"]}, {"environment": {"A": "b"}}],
)
def test_what_an_engine_is_started_with_needs_a_new_one(field: dict[str, Any]) -> None:
    found = difference(by_model(deployment()), by_model(deployment(**field)))
    assert (("m",), ()) == (found.restart, found.change)


def test_a_restart_brings_live_changes_along() -> None:
    """What has both is restarted, and stands nowhere else."""
    found = difference(by_model(deployment()), by_model(deployment(port=8001, aliases=["x"])))
    assert Difference((), (), ("m",), (), ()) == found


def test_a_default_that_is_said_out_loud_changes_nothing() -> None:
    assert not changed_fields(deployment(), deployment(replicas=1, host="127.0.0.1", routing="least_tokens"))


def test_engines_are_in_each_others_way_by_port_and_gpu() -> None:
    one = deployment(port=8001, gpus=[0, 1])
    assert in_the_way(one, deployment("n", port=8001))
    assert in_the_way(one, deployment("n", gpus=[1]))
    assert not in_the_way(one, deployment("n", port=8002, gpus=[2]))
    assert not in_the_way(deployment(), deployment("n"))


def llama(**fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", "engine": "xllamacpp", "path": "/models/m", **fields})


def test_another_number_that_shares_out_the_gpus_anew_needs_new_engines() -> None:
    """Two have two each where one had all four; where the groups stay the same, so do the engines."""
    assert needs_restart(llama(gpus=[0, 1, 2, 3]), llama(gpus=[0, 1, 2, 3], replicas=2))
    pairs = {"gpus": [0, 1, 2, 3], "tensor_split": [1, 1]}
    assert not needs_restart(llama(**pairs, replicas=2), llama(**pairs, replicas=2, aliases=["x"]))
    assert not needs_restart(llama(gpus=[0], replicas=2), llama(gpus=[0], replicas=3))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"gpus": [0, 1], "replicas": 2}, {"gpus": [1, 0], "replicas": 2}, True),
        ({"gpus": [0, 1], "replicas": 2}, {"gpus": [0, 1]}, True),
        ({"gpus": [0, 1]}, {"gpus": [0, 1], "replicas": 2}, True),
        ({"port": "8003-8004", "replicas": 2}, {"port": "8004-8005", "replicas": 2}, True),
        ({"gpus": [0, 1], "replicas": 2}, {"gpus": [0, 1], "replicas": 2, "parallel": 1}, False),
        ({"gpus": [0], "replicas": 2}, {"gpus": [0], "replicas": 2, "parallel": 1}, False),
        ({"replicas": 2}, {"replicas": 2, "parallel": 1}, False),
    ],
)
def test_replicas_that_are_to_have_what_another_has_now(
    before: dict[str, Any], after: dict[str, Any], expected: bool
) -> None:
    assert expected is changes_places(llama(**before), llama(**after))
