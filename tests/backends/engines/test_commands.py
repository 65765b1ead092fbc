"""The documented command lines on one side, the settings on the other."""

import json
import shlex
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


V3 = "/home/usr1/fine-model/Qwen3-32B-V3/"
DOCUMENTED: list[tuple[str, dict[str, Any], set[str]]] = [
    (
        r"""CUDA_VISIBLE_DEVICES=3 python3 -m vllm.entrypoints.openai.api_server \
  --model /home/usr1/yongqiang/model/Qwen3-14B/ \
  --host 0.0.0.0 \
  --port 8001 \
  --gpu-memory-utilization 0.7""",
        {
            "engine": "vllm",
            "path": "/home/usr1/yongqiang/model/Qwen3-14B/",
            "gpus": [3],
            "host": "0.0.0.0",
            "port": 8001,
            "gpu_memory_utilization": 0.7,
        },
        set(),
    ),
    (
        r"""CUDA_VISIBLE_DEVICES=2,3 python3 -m vllm.entrypoints.openai.api_server \
  --model /home/usr1/fine-model/Qwen3-32B-0723/ \
  --host 0.0.0.0 \
  --port 8003 \
  --tensor-parallel-size 2 \
  --gpu-memory-utilization 0.7""",
        {
            "engine": "vllm",
            "path": "/home/usr1/fine-model/Qwen3-32B-0723/",
            "gpus": [2, 3],
            "host": "0.0.0.0",
            "port": 8003,
            "tensor_parallel_size": 2,
            "gpu_memory_utilization": 0.7,
        },
        set(),
    ),
    (
        r"""CUDA_VISIBLE_DEVICES=0,1,2,3 python3 -m vllm.entrypoints.openai.api_server \
  --model /home/usr1/fine-model/Qwen3-32B-V3/ \
  --host 0.0.0.0 \
  --port 8002 \
  --tensor-parallel-size 4""",
        {
            "engine": "vllm",
            "path": V3,
            "gpus": [0, 1, 2, 3],
            "host": "0.0.0.0",
            "port": 8002,
            "tensor_parallel_size": 4,
        },
        set(),
    ),
    (
        r"""./build/bin/llama-server -m /home/usr1/fine-model/Qwen3-32B-V3/Qwen3-32B-V3-F16.gguf \
  --port 6006 \
  --n-gpu-layers 2000 \
  -ts 1,1""",
        {
            "engine": "llama_server",
            "binary": "./build/bin/llama-server",
            "path": f"{V3}Qwen3-32B-V3-F16.gguf",
            "port": 6006,
            "n_gpu_layers": 2000,
            "tensor_split": [1, 1],
        },
        {"--host=127.0.0.1", "--alias=model", "-np=4", "--metrics", "--slots"},
    ),
]
"""The line as it is documented, the settings, and the flags that the gateway adds to it."""


def parts(words: list[str]) -> tuple[dict[str, str], list[str], set[str]]:
    """Return environment, program and flags of a command line, each flag with its value."""
    environment = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    begin = words.index("--model" if "--model" in words else "-m")
    flags: list[str] = []
    for word in words[begin:]:
        if word.startswith("-"):
            flags.append(word)
        else:
            flags[-1] += f"={word}"
    assert len(flags) == len(set(flags))
    return environment, words[:begin], set(flags)


@pytest.mark.parametrize(("line", "fields", "added"), DOCUMENTED)
def test_flag_by_flag(line: str, fields: dict[str, Any], added: set[str]) -> None:
    """Environment, program and every flag are those of the documented line; what is added is known by name."""
    environment, program, flags = parts(shlex.split(line.replace("\\\n", " ")))
    command = command_of(fields, fields["port"])
    made_environment, made_program, made_flags = parts(
        [
            *(f"{name}={value}" for name, value in command.environment.items()),
            *command.argv,
        ]
    )
    assert (environment, program) == (made_environment, made_program)
    assert (flags, added) == (made_flags - added, made_flags - flags)


def test_vllm_serve() -> None:
    """The newer command line takes the same flags behind the model's path."""
    fields = {**DOCUMENTED[1][1], "vllm_binary": "/opt/vllm-env/bin/vllm"}
    command = command_of(fields, 8003)
    assert command.environment == {"CUDA_VISIBLE_DEVICES": "2,3"}
    assert shlex.join(command.argv) == (
        "/opt/vllm-env/bin/vllm serve /home/usr1/fine-model/Qwen3-32B-0723/ --host 0.0.0.0 --port 8003"
        " --tensor-parallel-size 2 --gpu-memory-utilization 0.7"
    )


@pytest.mark.parametrize(
    ("engine", "ends"),
    [
        ("vllm", "--enable-lora --lora-modules law=/loras/law/ tax=/loras/tax"),
        ("llama_server", "--slots --lora /loras/law/ --lora /loras/tax"),
        ("xllamacpp", "--slots --lora /loras/law/ --lora /loras/tax"),
    ],
)
def test_adapters(engine: str, ends: str) -> None:
    """vLLM serves each adapter under its name; llama.cpp applies all to its one model."""
    adapters = [{"name": "law", "path": "/loras/law/"}, {"name": "tax", "path": "/loras/tax"}]
    command = command_of({"engine": engine, "path": "/m", "adapters": adapters, "extra_args": ["--x"]}, 1)
    assert shlex.join(command.argv).endswith(f"{ends} --x")


def test_each_replica_has_its_gpus() -> None:
    """The same command line on other GPUs."""
    deployment = Deployment(
        model="m", engine=Engine.VLLM, path="/m", gpus=(0, 1, 2, 3), tensor_parallel_size=2, replicas=2
    )
    build = FAMILIES[Engine.VLLM].command
    assert build is not None
    first, second = build(deployment, 8003, 0), build(deployment, 8003, 1)
    assert first.argv == second.argv
    assert ["0,1", "2,3"] == [one.environment["CUDA_VISIBLE_DEVICES"] for one in (first, second)]


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
