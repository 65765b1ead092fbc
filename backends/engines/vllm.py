"""vLLM: `python3 -m vllm.entrypoints.openai.api_server`, or `vllm serve`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.deployment import Deployment
from backends.engines.family import Command, Family, Question, Tokenizer, cuda, number


def command(deployment: Deployment, port: int, index: int = 0) -> Command:
    """Return the documented command line; no ``--served-model-name``, so that the path is the name."""
    if deployment.vllm_binary is not None:
        argv = [deployment.vllm_binary, "serve", str(deployment.path)]
    else:
        argv = [deployment.python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(deployment.path)]
    argv += ["--host", deployment.host, "--port", str(port)]
    if deployment.tensor_parallel_size is not None:
        argv += ["--tensor-parallel-size", str(deployment.tensor_parallel_size)]
    if deployment.gpu_memory_utilization is not None:
        argv += ["--gpu-memory-utilization", number(deployment.gpu_memory_utilization)]
    if deployment.max_model_len is not None:
        argv += ["--max-model-len", str(deployment.max_model_len)]
    if deployment.rope_scaling is not None:
        argv += ["--hf-overrides", json.dumps(_rope_overrides(deployment.rope_scaling, Path(str(deployment.path))))]
    if deployment.adapters:
        argv += ["--enable-lora", "--lora-modules", *(f"{one.name}={one.path}" for one in deployment.adapters)]
    return Command((*argv, *deployment.extra_args), cuda(deployment, index))


def _rope_overrides(scaling: Mapping[str, Any], model: Path) -> dict[str, Any]:
    """Return what `rope_scaling` has to change in the model's configuration, as vLLM 0.32 reads it.

    ``rope_parameters`` takes the place of all the model's rope parameters, its ``rope_theta`` too: without that the
    base would silently be a default. And YaRN no longer lengthens the context by itself: the scaled length has to
    stand in ``max_position_embeddings``. Reads the model's config.json, the one look at the disk here.
    """
    parameters = dict(scaling)
    if "rope_theta" not in parameters and (theta := _rope_theta(model)) is not None:
        parameters["rope_theta"] = theta
    original = parameters.get("original_max_position_embeddings")
    factor = parameters.get("factor")
    if parameters.get("rope_type") != "yarn" or not isinstance(original, int) or not isinstance(factor, int | float):
        return {"rope_parameters": parameters}
    return {"rope_parameters": parameters, "max_position_embeddings": int(original * factor)}


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
