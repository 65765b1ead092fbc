"""vLLM's command line, against the one the deployment notes document."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment
from backends.engines import vllm

YARN = {"rope_type": "yarn", "factor": 2.5, "original_max_position_embeddings": 32768}


def deployment(**fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", "engine": "vllm", "path": "/models/q/", **fields})


def line(made: Deployment, port: int) -> str:
    """Return the command as one types it."""
    command = vllm.command(made, port)
    return " ".join([*(f"{name}={value}" for name, value in command.environment.items()), shlex.join(command.argv)])


@pytest.mark.parametrize(
    ("fields", "port", "documented"),
    [
        (
            {"path": "/home/usr1/yongqiang/model/Qwen3-14B/", "gpus": [3], "gpu_memory_utilization": 0.7},
            8001,
            "CUDA_VISIBLE_DEVICES=3 python3 -m vllm.entrypoints.openai.api_server \
--model /home/usr1/yongqiang/model/Qwen3-14B/ --host 0.0.0.0 --port 8001 --gpu-memory-utilization 0.7",
        ),
        (
            {
                "path": "/home/usr1/fine-model/Qwen3-32B-0723/",
                "gpus": [2, 3],
                "tensor_parallel_size": 2,
                "gpu_memory_utilization": 0.7,
            },
            8003,
            "CUDA_VISIBLE_DEVICES=2,3 python3 -m vllm.entrypoints.openai.api_server \
--model /home/usr1/fine-model/Qwen3-32B-0723/ --host 0.0.0.0 --port 8003 \
--tensor-parallel-size 2 --gpu-memory-utilization 0.7",
        ),
        (
            {"path": "/home/usr1/fine-model/Qwen3-32B-V3/", "gpus": [0, 1, 2, 3], "tensor_parallel_size": 4},
            8002,
            "CUDA_VISIBLE_DEVICES=0,1,2,3 python3 -m vllm.entrypoints.openai.api_server \
--model /home/usr1/fine-model/Qwen3-32B-V3/ --host 0.0.0.0 --port 8002 --tensor-parallel-size 4",
        ),
    ],
)
def test_documented_commands(fields: dict[str, Any], port: int, documented: str) -> None:
    """The notes' three commands come out of the settings word for word."""
    assert line(deployment(host="0.0.0.0", **fields), port) == documented


def test_the_rest_of_the_settings() -> None:
    """Context, interpreter, further flags and environment have their places; without gpus none are chosen."""
    made = deployment(
        python="/opt/vllm/bin/python",
        max_model_len=8192,
        extra_args=["--enforce-eager"],
        environment={"HF_HUB_OFFLINE": "1"},
    )
    assert line(made, 8004) == (
        "HF_HUB_OFFLINE=1 /opt/vllm/bin/python -m vllm.entrypoints.openai.api_server --model /models/q/"
        " --host 127.0.0.1 --port 8004 --max-model-len 8192 --enforce-eager"
    )


@pytest.mark.parametrize(
    ("config", "scaling", "theta"),
    [
        ('{"rope_theta": 1000000}', YARN, 1000000),
        ('{"rope_parameters": {"rope_theta": 5000000.0}, "rope_theta": 1}', YARN, 5000000.0),
        ('{"rope_theta": 1000000}', {**YARN, "rope_theta": 7}, 7),
        ('{"rope_parameters": null}', YARN, None),
        ("[]", YARN, None),
        ("no json", YARN, None),
        (None, YARN, None),
    ],
)
def test_rope_scaling(tmp_path: Path, config: str | None, scaling: dict[str, Any], theta: float | None) -> None:
    """The override holds the model's own rope base and the longer context: vLLM takes neither from anywhere else."""
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    argv = vllm.command(deployment(path=str(tmp_path), rope_scaling=scaling), 8001).argv
    override = json.loads(argv[argv.index("--hf-overrides") + 1])
    parameters = YARN if theta is None else {**YARN, "rope_theta": theta}
    assert override == {"rope_parameters": parameters, "max_position_embeddings": 81920}


@pytest.mark.parametrize("scaling", [{"rope_type": "linear", "factor": 2.0}, {"rope_type": "yarn", "factor": 2.0}])
def test_rope_scaling_of_an_unknown_length(scaling: dict[str, Any]) -> None:
    """Where the longer context is vLLM's to work out, it is not overridden."""
    argv = vllm.command(deployment(rope_scaling=scaling), 8001).argv
    assert json.loads(argv[argv.index("--hf-overrides") + 1]) == {"rope_parameters": scaling}


def test_served_name() -> None:
    """The model is served under the path as it was given."""
    assert vllm.FAMILY.served_name(deployment()) == "/models/q/"


def test_no_slots() -> None:
    """As many requests as come are batched."""
    assert vllm.FAMILY.slots(deployment()) is None


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        ("你好", {"model": "/models/q/", "prompt": "你好"}),
        (
            [{"role": "user", "content": "你好"}],
            {"model": "/models/q/", "messages": [{"role": "user", "content": "你好"}]},
        ),
    ],
)
def test_counting(asked: Any, body: dict[str, Any]) -> None:
    """The engine counts a prompt, or messages in its chat template, by itself."""
    tokenizer = vllm.FAMILY.tokenizer
    assert tokenizer is not None
    assert tokenizer.template is None
    question = tokenizer.count("/models/q/", asked)
    assert (question.path, question.body) == ("/tokenize", body)
    assert question.read({"count": 5, "max_model_len": 9, "tokens": [1]}) == 5
