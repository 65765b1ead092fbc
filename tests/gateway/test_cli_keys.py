"""`gateway keys` without a gateway that runs."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway import cli_keys, cli_shell, keys
from tests.gateway.conftest import Shell


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Shell:
    """Runs `gateway keys …` on a data directory of its own; returns status, stdout and stderr."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))

    return partial(shell, "keys")


@pytest.fixture
def made(run: Shell) -> dict[str, Any]:
    """A key."""
    found: dict[str, Any] = json.loads(run("create", "k", "--model", "a", "--tokens-per-minute", "9", "--json")[1])
    return found


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("create", ""), "name: "),
        (("create", " "), "name: "),
        (("create", "x" * 300), "name: "),
        (("create", "a\x1b[31m"), "name: "),
        (("create", "x", "--tenant", ""), "tenant: "),
        (("create", "x", "--expires-at", "-1"), "expires_at: "),
        (("create", "x", "--expires-at", "9" * 23), "expires_at: "),
        (("create", "x", "--model", ""), "models[0]: "),
        (("create", "x", "--requests-per-minute", "0"), "limits.requests_per_minute: "),
        (("create", "x", "--person-parallel-streams", "0"), "limits.person_parallel_streams: "),
        (("create", "x", "--requests-per-minute", "many"), "--requests-per-minute"),
        (("create", "x", "--expires-at", "9", "--no-expiry"), "not allowed with argument"),
        (("create", "x", "--model", "a", "--all-models"), "not allowed with argument"),
    ],
)
def test_what_rest_refuses_the_shell_refuses(run: Shell, arguments: tuple[str, ...], named: str) -> None:
    """The same rules hold on both ways, and a refusal names the field."""
    status, _, complaint = run(*arguments)
    assert (2, True) == (status, named in complaint), complaint


@pytest.mark.parametrize("seconds", ["-1", "9" * 23])
def test_a_grace_without_sense(run: Shell, made: dict[str, Any], seconds: str) -> None:
    """A grace time is bounded as in REST."""
    status, _, complaint = run("rotate", made["id"], "--grace-seconds", seconds)
    assert (2, True) == (status, "grace_seconds: " in complaint)


def test_every_field_can_be_set_and_taken_back(run: Shell, made: dict[str, Any]) -> None:
    """What is not named stays; limits are changed one by one."""
    set_ = ("--expires-at", "4000000000", "--parallel-streams", "2", "--exempt", "--model", "b")
    changed = json.loads(run("change", made["id"], *set_, "--json")[1])
    assert (["b"], 4_000_000_000, True, "k") == tuple(changed[n] for n in ("models", "expires_at", "exempt", "name"))
    assert {"tokens_per_minute": 9, "parallel_streams": 2} == changed["limits"]
    back = ("--no-expiry", "--all-models", "--tokens-per-minute", "none", "--no-exempt")
    changed = json.loads(run("change", made["id"], *back, "--json")[1])
    assert ([], None, False, {"parallel_streams": 2}) == (
        changed["models"],
        changed["expires_at"],
        changed["exempt"],
        changed["limits"],
    )


@pytest.mark.parametrize("arguments", [("list",), ("show", "key_1"), ("disable", "key_1"), ("rotate", "key_1")])
def test_where_no_gateway_was_nothing_is_made(run: Shell, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """Looking in the wrong folder makes no database there, and says which setting names the folder."""
    status, _, complaint = run(*arguments)
    assert (78, True) == (status, "data_dir: no gateway was ever started" in complaint)
    assert list(tmp_path.iterdir()) == []


def test_no_keys_are_a_word(run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty list says that it is one."""

    async def none(*_: Any) -> list[Any]:
        return []

    monkeypatch.setattr(cli_keys, "_run", none)
    assert (0, "no keys\n") == run("list")[:2]
    assert "[]\n" == run("list", "--json")[1]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "enabled  all models"),
        ({"disabled_at": 50}, "disabled  all models"),
        ({"expires_at": 4_000_000_000}, "enabled  all models  expires 2096-10-02 15:06:40 +08:00"),
        ({"expires_at": 60}, "expired  all models  expired 1970-01-01 08:01:00 +08:00"),
        ({"expires_at": 60, "disabled_at": 50}, "disabled  all models  expired 1970-01-01 08:01:00 +08:00"),
        ({"old_until": 160}, "enabled  all models  its old secret works until 1970-01-01 08:02:40 +08:00"),
        ({"old_until": 60}, "enabled  all models"),
    ],
)
def test_a_line_says_whether_the_key_works(fields: dict[str, Any], words: str) -> None:
    """An expired key is not called enabled; expiry and a running grace are shown."""
    record = {"id": "key_1", "tenant": "t", "name": "n", "prefix": "sk…", "models": [], "disabled_at": None}
    text = cli_keys.line({**record, "expires_at": None, "old_until": None, **fields}, 100)
    assert text == f"key_1  t/n  sk…  {words}"


def test_a_key_made_before_the_first_start(run: Shell, made: dict[str, Any]) -> None:
    """Keys may be made before the gateway runs, which is said."""
    status, out, complaint = run("create", "other", "--tenant", "acme")
    assert (0, True) == (status, cli_shell.NOT_TOLD in complaint)
    assert "acme/other" in out and keys.PREFIX in out
    assert made["id"] in run("list")[1]


def test_a_key_goes_by_its_name(run: Shell, made: dict[str, Any]) -> None:
    """Where it is the only one of it; else the tenant says which."""
    assert made["id"] in run("rotate", "k")[1] and "disabled" in run("disable", "k")[1]
    other = json.loads(run("create", "k", "--tenant", "acme", "--json")[1])
    status, _, complaint = run("show", "k")
    assert (1, True) == (status, "More than one key is named `k`: say which of default/k, acme/k." in complaint)
    assert other["id"] in run("change", "acme/k", "--name", "l")[1] and made["id"] in run("enable", "k")[1]
    assert (1, "gateway: There is no key `acme/k`.\n") == run("show", "acme/k")[::2]
