"""What nvidia-smi says."""

import os
from pathlib import Path

import pytest

from backends import gpus
from backends.gpus import DeclaredGpu, Gpu, GpusUnknown, Usage, declared, parse_gpus, parse_usage

FOUR = """\
0, GPU-4c1d8a34-2a3d-7a0f-6a53-8f3ef1a9f0d1, 81920, 81038, NVIDIA A100-SXM4-80GB
1, GPU-b0a6f2f2-0a9a-5c22-9b8a-7b64f7a3c111, 81920, 24101, NVIDIA A100-SXM4-80GB
2, GPU-9a2f77bd-d1f0-26b2-1c11-cd3c2a0f3b7e, 24564, 24125, NVIDIA GeForce RTX 4090
3, GPU-0e0c54a1-63a2-4f02-8d64-5f4c1a99f0aa, [N/A], [N/A], NVIDIA GB10, a made-up suffix
"""
USAGE = """\
GPU-b0a6f2f2-0a9a-5c22-9b8a-7b64f7a3c111, 214431, 57004
GPU-b0a6f2f2-0a9a-5c22-9b8a-7b64f7a3c111, 214977, [N/A]

"""


def test_a_list_of_gpus() -> None:
    """Numbers and memory in MiB; what a GPU does not say is not made up, and a name may hold a comma."""
    found = parse_gpus(FOUR)
    assert [(0, 81920, 81038), (1, 81920, 24101), (2, 24564, 24125), (3, None, None)] == [
        (gpu.index, gpu.total_mib, gpu.free_mib) for gpu in found
    ]
    assert ("NVIDIA GeForce RTX 4090", "NVIDIA GB10, a made-up suffix") == (found[2].name, found[3].name)
    assert found[1].uuid == "GPU-b0a6f2f2-0a9a-5c22-9b8a-7b64f7a3c111"


def test_a_list_of_processes() -> None:
    """Who has how much of which GPU, where the driver says so."""
    uuid = "GPU-b0a6f2f2-0a9a-5c22-9b8a-7b64f7a3c111"
    assert (Usage(uuid, 214431, 57004.0), Usage(uuid, 214977, None)) == parse_usage(USAGE)
    assert parse_usage("") == ()


@pytest.mark.parametrize(
    "text",
    [
        "No devices were found",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "x, GPU-1, 81920, 81038, NVIDIA A100",
    ],
)
def test_what_is_no_list(text: str) -> None:
    """Words instead of a list are shown as they are."""
    with pytest.raises(GpusUnknown, match="nvidia-smi says"):
        parse_gpus(text)


def test_declared_gpus() -> None:
    """They are numbered in their order, and nobody knows what is free of them."""
    assert (Gpu(0, 81920, None, "declared"), Gpu(1, 24576, None, "declared")) == declared(
        [DeclaredGpu(memory_gib=80), DeclaredGpu(memory_gib=24)]
    )


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of this name that comes first."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program = tmp_path / "nvidia-smi"
    program.touch(mode=0o755)
    return program


def test_the_program_is_asked(nvidia_smi: Path) -> None:
    """One question for the GPUs, one for who uses them, both as CSV without units."""
    nvidia_smi.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'"--query-gpu=index,uuid,memory.total,memory.free,name --format=csv,noheader,nounits") echo "{FOUR}";;\n'
        f'"--query-compute-apps=gpu_uuid,pid,used_memory --format=csv,noheader,nounits") echo "{USAGE}";;\n'
        "*) exit 2;; esac\n"
    )
    assert (parse_gpus(FOUR), parse_usage(USAGE)) == (gpus.installed(), gpus.in_use())


def test_a_program_that_fails(nvidia_smi: Path) -> None:
    """Its status and words are the reason."""
    nvidia_smi.write_text("#!/bin/sh\necho no driver >&2; exit 9\n")
    with pytest.raises(GpusUnknown, match="nvidia-smi ended with 9: no driver"):
        gpus.installed()


def test_a_program_that_hangs(nvidia_smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that does not answer holds nobody up for longer than the bound."""
    monkeypatch.setattr(gpus, "SECONDS", 0.2)
    nvidia_smi.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(GpusUnknown, match=r"nvidia-smi does not answer within 0\.2 s"):
        gpus.installed()


def test_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the program nothing is known."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GpusUnknown, match="nvidia-smi: No such file"):
        gpus.installed()
