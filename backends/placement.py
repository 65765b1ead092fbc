"""Which ports and GPUs each replica of a deployment gets."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from backends.fields import Argument, Count, Engine, Port, Variable, VariableValue, port_range

_PARALLEL_FLAGS = {"--pipeline-parallel-size": "-pp", "--data-parallel-size": "-dp"}
"""vLLM's flags that take further GPUs, long and short; `extra_args` may have them."""


class Placement(BaseModel):
    """The fields of a deployment that decide where its replicas run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Engine
    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    port: Port | None = None
    """One, or a range for several replicas, such as ``8003-8010``; None: a free one."""
    gpus: tuple[Annotated[int, Field(ge=0)], ...] = ()
    """CUDA_VISIBLE_DEVICES; those of several replicas stand one after the other, see `gpus_of`."""
    tensor_parallel_size: Count | None = None
    tensor_split: tuple[Annotated[float, Field(ge=0)], ...] = ()
    extra_args: tuple[Argument, ...] = ()
    """Further flags of the engine, as they stand."""
    environment: dict[Variable, VariableValue] = {}

    @property
    def ports(self) -> range:
        """The fixed ports; empty: each replica takes a free one."""
        if self.port is None:
            return range(0)
        return range(self.port, self.port + 1) if isinstance(self.port, int) else port_range(self.port)

    def port_of(self, index: int) -> int | None:
        """Return the fixed port of replica *index*; None: it takes a free one."""
        return self.ports[index] if index < len(self.ports) else None

    @property
    def gpus_each(self) -> int:
        """How many GPUs one replica uses; 0: that is not said.

        vLLM: `tensor_parallel_size`, times the pipeline and data parallel sizes in `extra_args`. llama.cpp: as many as
        `tensor_split` has shares; without it the GPUs are divided evenly, or shared where they are fewer than replicas.
        """
        if self.engine is Engine.VLLM:
            return (self.tensor_parallel_size or 1) * self._further_parallel()
        if self.tensor_split:
            return len(self.tensor_split)
        return len(self.gpus) // self.replicas or len(self.gpus)

    def _further_parallel(self) -> int:
        """Return pipeline size times data size; what is no number is left to the engine."""
        size = 1
        for long, short in _PARALLEL_FLAGS.items():
            for argument, following in zip(self.extra_args, (*self.extra_args[1:], ""), strict=False):
                flag, equals, value = argument.replace("_", "-").partition("=")
                value = value if equals else following
                if flag in {long, short} and value.isdecimal():
                    size *= max(1, int(value))
        return size

    def gpus_of(self, index: int) -> tuple[int, ...]:
        """Return the GPUs of replica *index*.

        One replica has all that are named. Several have groups of `gpus_each`, in order; where only one group is named
        they share it.
        """
        size = self.gpus_each
        if self.replicas == 1 or len(self.gpus) <= size:
            return self.gpus
        return self.gpus[index * size : (index + 1) * size]

    def gpu_complaints(self) -> Iterator[tuple[str, str]]:
        """Yield field and complaint where the GPUs do not fit."""
        if len(set(self.gpus)) != len(self.gpus):
            yield "gpus", "a GPU is named twice"
        if self.gpus and "CUDA_VISIBLE_DEVICES" in self.environment:
            yield "environment.CUDA_VISIBLE_DEVICES", "is what gpus says already"
        size, named = self.gpus_each, len(self.gpus)
        if not named or named == size:
            return
        if self.replicas > 1 and (named % size or named < size * self.replicas):
            yield "gpus", f"names {named}, which cannot be divided among {self.replicas} replicas with {size} each"
        elif self.replicas == 1 and self.tensor_parallel_size is not None:
            yield "tensor_parallel_size", f"is {self._sizes()}, but gpus names {named}"

    def _sizes(self) -> str:
        """Return the tensor parallel size, with what `extra_args` multiply it by."""
        further = self._further_parallel()
        return f"{self.tensor_parallel_size}" + (f" (times {further} by extra_args)" if further > 1 else "")

    def port_complaints(self) -> Iterator[tuple[str, str]]:
        """Yield field and complaint where the ports do not suffice."""
        if isinstance(self.port, int) and self.replicas > 1:
            yield "replicas", "several replicas cannot share one port; name a range, or leave port out"
        elif self.ports and len(self.ports) < self.replicas:
            yield "port", f"{self.port} has {len(self.ports)} ports for {self.replicas} replicas"
