"""`gateway audit` without a gateway that runs."""

import json
import shutil
import time
from pathlib import Path

import pytest

from gateway import cli
from gateway.audit.entries import Admin, Finished, decode, encode
from gateway.audit.heads import HEADS, Exporter, alone, lines, signer
from gateway.audit.segments import read, segment
from gateway.audit.slots import node
from gateway.audit.writer import open_writer


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log with one signed record."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    root = tmp_path / "audit"
    writer = open_writer(root, "w")
    writer.append(encode(Finished(at=time.time_ns() // 1_000_000, id="abc", outcome="ok")))
    writer.close()
    made = signer(root, None, make=True)
    assert made is not None
    Exporter(root, made).step()
    return root


def test_verify_says_whether_all_is_well(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """By its status, too."""
    assert cli.main(["audit", "verify"]) == 0
    assert "All is well" in capsys.readouterr().out
    path = segment(root / f"{node(root)}-w0", 1)
    path.write_bytes(path.read_bytes().replace(b"abc", b"abd"))
    assert cli.main(["audit", "verify"]) == 1
    assert "FAULT chain" in capsys.readouterr().out
    assert cli.main(["audit", "verify", "--json", "--heads", str(root / HEADS)]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["faults"][0]["seq"], document["faults"][0]["id"]) == (False, 2, "abd")


def test_heads_that_were_kept_elsewhere(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory or a file; what holds none is an error, for nothing would be compared."""
    copy = tmp_path / "kept"
    shutil.copytree(root / HEADS, copy)
    [file] = copy.iterdir()
    for path in (copy, file):
        assert cli.main(["audit", "verify", "--heads", str(path)]) == 0
    assert cli.main(["audit", "verify", "--heads", str(tmp_path / "nothing")]) == 78
    assert "there are no signed heads" in capsys.readouterr().err
    segment(root / f"{node(root)}-w0", 1).write_bytes(b"")
    shutil.rmtree(root / HEADS)
    assert cli.main(["audit", "verify", "--heads", str(file)]) == 1
    assert "FAULT tail" in capsys.readouterr().out


def test_a_copy_that_the_settings_name_must_be_there(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what stands there is not compared, and nobody would know."""
    config = tmp_path / "gateway.yaml"
    config.write_text(f"audit: {{heads_copy: {tmp_path / 'away'}}}")
    monkeypatch.setenv("GATEWAY_CONFIG", str(config))
    assert cli.main(["audit", "verify"]) == 0  # the gateway has begun just now
    [lines] = (root / HEADS).iterdir()
    made = signer(root, None)
    assert made is not None
    lines.unlink()
    old = Exporter(root, made, clock=lambda: time.time() - 60)
    old.step()
    assert cli.main(["audit", "verify"]) == 1
    assert "FAULT copy" in capsys.readouterr().out


def test_what_the_shell_puts_on_record_is_signed(root: Path) -> None:
    """Where no control process does; one that runs signs it itself."""
    assert cli.main(["audit", "show", "abc"]) == 0
    made = signer(root, None)
    assert made is not None
    named = [set(made.open(line)["heads"]) for _, _, line in lines(root / HEADS)]
    assert named == [{f"{node(root)}-w0"}, {f"{node(root)}-w0", f"{node(root)}-cli0"}]
    with alone(root) as free:
        assert free
        assert cli.main(["audit", "show", "abc"]) == 0
    assert len(list(lines(root / HEADS))) == 2


def test_who_may_not_read_the_log_is_told_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is gone then, and nobody is accused."""
    monkeypatch.setattr("os.access", lambda path, mode: path != root or not mode)  # tests may run as root
    assert cli.main(["audit", "verify"]) == 78
    assert "may not be read" in capsys.readouterr().err


def test_heads_are_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How far each writer is."""
    assert cli.main(["audit", "heads", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[f"{node(root)}-w0"]["seq"] == 2
    assert cli.main(["audit", "heads"]) == 0
    assert capsys.readouterr().out.startswith(f"{node(root)}-w0 2 ")


def test_a_look_at_a_turn_is_on_record(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whether it was found or not."""
    assert cli.main(["audit", "show", "abc", "--json"]) == 0
    assert [(one["seq"], one["outcome"]) for one in json.loads(capsys.readouterr().out)] == [(2, "ok")]
    assert cli.main(["audit", "show", "nobody"]) == 1
    found = [decode(row.body) for row in read(root / f"{node(root)}-cli0")]
    looks = [(one.action, one.target) for one in found if isinstance(one, Admin)]
    assert looks == [("audit.show", "abc"), ("audit.show", "nobody")]


def test_where_no_log_is_nothing_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever is in the wrong folder is told so, whatever they ask."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    for words in (["verify"], ["heads"], ["show", "x"]):
        assert 78 == cli.main(["audit", *words])
        told = capsys.readouterr().err
        assert f"there is no audit log in {tmp_path}" in told and "written" not in told
    assert [] == list(tmp_path.iterdir())
