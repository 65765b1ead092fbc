"""vLLM: `python3 -m vllm.entrypoints.openai.api_server`."""

import json
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
        argv += ["--hf-overrides", json.dumps({"rope_scaling": deployment.rope_scaling})]
    return Command((*argv, *deployment.extra_args), cuda(deployment))


def served_name(deployment: Deployment) -> str:
    """Return the name that vLLM serves under: the path as it was given."""
    return str(deployment.path)


def _count(served: str, what: Any) -> Question:
    asked = {"prompt": what} if isinstance(what, str) else {"messages": what}
    return Question("/tokenize", {"model": served, **asked}, lambda answer: answer["count"])


FAMILY = Family(command, served_name, lambda _: None, tokenizer=Tokenizer(_count))
