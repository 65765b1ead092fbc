"""Command lines of the llama.cpp engines, against the one the deployment notes document."""

import shlex
import sys
from typing import Any

import pytest

from backends.deployment import Deployment
from backends.engines import FAMILIES, llama_cpp

YARN = {"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 32768}


def deployment(engine: str = "llama_server", **fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "q", "engine": engine, "path": "/models/q.gguf", **fields})


def line(made: Deployment, port: int = 6006) -> str:
    """Return the command as one types it."""
    family = FAMILIES[made.engine]
    assert family.command is not None
    return shlex.join(family.command(made, port).argv)


def test_documented_command() -> None:
    """The notes' flags come out of the settings, with what the gateway has to know of the server."""
    made = deployment(
        model="Qwen3-32B-V3-gguf",
        binary="./build/bin/llama-server",
        path="/home/usr1/fine-model/Qwen3-32B-V3/Qwen3-32B-V3-F16.gguf",
        n_gpu_layers=2000,
        tensor_split=[1, 1],
    )
    assert line(made) == (
        "./build/bin/llama-server -m /home/usr1/fine-model/Qwen3-32B-V3/Qwen3-32B-V3-F16.gguf"
        " --host 127.0.0.1 --port 6006 --alias Qwen3-32B-V3-gguf -np 4 --metrics --slots"
        " --n-gpu-layers 2000 -ts 1,1"
    )


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({}, "-np 4 --metrics --slots"),
        ({"max_model_len": 2048, "parallel": 3}, "-np 3 --metrics --slots -c 6144"),
        ({"tensor_split": [3, 1.5]}, "--slots -ts 3,1.5"),
        ({"embeddings": True}, "--slots --embeddings"),
        ({"reranking": True}, "--slots --reranking"),
        ({"rope_scaling": YARN}, "--slots --rope-scaling yarn --rope-scale 2.5 --yarn-orig-ctx 32768"),
        ({"extra_args": ["--no-mmap", "-fa", "on"]}, "--slots --no-mmap -fa on"),
    ],
)
@pytest.mark.parametrize(
    ("engine", "begins"),
    [("llama_server", "llama-server -m"), ("xllamacpp", f"{sys.executable} -m backends.engines.xllamacpp_server -m")],
)
def test_flags(engine: str, begins: str, fields: dict[str, Any], ends: str) -> None:
    """The program and the launcher take the same flags; the context is a request's times the slots."""
    made = line(deployment(engine, **fields))
    assert made.startswith(begins)
    assert made.endswith(ends)


def test_llama_cpp_python() -> None:
    """llama-cpp-python's server has flags of its own, and is kept from cutting a request short for the next."""
    made = deployment(
        "llama_cpp_python", python="/opt/l/python", n_gpu_layers=0, tensor_split=[1, 1], max_model_len=4096
    )
    assert line(made, 8005) == (
        "/opt/l/python -m llama_cpp.server --model /models/q.gguf --host 127.0.0.1 --port 8005 --model_alias q"
        " --interrupt_requests False --n_gpu_layers 0 --tensor_split 1 1 --n_ctx 4096"
    )


@pytest.mark.parametrize("engine", ["llama_server", "xllamacpp", "llama_cpp_python"])
def test_gpus(engine: str) -> None:
    """GPUs are chosen by the environment, and only where some are named."""
    command = FAMILIES[deployment(engine).engine].command
    assert command is not None
    assert command(deployment(engine, gpus=[0, 2]), 1).environment == {"CUDA_VISIBLE_DEVICES": "0,2"}
    assert command(deployment(engine), 1).environment == {}


@pytest.mark.parametrize(
    ("engine", "slots", "health"),
    [("llama_server", 4, "/health"), ("xllamacpp", 4, "/health"), ("llama_cpp_python", 1, "/v1/models")],
)
def test_what_the_pool_has_to_know(engine: str, slots: int, health: str) -> None:
    """Slots, health path and the name under which the model is served."""
    made = deployment(engine)
    family = FAMILIES[made.engine]
    assert (family.slots(made), family.health_path, family.served_name(made)) == (slots, health, "q")


def test_counting_messages() -> None:
    """llama.cpp puts messages into the template first, then counts the text, special tokens among it."""
    tokenizer = llama_cpp.LLAMA_SERVER.tokenizer
    assert tokenizer is not None
    assert tokenizer.template is not None
    template = tokenizer.template([{"role": "user", "content": "你好"}])
    assert (template.path, template.body) == ("/apply-template", {"messages": [{"role": "user", "content": "你好"}]})
    assert template.read({"prompt": "<|im_start|>"}) == "<|im_start|>"
    count = tokenizer.count("q", "<|im_start|>")
    assert count.path == "/tokenize"
    assert count.body == {"content": "<|im_start|>", "add_special": False, "parse_special": True}
    assert count.read({"tokens": [1, 2, 3]}) == 3


def test_counting_of_llama_cpp_python() -> None:
    """llama-cpp-python counts a text, and knows no template."""
    tokenizer = llama_cpp.LLAMA_CPP_PYTHON.tokenizer
    assert tokenizer is not None
    assert tokenizer.template is None
    question = tokenizer.count("q", "你好")
    assert (question.path, question.body) == ("/extras/tokenize/count", {"input": "你好"})
    assert question.read({"count": 2}) == 2
