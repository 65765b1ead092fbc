from pathlib import Path

import pytest

from backends.deployment import Engine
from gateway.settings import SettingsInvalid, load


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GATEWAY_CONFIG", "GATEWAY_PORT", "GATEWAY_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_nothing_is_needed() -> None:
    """Without any setting the embedded models are meant."""
    settings = load()
    assert (8000, None, 1) == (settings.port, settings.deployments, settings.worker_count)


def test_the_environment_stands_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value of the environment wins, nested ones too, and the rest of the file stays."""
    file = tmp_path / "g.yaml"
    file.write_text("port: 9000\nadmin_port: 9001\ntimeouts: {idle_seconds: 7, ping_seconds: 3}\n")
    monkeypatch.setenv("GATEWAY_CONFIG", str(file))
    monkeypatch.setenv("GATEWAY_PORT", "9100")
    monkeypatch.setenv("GATEWAY_TIMEOUTS__IDLE_SECONDS", "9")
    settings = load()
    assert (9100, 9001) == (settings.port, settings.admin_port)
    assert (9, 3) == (settings.timeouts.idle_seconds, settings.timeouts.ping_seconds)


def test_the_example_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example that operators copy is valid."""
    monkeypatch.setenv("GATEWAY_CONFIG", str(Path(__file__).parents[2] / "deploy" / "gateway.example.yaml"))
    engines = [deployment.engine for deployment in load().deployments or ()]
    assert [Engine.VLLM, Engine.VLLM, Engine.LLAMA_SERVER, Engine.EXTERNAL] == engines


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong path is no silent default."""
    monkeypatch.setenv("GATEWAY_CONFIG", "/no/such/file.yaml")
    with pytest.raises(SettingsInvalid, match="GATEWAY_CONFIG"):
        load()
