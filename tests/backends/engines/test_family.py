"""What all kinds of engine have in common."""

import pytest

from backends.deployment import Deployment, Engine
from backends.engines import FAMILIES
from backends.engines.family import cuda, number


def test_every_engine_has_its_family() -> None:
    """The one table knows every engine of the settings, and starts all but the external ones."""
    assert set(FAMILIES) == set(Engine)
    assert {engine for engine, family in FAMILIES.items() if family.command is None} == {Engine.EXTERNAL}


def test_environment() -> None:
    """GPUs first, then what the deployment adds."""
    made = Deployment(model="m", engine=Engine.VLLM, path="/m", gpus=(2, 3), environment={"VLLM_USE_V1": "1"})
    assert cuda(made) == {"CUDA_VISIBLE_DEVICES": "2,3", "VLLM_USE_V1": "1"}


@pytest.mark.parametrize(("value", "written"), [(1.0, "1"), (0.7, "0.7"), (2.5, "2.5"), (3, "3")])
def test_numbers(value: float, written: str) -> None:
    """A number stands on a command line as one writes it."""
    assert number(value) == written
