"""Real processes for the tests of this package: found, waited for, and ended by their own ids."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import httpx

from backends.ports import free_port

SECONDS = 60.0


def alive(pid: int) -> bool:
    """Return whether the process runs: neither gone nor a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:  # gone before it was opened, or while it was read
        return False


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Return when *condition* holds. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


async def eventually(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Return when *condition* holds, while the event loop goes on. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def numbers(file: Path, count: int) -> list[int]:
    """Return the *count* numbers that a process writes to *file*, when it has written them."""

    def written() -> bool:
        return file.exists() and len(file.read_text().split()) >= count

    wait_until(written)
    return [int(word) for word in file.read_text().split()]


@contextlib.contextmanager
def server(module: str, arguments: Sequence[str], log: Path, *, ready: str = "/health") -> Iterator[httpx.Client]:
    """Run a server module on a free port until the block ends; yields a client when it answers *ready*."""
    port = free_port("127.0.0.1")
    argv = [sys.executable, "-m", module, "--port", str(port), *arguments]
    with log.open("wb") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=SECONDS, trust_env=False) as client:
                wait_until(lambda: _answers(client, ready) or process.poll() is not None)
                assert process.poll() is None, log.read_text()
                yield client
        finally:
            process.terminate()
            process.wait(SECONDS)


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.HTTPError:
        return False
