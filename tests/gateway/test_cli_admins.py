"""`gateway admins` without a gateway that runs, and what of the shell goes on record."""

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from gateway import cli_record
from gateway.audit.entries import Admin, decode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.heads import writers
from gateway.audit.segments import read
from tests.gateway.conftest import Shell


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Shell:
    """Runs `gateway …` on a data directory that a gateway has used; returns status, stdout and stderr."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))

    assert shell("keys", "create", "first")[0] == 0
    return shell


def recorded(tmp_path: Path) -> list[Admin]:
    found = [decode(row.body) for path in writers(tmp_path / "data" / "audit") for row in read(path)]
    return [one for one in found if isinstance(one, Admin)]


def create(run: Shell, *arguments: str) -> dict[str, Any]:
    status, out, complaint = run("admins", "create", *arguments, "--json")
    assert status == 0, complaint
    made: dict[str, Any] = json.loads(out)
    return made


def test_the_life_of_an_admin(run: Shell) -> None:
    """Made, listed, changed, rotated, disabled, enabled; the last one stays."""
    made = create(run, "ann", "--role", "admin")
    assert made["created_by"] == f"shell:{getpass.getuser()}"
    assert made["secret"] not in run("admins", "list")[1]
    other = create(run, "bob", "--role", "viewer", "--expires-at", "5")
    assert "expired 1970" in run("admins", "show", other["id"])[1]
    changed = run("admins", "change", other["id"], "--role", "moderator", "--no-expiry", "--json")[1]
    assert ("moderator", None) == (json.loads(changed)["role"], json.loads(changed)["expires_at"])
    assert "secret: sk-gw-" in run("admins", "rotate", other["id"])[1]
    assert "disabled" in run("admins", "disable", other["id"])[1]
    assert "enabled" in run("admins", "enable", other["id"])[1]
    assert other["id"] in run("admins", "rotate", "bob")[1] and "disabled" in run("admins", "disable", "bob")[1]
    status, _, complaint = run("admins", "disable", "ann")
    assert (1, True) == (status, "last enabled admin" in complaint)


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (("create", " ", "--role", "viewer"), 2, "name: "),
        (("create", "x"), 2, "--role"),
        (("create", "x", "--role", "king"), 2, "--role"),
        (("create", "x", "--role", "viewer", "--expires-at", "-1"), 2, "expires_at: "),
        (("change", "adm_nope", "--name", "x"), 1, "adm_nope"),
        (("show", "adm_nope"), 1, "adm_nope"),
    ],
)
def test_a_refusal_names_the_field(run: Shell, arguments: tuple[str, ...], status: int, named: str) -> None:
    """The same rules hold as over REST."""
    found, _, complaint = run("admins", *arguments)
    assert (status, True) == (found, named in complaint), complaint


def test_what_the_shell_changes_is_on_record(run: Shell, tmp_path: Path) -> None:
    """Who, what, how it ended; no secret, and nothing of what is only read."""
    create(run, "ann", "--role", "admin")
    run("admins", "list")
    run("keys", "list")
    run("keys", "disable", "key_nope")
    who = f"shell:{getpass.getuser()}"
    told = [(one.admin, one.action, one.target, one.outcome) for one in recorded(tmp_path)]
    assert told == [
        (who, "keys create", "first", ""),
        (who, "keys create", "first", "ok"),
        (who, "admins create", "ann", ""),
        (who, "admins create", "ann", "ok"),
        (who, "keys disable", "key_nope", ""),
        (who, "keys disable", "key_nope", "failed"),
    ]
    asked, done = recorded(tmp_path)[2:4]
    assert (asked.id, asked.details) == (done.id, {"name": "ann", "role": "admin"})
    assert "sk-gw-" not in str(recorded(tmp_path))


def test_a_file_is_on_record_by_its_digest(run: Shell, tmp_path: Path) -> None:
    """Not by its words; one that is not there by its name."""
    file = tmp_path / "words.txt"
    file.write_text("毒药\n")
    assert run("keywords", "import", str(file), "--risk", "A1a")[0] == 0
    assert run("keywords", "import", str(tmp_path / "none.txt"), "--risk", "A1a")[0] != 0
    asked, done, missing, failed = recorded(tmp_path)[2:]
    assert (asked.details["file"]["name"], asked.details["file"]["bytes"], done.outcome) == ("words.txt", 7, "ok")
    assert (missing.details["file"], failed.outcome) == ({"name": "none.txt"}, "failed")


def test_what_cannot_be_recorded_is_not_done(run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading goes on."""

    def full(*_: object, **__: object) -> None:
        raise AuditUnavailable("no room")

    monkeypatch.setattr(cli_record, "open_writer", full)
    status, _, complaint = run("keys", "create", "second")
    assert (78, True) == (status, "no room" in complaint)
    assert "second" not in run("keys", "list")[1]


def test_what_is_done_stays_done_when_its_end_cannot_be_recorded(
    run: Shell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The command says what it did, and that its end is missing."""
    opened = cli_record.open_writer
    calls = []

    def full_later(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) > 1:
            raise AuditUnavailable("no room")
        return opened(*arguments, **options)

    monkeypatch.setattr(cli_record, "open_writer", full_later)
    assert run("keys", "create", "second")[0] == 0
    assert "how `keys create` ended is not on record" in caplog.text
    assert "second" in run("keys", "list")[1]


def test_nothing_is_made_where_no_gateway_was(run: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong folder stays as it is."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "other"))
    for arguments in (("admins", "rotate", "x"), ("keys", "enable", "x"), ("admins", "list")):
        status, _, complaint = run(*arguments)
        assert (78, True) == (status, "data_dir: no gateway was ever started" in complaint)
    assert not (tmp_path / "other").exists()
