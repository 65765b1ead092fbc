"""The small process between an engine and its owner: `python -m backends.shim --run-dir DIR --grace S -- ARGV…`.

It ends the engine when the owner ends, however that came about; kills what an engine leaves behind (a killed vLLM main
process leaves its engine and workers alive); and writes how it ended to ``exit.json``. Few imports: one of these runs
beside every engine.
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


def main(argv: list[str]) -> int:
    """Run the engine to its end; return its exit status, 128 + n for a signal n."""
    run_dir, grace, owner, command = _arguments(argv)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what an engine forgets becomes our child and can be reaped
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
    if os.getppid() != owner:  # it ended before the call above
        return 1
    engine = os.fork()
    if engine == 0:
        _become(command)
    status = _wait(engine, grace)
    _kill_group(engine)
    code = os.waitstatus_to_exitcode(status)
    with open(os.path.join(run_dir, "exit.json"), "w", encoding="utf-8") as file:  # noqa: PTH118, PTH123 - few imports
        json.dump({"code": max(code, 0), "signal": max(-code, 0), "ended_at": time.time()}, file)
    return code if code >= 0 else 128 - code


def _arguments(argv: list[str]) -> tuple[str, float, int, list[str]]:
    split = argv.index("--")
    options = dict(zip(argv[:split:2], argv[1:split:2], strict=True))
    return options["--run-dir"], float(options["--grace"]), int(options["--owner"]), argv[split + 1 :]


def _become(command: list[str]) -> None:
    """Turn into the engine, leader of a session and a group of its own."""
    os.setsid()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execvp(command[0], command)  # noqa: S606 - the argv was built for it
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
        os._exit(127)


def _wait(engine: int, grace: float) -> int:
    """Wait for the engine; on SIGTERM pass it on to its group, and kill that after *grace* seconds."""
    deadline = None
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == engine:
            return status
        if pid > 0:
            continue
        left = 3600.0 if deadline is None else deadline - time.monotonic()
        if left <= 0:
            os.killpg(engine, signal.SIGKILL)
            left = KILL_WAIT_SECONDS
        woken = signal.sigtimedwait({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}, left)
        if woken is not None and woken.si_signo != signal.SIGCHLD and deadline is None:
            os.killpg(engine, signal.SIGTERM)
            deadline = time.monotonic() + grace


def _kill_group(engine: int) -> None:
    """End what is left of the engine's group, and reap it."""
    try:
        os.killpg(engine, signal.SIGKILL)
    except ProcessLookupError:
        return
    deadline = time.monotonic() + KILL_WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
