"""llama.cpp: its server program, the same server from the xllamacpp wheel, and llama-cpp-python's own server."""

import sys
from collections.abc import Callable
from typing import Any

from backends.deployment import Deployment
from backends.engines.family import Command, CommandBuilder, Family, Question, Tokenizer, cuda, number


def _server(program: Callable[[Deployment], tuple[str, ...]]) -> CommandBuilder:
    """Return the command builder of *program*, which takes llama-server's flags."""

    def command(deployment: Deployment, port: int, index: int = 0) -> Command:
        argv = [*program(deployment), "-m", str(deployment.path), "--host", deployment.host, "--port", str(port)]
        argv += ["--alias", deployment.model, "-np", str(deployment.parallel), "--metrics", "--slots"]
        if deployment.n_gpu_layers is not None:
            argv += ["--n-gpu-layers", str(deployment.n_gpu_layers)]
        if deployment.tensor_split:
            argv += ["-ts", ",".join(map(number, deployment.tensor_split))]
        if deployment.max_model_len is not None:
            argv += ["-c", str(deployment.max_model_len * deployment.parallel)]
        if deployment.embeddings:
            argv.append("--embeddings")
        if deployment.reranking:
            argv.append("--reranking")
        argv += _rope(deployment.rope_scaling or {})
        # once for each: older builds take no list
        argv += [word for adapter in deployment.adapters for word in ("--lora", adapter.path)]
        return Command((*argv, *deployment.extra_args), cuda(deployment, index))

    return command


def _rope(scaling: dict[str, Any]) -> list[str]:
    flags = {
        "rope_type": "--rope-scaling",
        "factor": "--rope-scale",
        "original_max_position_embeddings": "--yarn-orig-ctx",
    }
    return [word for key, flag in flags.items() if key in scaling for word in (flag, _written(scaling[key]))]


def _written(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _python_command(deployment: Deployment, port: int, index: int = 0) -> Command:
    """Return llama-cpp-python's command: by default a second request would cut the first one short."""
    argv = [deployment.python, "-m", "llama_cpp.server", "--model", str(deployment.path)]
    argv += ["--host", deployment.host, "--port", str(port), "--model_alias", deployment.model]
    argv += ["--interrupt_requests", "False"]
    if deployment.n_gpu_layers is not None:
        argv += ["--n_gpu_layers", str(deployment.n_gpu_layers)]
    if deployment.tensor_split:
        argv += ["--tensor_split", *map(number, deployment.tensor_split)]
    if deployment.max_model_len is not None:
        argv += ["--n_ctx", str(deployment.max_model_len)]
    return Command((*argv, *deployment.extra_args), cuda(deployment, index))


def conversation_command(program: str, path: str, n_gpu_layers: int | None = None) -> Command:
    """Return the documented command line of a conversation in the terminal by *program*, llama-cli."""
    layers = () if n_gpu_layers is None else ("--n-gpu-layers", str(n_gpu_layers))
    return Command((program, "-m", path, "-cnv", *layers))


def _served_name(deployment: Deployment) -> str:
    return deployment.model


def _template(messages: Any) -> Question:
    return Question("/apply-template", {"messages": messages}, lambda answer: answer["prompt"])


def _count(_served: str, text: str) -> Question:
    body = {"content": text, "add_special": False, "parse_special": True}
    return Question("/tokenize", body, lambda answer: len(answer["tokens"]))


def _python_count(_served: str, text: str) -> Question:
    return Question("/extras/tokenize/count", {"input": text}, lambda answer: answer["count"])


def _slots(deployment: Deployment) -> int:
    return deployment.parallel


_TOKENIZER = Tokenizer(_count, _template)

LLAMA_SERVER = Family(_server(lambda d: (d.binary,)), _served_name, _slots, tokenizer=_TOKENIZER, notices_late=True)
XLLAMACPP = Family(
    _server(lambda _: (sys.executable, "-m", "backends.engines.xllamacpp_server")),
    _served_name,
    _slots,
    tokenizer=_TOKENIZER,
    notices_late=True,
)
LLAMA_CPP_PYTHON = Family(
    _python_command, _served_name, lambda _: 1, health_path="/v1/models", tokenizer=Tokenizer(_python_count)
)
