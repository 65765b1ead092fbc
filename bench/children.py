"""Child processes of the bench: started on one core, waited for, and ended by their own pid."""

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05
LOG_LINES = 15


class BenchFailed(Exception):
    """The bench cannot go on; the message says why."""


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pinned(core: int, argv: Sequence[str]) -> list[str]:
    """Return *argv* as it runs on *core* alone, and not longer than the bench itself."""
    return ["setpriv", "--pdeathsig", "TERM", "taskset", "-c", str(core), *argv]


@contextlib.contextmanager
def child(core: int, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run *argv* on *core* within the block and give its pid; SIGTERM ends it, SIGKILL where that is not enough."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            pinned(core, argv),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process.pid
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process; what is left of its own group after it is killed with it."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def wait_for(url: str, pid: int, log: Path, what: str) -> None:
    """Return once *url* answers 200. Raises `BenchFailed` with the end of the log when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if _is_gone(pid):
            raise BenchFailed(f"{what} ended at its start\n{tail(log)}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310 - our own URL
            if reply.status == 200:
                return
        time.sleep(POLL_SECONDS)
    raise BenchFailed(f"{what} did not answer {url} within {START_SECONDS:g} s\n{tail(log)}")


def _is_gone(pid: int) -> bool:
    """Return whether our child has ended; it stays a zombie until `_end` has waited for it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])


def tree(pid: int) -> list[int]:
    """Return *pid* and all of its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for below in (task / "children").read_text().split():
                found += tree(int(below))
    return found


def peak_rss_mb(pid: int) -> float:
    """Return the most memory that *pid* has held at a time, in MB; 0 where it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0


def command_line(pid: int) -> str:
    """Return the words of *pid*'s command line; empty where it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""
