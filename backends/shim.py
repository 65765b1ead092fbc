"""The small process between an engine and its owner: `python -m backends.shim --run-dir DIR -- ARGV…`.

It kills what an engine leaves behind (a killed vLLM main process leaves its engine and workers alive), keeps the log
short, and writes what runs to ``process.json`` and how it ended to ``exit.json``. Where the owner ends, however that
came about, it ends the engine at once, or with ``--orphan`` waits for somebody to adopt it. One of these runs beside
every engine, so it imports little, and nothing of the project: it also runs by its path, in an interpreter without
site packages (11.4 MB and 26 ms instead of 12 MB and 40 ms).

The owner must start it from its main thread: the kernel takes the end of the starting *thread* for the owner's end.
"""

import ctypes
import fcntl
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # prctl(2)
PR_SET_CHILD_SUBREAPER = 36
KILL_WAIT_SECONDS = 5.0
GRACE_SECONDS = "10"
ADOPTION_SECONDS = 30.0
"""For a gateway that is back to adopt an engine; one that it leaves alone ends by itself."""
TICK_SECONDS = 1.0
"""Between two looks at the owner and at the size of the log."""
ORDERS = {signal.SIGTERM, signal.SIGINT}
RECORD_VERSION = 1
"""Of ``process.json``; another number where an older reader would be misled, none for a field that is new."""


def main(argv: list[str]) -> int:
    """Run the engine to its end; return its exit status, 128 + n for a signal n.

    Options: ``--run-dir`` for its files; ``--grace`` seconds between SIGTERM and SIGKILL; ``--owner`` the process id
    of whoever starts this: when the parent is someone else already, nothing is started; ``--orphan`` seconds for which
    the engine outlives an owner that has ended, 0 for ever, and ``--house`` the lock that an owner of engines holds:
    without them it ends with its owner; ``--log-bytes`` at which the log is rotated; ``--cwd`` of the engine;
    ``--about`` a JSON object that process.json repeats.
    """
    options, command = _arguments(argv)
    run_dir, grace = options["--run-dir"], float(options.get("--grace", GRACE_SECONDS))
    signal.pthread_sigmask(signal.SIG_BLOCK, {*ORDERS, signal.SIGCHLD})  # before anybody may send one
    lock = _locked(run_dir)
    if lock is None:
        return 1
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what an engine forgets becomes our child and can be killed
    if "--orphan" not in options and not _bound_to(libc, int(options.get("--owner", os.getppid()))):
        return 1
    engine = _started(command, libc, options)
    if engine is None:
        return 1
    _wait(engine, grace, _watch(options))
    code = os.waitstatus_to_exitcode(_reap(engine))
    _write(run_dir, "exit.json", _end(code))
    return code if code >= 0 else 128 - code


def _arguments(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    split = argv.index("--")
    return dict(zip(argv[:split:2], argv[1:split:2], strict=True)), argv[split + 1 :]


def _locked(run_dir: str) -> int | None:
    """Hold the run directory's lock until this process ends; None: another engine runs from there."""
    lock = os.open(os.path.join(run_dir, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # noqa: PTH118
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.write(2, f"another engine runs in {run_dir}\n".encode())
        return None
    return lock


def _started(command: list[str], libc: ctypes.CDLL, options: dict[str, str]) -> int | None:
    """Start the engine; return its process id. It does not run before it stands in process.json; None: it cannot."""
    shim = os.getpid()
    go, going = os.pipe2(os.O_CLOEXEC)
    engine = os.fork()
    if engine == 0:
        os.close(going)
        _become(command, libc, shim, go, options.get("--cwd"))
    os.close(go)
    _own_group(engine)
    known = _write(options["--run-dir"], "process.json", _record(engine, options))
    if known:
        os.write(going, b"1")
    os.close(going)
    if not known:
        os.waitpid(engine, 0)
    return engine if known else None


def _record(engine: int, options: dict[str, str]) -> dict[str, object]:
    """Return what an owner to come has to know: who we are, so that no other process is taken for us, and ``about``."""
    shim = os.getpid()
    with open("/proc/self/cmdline", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123 - few imports
        argv = file.read().split("\0")[:-1]
    return {
        "version": RECORD_VERSION,
        "boot": boot(),
        "shim": {"pid": shim, "started": start_time(shim), "argv": argv},
        "engine": {"pid": engine, "started": start_time(engine)},
        "started_at": time.time(),
        "outlives": "--orphan" in options,
        "grace_seconds": float(options.get("--grace", GRACE_SECONDS)),
        "about": json.loads(options.get("--about", "{}")),
    }


def boot() -> str:
    """Return what tells this run of the machine from others: process ids and start times begin anew."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since the machine was; None: it has ended. See proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()  # its name before may hold anything
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _bound_to(libc: ctypes.CDLL, parent: int) -> bool:
    """Have SIGTERM sent to this process when *parent* ends; return False when it has ended already."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    return os.getppid() == parent  # asked afterwards: an end between the two would go unseen


def _own_group(engine: int) -> None:
    """Make the engine leader of a group; parent and child both do, so that neither meets a group that is not there."""
    try:
        os.setpgid(engine, engine)
    except OSError:  # it has done so itself, and may have become the engine since
        return


def _become(command: list[str], libc: ctypes.CDLL, shim: int, go: int, cwd: str | None) -> None:
    """Turn into the engine once *go* says so. It too gets SIGTERM should the shim be killed."""
    try:
        _own_group(0)
        if not _bound_to(libc, shim) or not os.read(go, 1):
            os._exit(1)
        if cwd is not None:
            os.chdir(cwd)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and exec would hand that on
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(command[0], command)  # noqa: S606 - the argv was built for it
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _watch(options: dict[str, str]) -> Callable[[], bool] | None:
    """Return what is called every `TICK_SECONDS` and says whether the engine is to end; None: nothing is to be done."""
    watches: list[Callable[[], bool]] = []
    if "--orphan" in options:
        watches.append(Orphan(options["--run-dir"], options["--house"], float(options["--orphan"])).given_up)
    if "--log-bytes" in options:
        watches.append(lambda: _rotate(options["--run-dir"], int(options["--log-bytes"])))
    return (lambda: any(watch() for watch in watches)) if watches else None


class Orphan:
    """Whether an engine is left alone: an owner holds the lock ``owner`` in the run directory while it is one."""

    def __init__(self, run_dir: str, house: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.owner = os.path.join(run_dir, "owner")  # noqa: PTH118 - few imports
        self.house = house
        self.seconds = seconds
        self.clock = clock
        self.alone: float | None = None
        """Since when nobody is the owner."""
        self.passed_over: float | None = None
        """Since when there is somebody who could be."""

    def given_up(self) -> bool:
        """Return whether the engine is to end: nobody came back in time, or who came back does not want it."""
        now = self.clock()
        if not is_free(self.owner):
            self.alone = self.passed_over = None
            return False
        self.alone = now if self.alone is None else self.alone
        if is_free(self.house):
            self.passed_over = None
            return 0 < self.seconds <= now - self.alone
        self.passed_over = now if self.passed_over is None else self.passed_over
        return now - self.passed_over >= ADOPTION_SECONDS


def is_free(path: str) -> bool:
    """Return whether nobody holds the lock at *path*."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _rotate(run_dir: str, most: int) -> bool:
    """Above *most* bytes copy the log to ``engine.log.1`` and empty it: the engine writes on to the same file.

    What it writes between the last byte copied and the cut is lost: some lines, once in so many million bytes.
    """
    found = os.fstat(1)
    appends = fcntl.fcntl(1, fcntl.F_GETFL) & os.O_APPEND  # else what follows would stand behind a hole
    if found.st_size <= most or not stat.S_ISREG(found.st_mode) or not appends:
        return False
    older = os.path.join(run_dir, "engine.log.1")  # noqa: PTH118 - few imports
    try:
        log = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_CLOEXEC)
        with open(log, "rb") as source, open(older + ".new", "wb") as copy:  # noqa: PTH123
            source.seek(max(0, found.st_size - most))  # of one that grew much in a second, its end
            while piece := source.read(1 << 20):
                copy.write(piece)
        os.replace(older + ".new", older)  # noqa: PTH105
    except OSError as error:  # a full disk is no reason to fill it
        os.write(2, f"cannot keep the older log: {error.strerror}\n".encode())
    os.ftruncate(1, 0)
    return False


def _wait(engine: int, grace: float, watch: Callable[[], bool] | None) -> None:
    """Return when the engine has ended, not yet reaped: its id and its group's stay its own until then.

    On SIGTERM, and once *watch* says so, send it to the group, and kill that after *grace* seconds.
    """
    deadline = None
    while True:
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is not None and ended.si_pid == engine:
            return
        if ended is not None:
            os.waitpid(ended.si_pid, 0)
            continue
        left = 3600.0 if deadline is None else deadline - time.monotonic()
        if deadline is not None and left <= 0:
            _signal_group(engine, signal.SIGKILL)
            left = KILL_WAIT_SECONDS
        woken = signal.sigtimedwait({*ORDERS, signal.SIGCHLD}, left if watch is None else min(left, TICK_SECONDS))
        told = woken is not None and woken.si_signo in ORDERS
        if watch is not None and woken is None:
            told = watch()
        if told and deadline is None:
            _signal_group(engine, signal.SIGTERM)
            deadline = time.monotonic() + grace


def _reap(engine: int) -> int:
    """Kill what the engine has left, in its group or out of it, and return the engine's wait status."""
    _signal_group(engine, signal.SIGKILL)
    _, status = os.waitpid(engine, 0)
    deadline = time.monotonic() + KILL_WAIT_SECONDS
    while time.monotonic() < deadline:
        for child in _children():
            os.kill(child, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            break
    return status


def _signal_group(engine: int, number: int) -> None:
    try:
        os.killpg(engine, number)
    except ProcessLookupError:  # it went over to another group and left its own empty
        os.kill(engine, number)


def _children() -> list[int]:
    """Return the processes whose parent is this one, those that came to it when theirs ended among them."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123 - few imports
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _end(code: int) -> dict[str, object]:
    """Return how the engine ended: ``code`` is null where a signal ended it."""
    return {"code": code if code >= 0 else None, "signal": -code if code < 0 else None, "ended_at": time.time()}


def _write(run_dir: str, name: str, document: dict[str, object]) -> bool:
    """Write the JSON file *name*, whole or not at all; return whether it could be."""
    path = os.path.join(run_dir, name)  # noqa: PTH118 - few imports
    try:
        with open(path + ".new", "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(document, file)
        os.replace(path + ".new", path)  # noqa: PTH105
    except OSError as error:
        os.write(2, f"cannot write {path}: {error.strerror}\n".encode())
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
