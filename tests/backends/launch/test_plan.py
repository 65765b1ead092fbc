"""What Ray is asked for."""

from typing import Any

import pytest
from pydantic import ValidationError

from backends.deployment import Deployment
from backends.engines import FAMILIES
from backends.launch.plan import resources


def on_ray(**fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", "engine": "vllm", "path": "/m", "placement": "ray", **fields})


LLAMA = {"engine": "llama_server", "path": "/m.gguf"}


@pytest.mark.parametrize(
    ("fields", "gpus"),
    [
        ({}, 1),  # vLLM computes on one
        ({"tensor_parallel_size": 2}, 2),
        ({"tensor_parallel_size": 2, "extra_args": ["--pipeline-parallel-size", "2"]}, 4),
        ({"num_gpus": 0.5, "gpu_memory_utilization": 0.4}, 0.5),
        (LLAMA, 0),
        ({**LLAMA, "n_gpu_layers": 2000}, 1),
        ({**LLAMA, "n_gpu_layers": 2000, "tensor_split": [1, 1]}, 2),
        ({**LLAMA, "num_gpus": 3}, 3),
    ],
)
def test_gpus(fields: dict[str, Any], gpus: float) -> None:
    """As many as are said, or as the engine will use."""
    assert gpus == resources(on_ray(**fields))["num_gpus"]


@pytest.mark.parametrize(
    ("fields", "bundles"),
    [
        ({"num_gpus": 0}, []),
        ({}, []),
        ({"tensor_parallel_size": 4}, [{"CPU": 1, "GPU": 4}]),
    ],
)
def test_several_gpus_are_one_bundle(fields: dict[str, Any], bundles: list[dict[str, float]]) -> None:
    """They lie on one node, and an actor spans no two bundles."""
    found = resources(on_ray(**fields))
    assert (1, bundles) == (found["num_cpus"], found["bundles"])


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"gpus": [0]}, "gpus"),
        ({"host": "0.0.0.0"}, "host"),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "1"}}, "environment.CUDA_VISIBLE_DEVICES"),
        ({"num_gpus": 1.5}, "num_gpus"),
        ({"num_gpus": 1, "tensor_parallel_size": 2}, "num_gpus"),
        ({"placement": "local", "num_gpus": 1}, "num_gpus"),
    ],
)
def test_what_cannot_be_said(fields: dict[str, Any], key: str) -> None:
    """What Ray decides is not decided by the settings as well."""
    with pytest.raises(ValidationError, match=f"{key}: "):
        on_ray(**fields)


def test_the_command_line_is_the_same_as_here() -> None:
    """But for the node's address; the GPUs are in the environment that Ray makes."""
    here = Deployment.model_validate({"model": "m", "engine": "vllm", "path": "/m", "tensor_parallel_size": 2})
    build = FAMILIES[here.engine].command
    assert build is not None
    there = build(on_ray(tensor_parallel_size=2).model_copy(update={"host": "10.0.0.7"}), 8003)
    assert [word.replace("10.0.0.7", "127.0.0.1") for word in there.argv] == list(build(here, 8003).argv)
    assert {} == there.environment
