"""Locks that tell who looks after what."""

import subprocess
import sys
from pathlib import Path

import pytest

from backends.ownership import Ownership
from backends.shim import is_free

HOLD = """
import asyncio, pathlib, sys
from backends.ownership import Ownership
owned = Ownership(pathlib.Path(sys.argv[1]))
asyncio.run(owned.take(5))
print("held", flush=True)
sys.stdin.read()
"""


async def test_one_at_a_time(tmp_path: Path) -> None:
    """Who takes it twice has it once; who comes second waits, and gets it when it is given back."""
    first, second = Ownership(tmp_path / "owner"), Ownership(tmp_path / "owner")
    await first.take(1)
    await first.take(1)
    assert not is_free(str(tmp_path / "owner"))
    with pytest.raises(TimeoutError):
        await second.take(0.1)
    first.release()
    first.release()
    assert is_free(str(tmp_path / "owner"))
    await second.take(1)
    second.release()


async def test_a_killed_owner_holds_nothing(tmp_path: Path) -> None:
    """The kernel gives it back."""
    argv = [sys.executable, "-c", HOLD, str(tmp_path / "owner")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"held\n"
        assert not is_free(str(tmp_path / "owner"))
        owner.kill()
        owner.wait()
    own = Ownership(tmp_path / "owner")
    await own.take(1)
    own.release()
