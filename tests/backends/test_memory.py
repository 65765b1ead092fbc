"""What the deployments want of each GPU's memory."""

from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment
from backends.gpus import Gpu
from backends.memory import Demand, decisive, demands, gpus_used, model_mib, over_committed

GPUS = {i: Gpu(i, 80_000.0, 79_000.0) for i in range(4)}


def vllm(**fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", "engine": "vllm", "path": "/m", **fields})


def llama(**fields: Any) -> Deployment:
    return Deployment.model_validate({"model": "m", "engine": "llama_server", "path": "/m.gguf", **fields})


@pytest.mark.parametrize(
    ("deployment", "index", "used"),
    [
        (vllm(gpus=[2, 3], tensor_parallel_size=2), 0, (2, 3)),
        (vllm(gpus=[2, 3], replicas=2), 1, (3,)),
        (vllm(), 0, (0,)),
        (vllm(tensor_parallel_size=2), 0, (0, 1)),
        (vllm(environment={"CUDA_VISIBLE_DEVICES": "3, 1"}, tensor_parallel_size=2), 0, (3, 1)),
        (llama(), 0, ()),
        (llama(n_gpu_layers=0), 0, ()),
        (llama(n_gpu_layers=2000), 0, (0, 1, 2, 3)),
        (llama(n_gpu_layers=2000, tensor_split=[1, 1]), 0, (0, 1)),
        (llama(gpus=[1]), 0, (1,)),
        (Deployment.model_validate({"model": "e", "engine": "external", "url": "http://h"}), 0, ()),
    ],
)
def test_which_gpus_are_used(deployment: Deployment, index: int, used: tuple[int, ...]) -> None:
    """Those that are named, else the first ones as the engine takes them."""
    assert used == gpus_used(deployment, index, [0, 1, 2, 3])


def test_shares_and_files() -> None:
    """vLLM wants its share of each GPU, llama.cpp its file, divided as it is told."""
    deployments = [
        vllm(gpus=[0, 1], tensor_parallel_size=2, gpu_memory_utilization=0.5),
        vllm(gpus=[2]),
        llama(gpus=[2, 3], tensor_split=[3, 1], adapters=[{"name": "a", "path": "/a.gguf"}]),
        llama(gpus=[3], n_gpu_layers=0),
        llama(gpus=[0, 1], replicas=2),
        llama(gpus=[9]),
    ]
    sizes = {"/m.gguf": 36_000.0, "/a.gguf": 4_000.0}
    assert [
        Demand(0, 0, 40_000.0),
        Demand(0, 1, 40_000.0),
        Demand(1, 2, 72_000.0),
        Demand(2, 2, 30_000.0),
        Demand(2, 3, 10_000.0),
        Demand(4, 0, 36_000.0),
        Demand(4, 1, 36_000.0),
    ] == list(demands(deployments, GPUS, sizes.__getitem__))


def test_a_gpu_that_does_not_tell_its_memory() -> None:
    """Nothing is worked out about it."""
    assert list(demands([vllm(gpus=[0])], {0: Gpu(0, None, None)})) == []


@pytest.mark.parametrize(
    ("wanted", "free", "ours", "found"),
    [
        ([Demand(0, 0, 56_000), Demand(1, 0, 24_000)], 80_000, {}, []),
        (
            [Demand(0, 0, 56_320), Demand(1, 0, 25_600)],
            80_000,
            {},
            [
                (
                    1,
                    "of GPU 0 80.0 GiB are wanted (deployments[0] 55.0, deployments[1] 25.0), and it has 78.1 GiB",
                    False,
                )
            ],
        ),
        (
            [Demand(0, 0, 56_320)],
            10_240,
            {},
            [
                (
                    0,
                    "of GPU 0 55.0 GiB are wanted (deployments[0] 55.0), and 10.0 GiB are free: other programs have the rest",
                    True,
                )
            ],
        ),
        ([Demand(0, 0, 56_320)], 10_240, {0: 60_000.0}, []),
        ([Demand(0, 0, 56_320)], 10_240, {0: None}, []),
        ([Demand(0, 0, 56_320)], 10_240, {1: 60_000.0}, [(0, "of GPU 0 55.0 GiB are wanted", True)]),
        ([Demand(0, 0, 56_320)], None, {}, []),
    ],
)
def test_what_does_not_fit(
    wanted: list[Demand], free: float | None, ours: dict[int, float | None], found: list[tuple[int, str, bool]]
) -> None:
    """More than there is, or than is free beside strangers; what our own engines have already does not count twice."""
    said = list(over_committed(wanted, {0: Gpu(0, 80_000.0, free)}, ours))
    assert [(i, passing) for i, _, passing in found] == [(i, passing) for i, _, passing in said]
    assert all(text.startswith(begin) for (_, text, _), (_, begin, _) in zip(said, found, strict=True))


def test_each_gpu_is_complained_of_once() -> None:
    """The first deployment for which there is no room hears of it."""
    wanted = [Demand(i, gpu, 50_000) for gpu in (0, 1) for i in range(3)]
    assert [1, 1] == [i for i, _, _ in over_committed(wanted, GPUS, {})]


@pytest.mark.parametrize(
    ("deployment", "key"),
    [
        (vllm(), "gpu_memory_utilization"),
        (llama(n_gpu_layers=9), "n_gpu_layers"),
        (llama(gpus=[0]), "gpus"),
    ],
)
def test_the_setting_that_decides(deployment: Deployment, key: str) -> None:
    """The complaint names what one would change."""
    assert key == decisive(deployment)


def test_a_model_in_parts(tmp_path: Path) -> None:
    """All parts of a divided GGUF count, and no file beside them; one that is not there has no size."""
    for name in ("a[1]-00001-of-00002.gguf", "a[1]-00002-of-00002.gguf", "b-00001-of-00002.gguf", "c.gguf"):
        (tmp_path / name).write_bytes(bytes(1024 * 1024))
    assert (2.0, 1.0, 0.0) == tuple(
        model_mib(str(tmp_path / name)) for name in ("a[1]-00001-of-00002.gguf", "c.gguf", "d.gguf")
    )
