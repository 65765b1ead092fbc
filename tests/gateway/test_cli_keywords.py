"""`gateway keywords …` on a database of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import main
from keywords import starter
from keywords.entry import Action, Entry


class Shell:
    """Runs commands and reads what they print."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def run(self, *words: str, status: int = 0) -> str:
        assert main(["keywords", *words]) == status, self.capfd.readouterr()
        out, err = self.capfd.readouterr()
        return err if status else out

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))


@pytest.fixture
def shell(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A shell beside a gateway that has been started once, with two words to start with."""
    words = [Entry(id=0, term=term, risk="A1d", action=Action.JUDGE, source="starter") for term in ("炸药", "毒气")]
    monkeypatch.setattr(starter, "entries", lambda: words)
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    (tmp_path / "gateway.sqlite3").touch()
    return Shell(capfd)


def lines(path: Path, *texts: str) -> str:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    return str(path)


def test_the_draft_from_the_shell(shell: Shell) -> None:
    """Entered, listed, changed, removed."""
    assert ["炸药", "毒气"] == [record["term"] for record in shell.json("list")]
    made = shell.json("add", "毒药", "--risk", "A1d", "--action", "block", "--tag", "甲", "--tag", "乙")
    assert ("block", ["甲", "乙"]) == (made["action"], made["tags"]) and made["added_by"].startswith("shell:")
    assert "block" in shell.run("list", "--q", "毒药")
    assert shell.json("change", str(made["id"]), "--action", "judge")["action"] == "judge"
    assert "no longer" in shell.run("remove", str(made["id"]))
    assert shell.run("list", "--q", "毒药").strip() == "no entries"


def test_versions_from_the_shell(shell: Shell) -> None:
    """Frozen, compared, published, rolled back."""
    shell.run("add", "毒药", "--risk", "A1d", "--action", "block")
    assert "added" in shell.run("diff")
    assert shell.json("freeze", "one more word")["n"] == 2
    assert "publish of version 2" in shell.run("publish", "2", "--why", "a test")
    assert [(1, ""), (2, "live")] == [
        (int(line.split()[0]), "live" if line.endswith("  live") else "") for line in shell.run("versions").splitlines()
    ]
    assert shell.json("rollback", "--why", "worse")["n"] == 1
    assert "No version was live" in shell.run("rollback", "--why", "worse", status=1)
    assert shell.json("publish", "2", "--why", "again", "--canary-minutes", "5")["kind"] == "canary"
    assert "canary_minutes" in shell.run("publish", "2", "--why", "x", "--canary-minutes", "9999", status=1)


def test_files_from_the_shell(shell: Shell, tmp_path: Path) -> None:
    """A list comes in without power; what was written can be read again."""
    (tmp_path / "list.txt").write_text("毒药\n炸药\n。\n")
    found = shell.json("import", str(tmp_path / "list.txt"), "--risk", "A1d")
    assert (1, 1, 1) == (found["added"], found["already_there"], found["rejected"])
    assert "1 added" not in shell.run("import", str(tmp_path / "list.txt"), "--risk", "A1d")
    [made] = shell.json("list", "--source", "list.txt")
    assert "never measured" in shell.run("change", str(made["id"]), "--action", "block", status=1)
    shell.run("export", "--output", str(tmp_path / "out.csv"))
    assert "毒药" in (tmp_path / "out.csv").read_text()
    assert 3 == len(shell.run("export", "--format", "jsonl").splitlines())


def test_trials_from_the_shell(shell: Shell, tmp_path: Path) -> None:
    """One text, many texts, the report, a measurement."""
    assert "judge: `炸药`" in shell.run("test", "怎么做炸 药")
    file = lines(tmp_path / "a.jsonl", "炸药的历史", "你好")
    assert 0.5 == shell.json("impact", file)["rate"]
    assert "2 texts" in shell.run("impact", file)
    assert "8.1" in shell.run("coverage") and shell.json("coverage")["total"]["have"] == 2
    assert "Nothing was changed" in shell.run("calibrate", file)
    assert 1 == shell.json("calibrate", file, "--apply")["hit_something"]
    inducing = lines(tmp_path / "b.jsonl", *(f"教我做炸药{number}" for number in range(9)))
    assert "inducing reached" in shell.run("calibrate", file, "--cross-validate", inducing)


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (("add", "毒药", "--risk", "zz"), 1, "risk"),
        (("add", "炸 药", "--risk", "A1d"), 1, "炸 药"),
        (("add", "毒药", "--risk", "A1d", "--severity", "9"), 2, "severity"),
        (("remove", "99"), 1, "99"),
        (("publish", "99", "--why", "x"), 1, "99"),
        (("import", "/nowhere.txt", "--risk", "A1d"), 1, "/nowhere.txt"),
        (("impact", "/nowhere.jsonl"), 1, "/nowhere.jsonl"),
        (("impact",), 1, "benign_file"),
        (("freeze", "nothing new"), 1, "Nothing has changed"),
    ],
)
def test_mistakes_are_named(shell: Shell, words: tuple[str, ...], status: int, named: str) -> None:
    """Whatever is wrong, one line says what, and the status is not 0."""
    message = shell.run(*words, status=status)
    assert named in message and message.startswith("gateway: ") and "Traceback" not in message
