"""Who listens on a port of this machine, and whether that is an engine of ours."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backends.ports import is_free

LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it
PROC = Path("/proc")
MOST_WORDS, MOST_CHARACTERS = 3, 80
"""Of a stranger's command line that are shown: enough for ``python3 -m vllm…``, and none of its secrets."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody else who listens. *pid* is None where the kernel does not let us see whose socket it is."""

    port: int
    pid: int | None
    command: str

    def __str__(self) -> str:
        """Return who it is, in words."""
        return f"process {self.pid} ({self.command})" if self.pid is not None else "a process of another user"


def listening(table: str) -> dict[int, set[str]]:
    """Return the inodes of listening sockets by their port, from the text of /proc/net/tcp or tcp6."""
    found: dict[int, set[str]] = {}
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 9 and columns[3] == LISTEN:
            found.setdefault(int(columns[1].rpartition(":")[2], 16), set()).add(columns[9])
    return found


def parent_of(stat: str) -> int:
    """Return the parent's process id, from the text of /proc/PID/stat; the program's name there may hold anything."""
    return int(stat.rpartition(")")[2].split()[1])


def stranger_on(host: str, port: int, run_dir: Path) -> Stranger | None:
    """Return who else listens where an engine of ours is to listen.

    None: nobody, or an engine of ours, whose shim has its folder in *run_dir*: it may be stopping, or be kept. A port
    that is taken without a listener is a passing connection's.
    """
    if is_free(host, port):
        return None
    inodes: set[str] = set()
    for table in ("tcp", "tcp6"):
        inodes |= (
            listening((PROC / "net" / table).read_text()).get(port, set()) if (PROC / "net" / table).exists() else set()
        )
    pids = [pid for pid in _pids() if _sockets(pid) & inodes]
    if not inodes or any(is_ours(pid, run_dir) for pid in pids):
        return None
    pid = min(pids, default=None)
    words = _command(pid)[:MOST_WORDS] if pid is not None else []
    return Stranger(port, pid, " ".join(" ".join(words).split())[:MOST_CHARACTERS])


def is_ours(pid: int, run_dir: Path) -> bool:
    """Return whether *pid* is an engine under a shim of ours, or comes from one."""
    while pid > 1:
        words = _command(pid)
        if "--run-dir" in words[:-1]:
            folder = Path(words[words.index("--run-dir") + 1])
            if folder.is_absolute() and folder.is_relative_to(run_dir.resolve()):
                return True
        try:
            pid = parent_of((PROC / str(pid) / "stat").read_text())
        except (OSError, ValueError, IndexError):  # it has ended
            return False
    return False


def exists(pid: int) -> bool:
    """Return whether there is such a process here; in a container those of the host have other numbers."""
    return (PROC / str(pid)).exists()


def ours(run_dir: Path) -> bool:
    """Return whether any engine of ours runs."""
    return any(is_ours(pid, run_dir) for pid in _pids())


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdecimal())


def _command(pid: int) -> list[str]:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _sockets(pid: int) -> set[str]:
    found = set()
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            target = str(entry.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    except OSError:  # it has ended, or is another user's
        return found
    return found
