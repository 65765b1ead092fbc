"""The command lines of the user's notes on one side, the settings on the other."""

import json
import sys
from typing import Any

import pytest

from backends.deployment import Deployment, Engine
from backends.engines import FAMILIES
from backends.engines.family import Command

NOTES: list[tuple[dict[str, Any], int, dict[str, str], str]] = [
    (
        {"engine": "vllm", "path": "/home/usr1/yongqiang/model/Qwen3-14B/", "gpus": [3], "gpu_memory_utilization": 0.7},
        8001,
        {"CUDA_VISIBLE_DEVICES": "3"},
        "python3 -m vllm.entrypoints.openai.api_server --model /home/usr1/yongqiang/model/Qwen3-14B/"
        " --host 127.0.0.1 --port 8001 --gpu-memory-utilization 0.7",
    ),
    (
        {
            "engine": "vllm",
            "path": "/home/usr1/fine-model/Qwen3-32B-0723/",
            "gpus": [2, 3],
            "tensor_parallel_size": 2,
            "gpu_memory_utilization": 0.7,
            "host": "0.0.0.0",
        },
        8003,
        {"CUDA_VISIBLE_DEVICES": "2,3"},
        "python3 -m vllm.entrypoints.openai.api_server --model /home/usr1/fine-model/Qwen3-32B-0723/"
        " --host 0.0.0.0 --port 8003 --tensor-parallel-size 2 --gpu-memory-utilization 0.7",
    ),
    (
        {"engine": "vllm", "path": "/m/", "gpus": [0, 1, 2, 3], "tensor_parallel_size": 4},
        8002,
        {"CUDA_VISIBLE_DEVICES": "0,1,2,3"},
        "python3 -m vllm.entrypoints.openai.api_server --model /m/ --host 127.0.0.1 --port 8002 --tensor-parallel-size 4",
    ),
    (
        {
            "engine": "llama_server",
            "binary": "./build/bin/llama-server",
            "path": "/m/Qwen3-32B-V3-F16.gguf",
            "n_gpu_layers": 2000,
            "tensor_split": [1, 1],
            "parallel": 2,
            "max_model_len": 4096,
        },
        6006,
        {},
        "./build/bin/llama-server -m /m/Qwen3-32B-V3-F16.gguf --host 127.0.0.1 --port 6006 --alias model -np 2 --metrics"
        " --slots --n-gpu-layers 2000 -ts 1,1 -c 8192",
    ),
    (
        {"engine": "llama_cpp_python", "path": "/m.gguf", "tensor_split": [1, 1], "n_gpu_layers": 9, "gpus": [1]},
        6007,
        {"CUDA_VISIBLE_DEVICES": "1"},
        "python3 -m llama_cpp.server --model /m.gguf --host 127.0.0.1 --port 6007 --model_alias model"
        " --interrupt_requests False --n_gpu_layers 9 --tensor_split 1 1",
    ),
    (
        {"engine": "xllamacpp", "path": "/m.gguf", "parallel": 1, "extra_args": ["--threads", "2"]},
        6008,
        {},
        f"{sys.executable} -m backends.engines.xllamacpp_server -m /m.gguf --host 127.0.0.1 --port 6008 --alias model -np 1"
        " --metrics --slots --threads 2",
    ),
]


def command_of(fields: dict[str, Any], port: int) -> Command:
    deployment = Deployment(model="model", **fields)
    build = FAMILIES[deployment.engine].command
    assert build is not None
    return build(deployment, port)


@pytest.mark.parametrize(("fields", "port", "environment", "line"), NOTES)
def test_the_documented_command_line(fields: dict[str, Any], port: int, environment: dict[str, str], line: str) -> None:
    """A deployment becomes the command that the notes have."""
    command = command_of(fields, port)
    assert (line.split(" "), environment) == (list(command.argv), dict(command.environment))


ROPE = {"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 32768}


def test_rope_scaling_becomes_flags() -> None:
    """A longer context is asked of each engine in its own words."""
    vllm = command_of({"engine": "vllm", "path": "/m", "rope_scaling": ROPE}, 1).argv
    override = {"rope_parameters": ROPE, "max_position_embeddings": 81920}
    assert json.loads(vllm[vllm.index("--hf-overrides") + 1]) == override
    llama = command_of({"engine": "llama_server", "path": "/m", "rope_scaling": ROPE}, 1).argv
    assert llama[-6:] == ("--rope-scaling", "yarn", "--rope-scale", "2.5", "--yarn-orig-ctx", "32768")


def test_served_names_and_slots() -> None:
    """vLLM serves under its path, llama.cpp under its alias; only llama.cpp has slots."""
    vllm, llama = (
        Deployment(model="m", engine=Engine.VLLM, path="/p/"),
        Deployment(model="m", engine=Engine.LLAMA_SERVER, path="/p.gguf", parallel=3),
    )
    named = [(FAMILIES[d.engine].served_name(d), FAMILIES[d.engine].slots(d)) for d in (vllm, llama)]
    assert [("/p/", None), ("m", 3)] == named
