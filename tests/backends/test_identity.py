"""Processes told apart by more than their number."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from backends.identity import Handle, Identity, command_line, members
from backends.shim import start_time
from tests.backends.running import wait_until

SLEEP = ("sleep", "60")


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process in a session of its own."""
    with subprocess.Popen(SLEEP, start_new_session=True) as running:
        yield running
        running.kill()


def identity(process: "subprocess.Popen[bytes]") -> Identity:
    started = start_time(process.pid)
    assert started is not None
    return Identity(process.pid, started, SLEEP)


def test_the_same_number_is_not_enough(process: "subprocess.Popen[bytes]") -> None:
    """Another start time or command line is another process."""
    same = identity(process)
    assert same.runs()
    assert Identity(same.pid, same.started).runs()
    assert not Identity(same.pid, same.started + 1).runs()
    assert not Identity(same.pid, same.started, ("sleep", "61")).runs()
    assert command_line(process.pid) == SLEEP


async def test_a_stranger_is_never_signalled(process: "subprocess.Popen[bytes]") -> None:
    """No hold is to be had on a process that does not match, and a hold on one that has ended reaches nobody."""
    same = identity(process)
    assert Handle.open(Identity(same.pid, same.started - 1, SLEEP)) is None
    handle = Handle.open(same)
    assert handle is not None
    handle.send(signal.SIGTERM)
    await handle.wait()
    process.wait()
    handle.send(signal.SIGKILL)
    assert Handle.open(same) is None
    handle.close()
    handle.close()


@pytest.mark.parametrize("pidfds", [True, False])
async def test_the_end_is_seen_by_all_who_wait(
    process: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch, pidfds: bool
) -> None:
    """Also where the kernel has no pidfd; who leaves while waiting takes nothing from the others."""
    if not pidfds:
        monkeypatch.delattr(os, "pidfd_open")
    handle = Handle.open(identity(process))
    assert handle is not None
    waits = [asyncio.create_task(handle.wait()) for _ in range(3)]
    await asyncio.sleep(0.05)
    waits[0].cancel()
    assert handle.runs()
    handle.send(signal.SIGTERM)
    await asyncio.wait_for(asyncio.gather(*waits[1:]), 5)
    assert not handle.runs()
    handle.close()


def test_members_of_a_group(process: "subprocess.Popen[bytes]") -> None:
    """All of the group in the session that are no older than its leader, and none of another."""
    same = identity(process)
    assert members(process.pid, same) == [Identity(process.pid, same.started)]
    assert members(os.getpid(), same) == []
    assert members(process.pid, Identity(same.pid, same.started + 1)) == []
    process.kill()
    wait_until(lambda: members(process.pid, same) == [])
