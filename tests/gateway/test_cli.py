"""The command line as a whole: a command loads what it needs, and no more."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import MODULES, main

LOADED = "import sys; from gateway.cli import main; main(sys.argv[1:]); print('loaded', *sys.modules)"
ADMIN_API = {"fastapi", "starlette", "uvicorn"}
DATABASE = {"sqlalchemy", "alembic"}


@pytest.mark.parametrize(
    ("command", "spared"),
    [
        (("check",), ADMIN_API | DATABASE),
        (("backends", "plan"), ADMIN_API | DATABASE),
        (("keywords", "versions"), ADMIN_API | {"alembic", "httpx", "prometheus_client"}),
        (("audit", "search"), {"fastapi", "uvicorn", "alembic"}),
        (("keys", "list"), ADMIN_API | {"alembic", "httpx"}),
        (("people", "aliases"), ADMIN_API | {"alembic", "httpx"}),
    ],
)
def test_a_command_loads_what_it_needs(
    command: tuple[str, ...], spared: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of the time of a command is that of its libraries. The first one brings the database up to date."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    (tmp_path / "audit").mkdir()
    (tmp_path / "gateway.sqlite3").touch()
    assert main(["keywords", "versions"]) == 0
    done = subprocess.run([sys.executable, "-c", LOADED, *command], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert loaded & spared == set()


@pytest.mark.parametrize("name", [name for names in MODULES.values() for name in names])
def test_every_command_is_where_it_is_looked_for(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert (ended.value.code, f"usage: gateway {name}" in capsys.readouterr().out) == (0, True)


def test_the_help_has_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And so has the complaint about another one."""
    with pytest.raises(SystemExit):
        main(["--help"])
    assert [name for names in MODULES.values() for name in names] == re.findall(
        r"^    (\w+)", capsys.readouterr().out, re.MULTILINE
    )
    with pytest.raises(SystemExit) as ended:
        main(["sing"])
    assert (ended.value.code, "'keywords'" in capsys.readouterr().err) == (2, True)
