"""Which ports and GPUs each replica gets."""

from typing import Any

import pytest

from backends.deployment import Deployment

VLLM = {"model": "m", "engine": "vllm", "path": "/m"}
LLAMA = {"model": "m", "engine": "llama_server", "path": "/m.gguf"}


def made(fields: dict[str, Any]) -> Deployment:
    return Deployment.model_validate(fields)


@pytest.mark.parametrize(
    ("port", "replicas", "ports"),
    [
        (None, 2, [None, None]),
        (8003, 1, [8003]),
        ("8003", 1, [8003]),
        ("8003-8010", 3, [8003, 8004, 8005]),
        (" 8003 - 8004 ", 2, [8003, 8004]),
    ],
)
def test_ports(port: int | str | None, replicas: int, ports: list[int | None]) -> None:
    """The replicas take the ports of a range in order; what is left is room for more of them."""
    deployment = made({**VLLM, "port": port, "replicas": replicas})
    assert ports == [deployment.port_of(index) for index in range(replicas)]


@pytest.mark.parametrize(
    ("fields", "groups"),
    [
        ({**VLLM}, [()]),
        ({**VLLM, "gpus": [2, 3]}, [(2, 3)]),
        ({**VLLM, "gpus": [2, 3], "tensor_parallel_size": 2}, [(2, 3)]),
        ({**VLLM, "gpus": [2, 3], "replicas": 2}, [(2,), (3,)]),
        ({**VLLM, "gpus": [0, 1, 2, 3], "replicas": 2, "tensor_parallel_size": 2}, [(0, 1), (2, 3)]),
        ({**VLLM, "gpus": [0, 1, 2, 3], "replicas": 2}, [(0,), (1,)]),
        ({**VLLM, "gpus": [2, 3], "replicas": 2, "tensor_parallel_size": 2}, [(2, 3), (2, 3)]),
        (
            {**VLLM, "gpus": [0, 1, 2, 3], "tensor_parallel_size": 2, "extra_args": ["-pp", "2"]},
            [(0, 1, 2, 3)],
        ),
        ({**VLLM, "gpus": [0, 1], "tensor_parallel_size": 1, "extra_args": ["--data_parallel_size=2"]}, [(0, 1)]),
        ({**LLAMA, "gpus": [0, 1], "tensor_split": [1, 1]}, [(0, 1)]),
        ({**LLAMA, "gpus": [0, 1], "replicas": 2}, [(0,), (1,)]),
        ({**LLAMA, "gpus": [0], "replicas": 2}, [(0,), (0,)]),
        ({**LLAMA, "gpus": [0, 1, 2, 3], "replicas": 2, "tensor_split": [3, 1]}, [(0, 1), (2, 3)]),
        ({**LLAMA, "gpus": [0, 1], "replicas": 2, "tensor_split": [1, 1]}, [(0, 1), (0, 1)]),
    ],
)
def test_gpus_are_divided_in_groups(fields: dict[str, Any], groups: list[tuple[int, ...]]) -> None:
    """Each replica has a group of its own, in order; where one group is named, all share it."""
    deployment = made(fields)
    assert groups == [deployment.gpus_of(index) for index in range(deployment.replicas)]
