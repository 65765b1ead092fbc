"""The small process between an engine and its owner: `python -m backends.shim --run-dir DIR -- ARGV…`.

It ends the engine when the owner ends, however that came about; kills what an engine leaves behind (a killed vLLM main
process leaves its engine and workers alive); and writes how it ended to ``exit.json``. One of these runs beside every
engine, so it imports little, and nothing of the project: it also runs by its path, in an interpreter without site
packages (10.7 MB and 26 ms instead of 12 MB and 40 ms).

The owner must start it from its main thread: the kernel takes the end of the starting *thread* for the owner's end.
"""

import ctypes
import json
import os
import signal
import sys
import time

PR_SET_PDEATHSIG = 1  # prctl(2)
PR_SET_CHILD_SUBREAPER = 36
KILL_WAIT_SECONDS = 5.0
GRACE_SECONDS = "10"
ORDERS = {signal.SIGTERM, signal.SIGINT}


def main(argv: list[str]) -> int:
    """Run the engine to its end; return its exit status, 128 + n for a signal n.

    Options: ``--run-dir`` for exit.json, ``--grace`` seconds between SIGTERM and SIGKILL, ``--owner`` the process id
    of whoever starts this; when the parent is someone else already, nothing is started.
    """
    run_dir, grace, owner, command = _arguments(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, {*ORDERS, signal.SIGCHLD})  # before anybody may send one
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what an engine forgets becomes our child and can be killed
    if not _bound_to(libc, owner):
        return 1
    shim = os.getpid()
    engine = os.fork()
    if engine == 0:
        _become(command, libc, shim)
    _own_group(engine)
    _wait(engine, grace)
    code = os.waitstatus_to_exitcode(_reap(engine))
    _write_exit(run_dir, code)
    return code if code >= 0 else 128 - code


def _arguments(argv: list[str]) -> tuple[str, float, int, list[str]]:
    split = argv.index("--")
    options = dict(zip(argv[:split:2], argv[1:split:2], strict=True))
    owner = int(options.get("--owner", os.getppid()))
    return options["--run-dir"], float(options.get("--grace", GRACE_SECONDS)), owner, argv[split + 1 :]


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


def _become(command: list[str], libc: ctypes.CDLL, shim: int) -> None:
    """Turn into the engine. It too gets SIGTERM should the shim be killed."""
    try:
        _own_group(0)
        if not _bound_to(libc, shim):
            os._exit(1)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python, and exec would hand that on
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(command[0], command)  # noqa: S606 - the argv was built for it
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(127)


def _wait(engine: int, grace: float) -> None:
    """Return when the engine has ended, not yet reaped: its id and its group's stay its own until then.

    On SIGTERM pass it on to the group, and kill that after *grace* seconds.
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
        woken = signal.sigtimedwait({*ORDERS, signal.SIGCHLD}, left)
        if woken is not None and woken.si_signo in ORDERS and deadline is None:
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


def _write_exit(run_dir: str, code: int) -> None:
    """Write exit.json, whole or not at all: ``code`` is null where a signal ended the engine."""
    path = os.path.join(run_dir, "exit.json")  # noqa: PTH118 - few imports
    how = {"code": code if code >= 0 else None, "signal": -code if code < 0 else None, "ended_at": time.time()}
    try:
        with open(path + ".new", "w", encoding="utf-8") as file:  # noqa: PTH123
            json.dump(how, file)
        os.replace(path + ".new", path)  # noqa: PTH105
    except OSError as error:
        os.write(2, f"cannot write {path}: {error.strerror}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
