"""`gateway keywords …` on a database of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway import terminal
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
    dated = shell.json("change", str(made["id"]), "--reviewed-at", "1700000000", "--expires-at", "1800000000")
    assert (1_700_000_000, 1_800_000_000) == (dated["reviewed_at"], dated["expires_at"])
    assert shell.json("change", str(made["id"]), "--expires-at", "none")["expires_at"] is None
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
    assert "rollback to version 1. " in shell.run("rollback", "--why", "worse")
    told = shell.run("releases").splitlines()
    assert 3 == len(told) and "rollback  version 1  shell:" in told[2] and told[2].endswith("not seen live  worse")
    assert ["publish", "publish", "rollback"] == [row["kind"] for row in shell.json("releases")]
    assert "No version was live" in shell.run("rollback", "--why", "worse", status=1)
    assert shell.json("publish", "2", "--why", "again", "--canary-minutes", "5")["kind"] == "canary"
    assert "canary_minutes" in shell.run("publish", "2", "--why", "x", "--canary-minutes", "9999", status=1)


def test_files_from_the_shell(shell: Shell, tmp_path: Path) -> None:
    """A list comes in without power; what was written can be read again."""
    (tmp_path / "list.txt").write_text("毒药\n炸药\n。\n")
    found = shell.json("import", str(tmp_path / "list.txt"), "--risk", "A1d")
    assert (1, 1, 1) == (found["added"], found["unchanged"], found["rejected"])
    again = shell.run("import", str(tmp_path / "list.txt"), "--risk", "A1d")
    assert "3 lines: 3 with words" in again
    assert "3 words: 0 added, 0 updated, 2 unchanged, 1 rejected" in again and "list.txt:3: term: nothing of" in again
    [made] = shell.json("list", "--source", "list.txt")
    assert "never measured" in shell.run("change", str(made["id"]), "--action", "block", status=1)
    shell.run("export", "--output", str(tmp_path / "out.csv"))
    assert "毒药" in (tmp_path / "out.csv").read_text()
    assert 3 == len(shell.run("export", "--format", "jsonl").splitlines())
    assert 1 == len(shell.run("export", "--format", "jsonl", "--limit", "1").splitlines())


def test_trials_from_the_shell(shell: Shell, tmp_path: Path) -> None:
    """One text, many texts, the report, a measurement."""
    assert "judge: `炸药`" in shell.run("test", "怎么做炸 药")
    file = lines(tmp_path / "a.jsonl", "炸药的历史", "你好")
    assert 0.5 == shell.json("impact", file)["rate"]
    told = shell.run("impact", file)
    assert "2 texts: 1 judge, 1 pass\nacted on: 1 (50.00%), those that would be refused (block) or sent to" in told
    assert "acted on: 1 (50.00%), those that would be cut" in shell.run("impact", file, "--direction", "out")
    assert "8.1" in shell.run("coverage") and shell.json("coverage")["total"]["have"] == 2
    assert "no action was changed" in shell.run("calibrate", file)
    assert 1 == shell.json("calibrate", file, "--apply")["hit_something"]
    inducing = lines(tmp_path / "b.jsonl", *(f"教我做炸药{number}" for number in range(9)))
    assert "inducing reached" in shell.run("calibrate", file, "--cross-validate", inducing)


def test_a_calibration_says_how_far_it_is(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, with the inducing texts counted."""
    monkeypatch.setattr(terminal, "TOLD_SECONDS", 0)
    file = lines(tmp_path / "a.jsonl", "炸药的历史", "你好")
    for more in ((), ("--inducing", file), ("--cross-validate", file)):
        assert main(["keywords", "calibrate", file, *more]) == 0
        told = shell.capfd.readouterr().err.splitlines()
        total = 4 if more else 2
        assert told == [f"{done} of {total} texts …" for done in range(total)]


def test_what_somebody_chose_is_not_for_a_calibration(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what a person entered or changed nor a starter word that only observes; unless that is asked for."""
    watched = Entry(id=0, term="煽动颠覆国家政权", risk="A1a", action=Action.OBSERVE, source="starter")
    monkeypatch.setattr(starter, "entries", lambda: [watched])
    poison = shell.json("add", "毒药配方的整理", "--risk", "A1d", "--action", "observe")["id"]
    (tmp_path / "list.txt").write_text("炸弹的制作方法\n毒气的制作方法\n")
    shell.run("import", str(tmp_path / "list.txt"), "--risk", "A1d")
    imported, changed = (record["id"] for record in shell.json("list", "--source", "list.txt"))
    shell.run("change", str(changed), "--action", "observe")
    file = lines(tmp_path / "a.jsonl", *(f"第{number}个问题" for number in range(4_000)))
    told = shell.run("calibrate", file, "--apply")
    assert f"{imported}  炸弹的制作方法: observe → block: " in told
    assert "3 entries keep what a person, or the starter words, chose: --include-decided" in told
    assert {"observe"} == {record["action"] for record in shell.json("list") if record["id"] != imported}
    proposed = {p["id"] for p in shell.json("calibrate", file, "--include-decided")["proposals"]}
    assert {1, poison, changed} == proposed


@pytest.mark.parametrize(
    ("words", "status", "named"),
    [
        (("add", "毒药", "--risk", "zz"), 2, "risk: `zz` is none of the 31 risks: A1a, A1b"),
        (("add", "炸 药", "--risk", "A1d"), 1, "term: The draft already has an entry for `炸 药`"),
        (("add", "(abc", "--risk", "A1d", "--match", "regex"), 1, "term: `(abc`"),
        (("list", "--risk", "Z9"), 2, "A1a, A1b"),
        (("list", "--action", "explode"), 2, "action: "),
        (("freeze", " "), 2, "note: must not be blank"),
        (("publish", "1", "--why", ""), 2, "why: must not be blank"),
        (("rollback", "--why", ""), 2, "why: must not be blank"),
        (("publish", "1"), 2, "why: is missing: say why"),
        (("rollback",), 2, "why: is missing: say why"),
        (("changes", "--limit", "0"), 2, "limit: "),
        (("remove", "--source", "starter", "--yes"), 2, "why: is missing"),
        (
            ("remove", "--source", "stater"),
            1,
            "source: no entry of the draft is from `stater`; sources there: `starter`",
        ),
        (("diff", "--against", "88"), 1, "against: There is no version 88."),
        (("export", "--output", "/nonexist/x"), 1, "output: /nonexist/x: No such file"),
        (("calibrate", "/nowhere.jsonl"), 1, "/nowhere.jsonl"),
        (("calibrate", "--mine", "A1h"), 1, "mine: there is nothing to mine"),
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


def test_all_faults_of_an_entry_are_named_at_once(shell: Shell) -> None:
    """Each on a line of its own."""
    message = shell.run("add", "毒", "--risk", "A1d", "--action", "block", "--exception", "药", status=1)
    assert ["gateway: term", "gateway: exceptions"] == [line.rpartition(": ")[0] for line in message.splitlines()]


def test_files_that_are_no_lists_are_refused_by_name(shell: Shell, tmp_path: Path) -> None:
    """With what is accepted, and nothing is entered."""
    for name, data, reason in (
        ("a.png", b"\x89PNG\0", "`a.png` has the ending .png: accepted are .txt"),
        ("a.txt", b"\x89PNG\0", "`a.txt` is no text"),
        ("a.csv", b"", "`a.csv` is empty"),
    ):
        (tmp_path / name).write_bytes(data)
        assert reason in shell.run("import", str(tmp_path / name), "--risk", "A1d", status=1)
    assert 2 == len(shell.json("list"))


def test_texts_that_cannot_be_measured_on_are_refused(shell: Shell, tmp_path: Path) -> None:
    """Empty and broken files, whatever they are for, by file and line."""
    good, empty, broken = lines(tmp_path / "good.jsonl", "你好"), tmp_path / "empty.jsonl", tmp_path / "bad.jsonl"
    empty.touch()
    broken.write_text('{"text": "a"}\n{"txt": 1}\n')
    for words in (
        ("impact", str(empty)),
        ("calibrate", str(empty)),
        ("calibrate", good, "--inducing", str(empty)),
        ("calibrate", good, "--cross-validate", str(empty)),
    ):
        assert "empty.jsonl has no texts" in shell.run(*words, status=1)
    assert "bad.jsonl: line 2 " in shell.run("impact", str(broken), status=1)


def test_a_source_is_counted_before_it_is_removed(shell: Shell) -> None:
    """Without --yes nothing goes."""
    shell.run("add", "毒药", "--risk", "A1d")
    assert "2 entries of `starter` would leave" in shell.run("remove", "--source", "starter")
    assert 3 == len(shell.json("list"))
    found = shell.json("remove", "--source", "starter", "--yes", "--why", "replaced")
    assert (2, True, "replaced") == (found["entries"], found["removed"], found["why"])
    assert ["毒药"] == [record["term"] for record in shell.json("list")]


def test_an_import_may_update(shell: Shell, tmp_path: Path) -> None:
    """What differs is told; with --update it is taken."""
    (tmp_path / "a.csv").write_text("term,risk,action\n炸药,A1f,block\n")
    words = ("import", str(tmp_path / "a.csv"), "--risk", "A1a")
    assert "1 are there with other fields" in shell.run(*words)
    assert "1 of them ask for a stronger action" in shell.run(*words, "--update")
    assert ("A1f", "judge") == tuple(shell.json("list", "--q", "炸药")[0][name] for name in ("risk", "action"))
    shell.run(*words, "--update", "--keep-actions", "the police asked")
    [found] = shell.json("list", "--q", "炸药")
    assert ("block", "forced: the police asked") == (found["action"], found["note"])


def test_the_draft_tells_who_changed_what(shell: Shell, tmp_path: Path) -> None:
    """By entry, the newest first."""
    made = shell.json("add", "毒药", "--risk", "A1d")
    shell.run("change", str(made["id"]), "--action", "block")
    (tmp_path / "list.txt").write_text("火药\n")
    shell.run("import", str(tmp_path / "list.txt"), "--risk", "A1d")
    shell.run("remove", str(made["id"]))
    found = shell.json("changes")
    assert ["removed", "imported", "changed", "added"] == [row["kind"] for row in found]
    assert {made["added_by"]} == {row["made_by"] for row in found}
    told = shell.run("changes", str(made["id"])).splitlines()
    assert 3 == len(told) and f"changed  {made['id']} 毒药  action: observe → block" in told[1]
    assert 1 == len(shell.json("changes", "--limit", "1"))
    assert "no changes" in shell.run("changes", "--by", "nobody")
    assert "no changes" in shell.run("changes", str(made["id"]), "--by", "nobody")
    [listed] = shell.json("list", "--source", "list.txt")
    assert "no changes" in shell.run("changes", str(listed["id"]))
    assert "id: There is no entry 999999" in shell.run("changes", "999999", status=1)


def test_a_draft_begins_empty_where_that_is_set(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is first, the shell or the gateway."""
    monkeypatch.setenv("GATEWAY_KEYWORDS__STARTER", "false")
    assert [] == shell.json("list")


def test_where_no_gateway_ever_was_nothing_is_made(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said so, with what to do."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "elsewhere"))
    message = shell.run("list", status=78)
    assert f"no gateway was ever started with {tmp_path}/elsewhere. Start it once (`gateway serve`)" in message
    assert not (tmp_path / "elsewhere").exists()


def test_the_risks_are_listed(shell: Shell) -> None:
    """With their names and floors."""
    assert "A1d  宣扬恐怖主义、极端主义  at least 200 entries" in shell.run("risks")
    assert 31 == len(shell.json("risks"))


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["export"]])
def test_a_reader_may_leave(shell: Shell, words: list[str], tmp_path: Path) -> None:
    """As `head` does: no traceback, and the status that a shell gives for it."""
    (tmp_path / "a.txt").write_text("".join(f"毒药{number}号\n" for number in range(3_000)))
    shell.run("import", str(tmp_path / "a.txt"), "--risk", "A1d")
    code = "import sys; from gateway.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "keywords", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.read(10)
        program.stdout.close()
        assert b"Error" not in program.stderr.read()
        assert 141 == program.wait(30)


def test_check_looks_at_the_harmless_texts(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing, broken or empty file is named with its setting."""
    file = tmp_path / "benign.jsonl"
    monkeypatch.setenv("GATEWAY_KEYWORDS__BENIGN_FILE", str(file))

    def problems() -> list[str]:
        main(["check", "--json"])
        found = json.loads(shell.capfd.readouterr().out)["problems"]
        return [problem for problem in found if problem.startswith("keywords.benign_file: ")]

    assert "No such file" in problems()[0]
    file.write_text('{"txt": 1}\n')
    assert "line 1" in problems()[0]
    file.write_text("")
    assert "has no texts" in problems()[0]
    lines(file, "你好")
    assert [] == problems()
