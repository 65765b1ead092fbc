"""vLLM: `python3 -m vllm.entrypoints.openai.api_server`."""

import json
from pathlib import Path
from typing import Any

from backends.deployment import Deployment
from backends.engines.family import Command, Family, Question, Tokenizer, cuda, number


def command(deployment: Deployment, port: int) -> Command:
    """Return the documented command line; no ``--served-model-name``, so that the path is the name."""
    argv = [deployment.python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(deployment.path)]
    argv += ["--host", deployment.host, "--port", str(port)]
    if deployment.tensor_parallel_size is not None:
        argv += ["--tensor-parallel-size", str(deployment.tensor_parallel_size)]
    if deployment.gpu_memory_utilization is not None:
        argv += ["--gpu-memory-utilization", number(deployment.gpu_memory_utilization)]
    if deployment.max_model_len is not None:
        argv += ["--max-model-len", str(deployment.max_model_len)]
    if deployment.rope_scaling is not None:
        argv += ["--hf-overrides", json.dumps({"rope_parameters": _rope_parameters(deployment)})]
    return Command((*argv, *deployment.extra_args), cuda(deployment))


def _rope_parameters(deployment: Deployment) -> dict[str, Any]:
    """Return `rope_scaling` under the name that vLLM reads since 0.11.1, with the model's own ``rope_theta``.

    The override takes the place of all the model's rope parameters: without its ``rope_theta`` the base would fall
    back to a default and long answers turn to nonsense. Reads the model's config.json, the one look at the disk here.
    """
    scaling = dict(deployment.rope_scaling or {})
    if "rope_theta" not in scaling and (theta := _rope_theta(Path(str(deployment.path)))) is not None:
        scaling["rope_theta"] = theta
    return scaling


def _rope_theta(model: Path) -> float | None:
    try:
        config = json.loads((model / "config.json").read_bytes())
        nested = config.get("rope_parameters") or {}
        theta = nested.get("rope_theta", config.get("rope_theta"))
    except (OSError, ValueError, AttributeError):
        return None
    return theta if isinstance(theta, int | float) else None


def served_name(deployment: Deployment) -> str:
    """Return the name that vLLM serves under: the path as it was given."""
    return str(deployment.path)


def _count(served: str, what: Any) -> Question:
    asked = {"prompt": what} if isinstance(what, str) else {"messages": what}
    return Question("/tokenize", {"model": served, **asked}, lambda answer: answer["count"])


FAMILY = Family(command, served_name, lambda _: None, tokenizer=Tokenizer(_count))
