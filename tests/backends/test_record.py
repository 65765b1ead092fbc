"""What shims write, as it is read."""

import json
from pathlib import Path

import pytest

from backends.engines.family import Command
from backends.record import About, end, fingerprint, read
from backends.shim import RECORD_VERSION, boot

PROCESS = {"pid": 4711, "started": 5}
RECORD = {
    "version": RECORD_VERSION,
    "boot": boot(),
    "shim": {**PROCESS, "argv": ["a", "b"]},
    "engine": PROCESS,
    "started_at": 1.5,
    "outlives": True,
    "about": {"replica": "m#0", "port": 8003, "fingerprint": "f"},
    "new in a later version": [],
}


def test_a_record_is_read(tmp_path: Path) -> None:
    """What a later version adds does not matter."""
    (tmp_path / "process.json").write_text(json.dumps(RECORD))
    found = read(tmp_path)
    assert found is not None
    assert (found.shim.argv, found.engine.pid, found.about) == (("a", "b"), 4711, About("m#0", 8003, "f"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", json.dumps({**RECORD, "version": 2}), json.dumps({**RECORD, "boot": "before"})]
)
def test_what_cannot_be_trusted_is_nothing(tmp_path: Path, text: str) -> None:
    """Torn, of a version that means something else, or of another run of the machine."""
    (tmp_path / "process.json").write_text(text)
    assert read(tmp_path) is None


@pytest.mark.parametrize(("code", "number", "status"), [(3, None, 3), (None, 9, 137), (0, None, 0)])
def test_an_end_is_read(tmp_path: Path, code: int | None, number: int | None, status: int) -> None:
    """As the shell would say it."""
    (tmp_path / "exit.json").write_text(json.dumps({"code": code, "signal": number, "ended_at": 1.0}))
    found = end(tmp_path)
    assert found is not None
    assert found.status == status


def test_no_end(tmp_path: Path) -> None:
    """Nobody could write it."""
    assert end(tmp_path) is None


def test_fingerprints() -> None:
    """The same for the same command and environment in any order; another for any other."""
    one = Command(("a", "b"), {"X": "1", "Y": "2"})
    assert fingerprint(one) == fingerprint(Command(("a", "b"), {"Y": "2", "X": "1"}))
    others = [Command(("a b",), one.environment), Command(("a", "b")), Command(("a", "b"), {"X": "1", "Y": "3"})]
    assert len({fingerprint(one), *map(fingerprint, others)}) == 4
