"""Keys of external engines between two processes."""

from pathlib import Path

from backends.deployment import Deployment
from gateway.state import credentials


def external(model: str, **fields: str) -> Deployment:
    return Deployment.model_validate({"model": model, "engine": "external", "url": "http://127.0.0.1:1", **fields})


def test_workers_read_what_was_put_down_last(tmp_path: Path) -> None:
    """Where nothing was, they go by what they know."""
    assert credentials.read(tmp_path, {"m": "old"}) == {"m": "old"}
    credentials.write(tmp_path, [external("m", api_key="sk-1"), external("n")])
    assert credentials.read(tmp_path, {"m": "old"}) == {"m": "sk-1"}
    credentials.write(tmp_path, [])
    assert credentials.read(tmp_path, {"m": "old"}) == {}


def test_nobody_else_may_read_them(tmp_path: Path) -> None:
    credentials.write(tmp_path, [external("m", api_key="sk-1")])
    credentials.write(tmp_path, [external("m", api_key="sk-2")])
    [file] = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
