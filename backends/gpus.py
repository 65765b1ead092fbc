"""The GPUs of this machine, as nvidia-smi tells of them or the settings declare them."""

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

SECONDS = 10.0
"""For one answer of nvidia-smi: without persistence mode it first wakes each GPU, for a second or two."""
KILL_SECONDS = 1.0
MIB_PER_GIB = 1024
PROGRAM = "nvidia-smi"
_CSV = "--format=csv,noheader,nounits"
_GPUS = ("--query-gpu=index,uuid,memory.total,memory.free,name", _CSV)
_APPS = ("--query-compute-apps=gpu_uuid,pid,used_memory", _CSV)


class DeclaredGpu(BaseModel):
    """A GPU that the settings declare."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_gib: Annotated[float, Field(gt=0)]


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU, by the number that CUDA_VISIBLE_DEVICES knows it by where all GPUs are of one kind."""

    index: int
    total_mib: float | None
    """None: it does not say, as those that share the machine's memory do not."""
    free_mib: float | None
    """Now; None: it does not say, or the settings declare it."""
    name: str = ""
    uuid: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process has of one GPU's memory; *mib* None: the driver does not say."""

    uuid: str
    pid: int
    mib: float | None


class GpusUnknown(Exception):
    """What GPUs there are cannot be said; the message says why."""


def declared(gpus: Sequence[DeclaredGpu]) -> tuple[Gpu, ...]:
    """Return the GPUs that the settings declare, numbered in their order."""
    return tuple(Gpu(i, gpu.memory_gib * MIB_PER_GIB, None, "declared") for i, gpu in enumerate(gpus))


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """Read nvidia-smi's list of GPUs. Raises `GpusUnknown` where it is none."""
    return tuple(
        Gpu(_whole(index), _mib(total), _mib(free), name, uuid) for index, uuid, total, free, name in _rows(text, 5)
    )


def parse_usage(text: str) -> tuple[Usage, ...]:
    """Read nvidia-smi's list of computing processes. Raises `GpusUnknown` where it is none."""
    return tuple(Usage(uuid, _whole(pid), _mib(used)) for uuid, pid, used in _rows(text, 3))


def installed() -> tuple[Gpu, ...]:
    """Return this machine's GPUs. Raises `GpusUnknown`. Blocks, for `SECONDS` at most: not for an event loop."""
    return parse_gpus(_asked(*_GPUS))


def in_use() -> tuple[Usage, ...]:
    """Return who computes on this machine's GPUs. Raises `GpusUnknown`. Blocks, as `installed` does."""
    return parse_usage(_asked(*_APPS))


def _rows(text: str, columns: int) -> Iterator[list[str]]:
    """Yield the rows; the last column may hold commas."""
    for line in text.splitlines():
        if not line.strip():
            continue
        row = [part.strip() for part in line.split(",", columns - 1)]
        if len(row) != columns:
            raise GpusUnknown(f"{PROGRAM} says: {line.strip()}")
        yield row


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise GpusUnknown(f"{PROGRAM} says {text!r} where a number is meant")
    return int(text)


def _mib(text: str) -> float | None:
    """Return MiB; None for ``[N/A]`` and its like."""
    try:
        return float(text)
    except ValueError:
        return None


def _asked(*flags: str) -> str:
    """Return what nvidia-smi prints. Raises `GpusUnknown`."""
    try:
        process = subprocess.Popen(  # noqa: S603 - our own argv
            (PROGRAM, *flags), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
    except OSError as error:
        raise GpusUnknown(f"{PROGRAM}: {error.strerror}") from None
    try:
        text, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the driver it cannot be killed: it is left there
            process.wait(KILL_SECONDS)
        raise GpusUnknown(f"{PROGRAM} does not answer within {SECONDS:g} s") from None
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if process.returncode != 0:
        raise GpusUnknown(f"{PROGRAM} ended with {process.returncode}: {text.strip()[:300]}")
    return text
