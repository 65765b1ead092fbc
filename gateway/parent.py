"""Ties a child process to its parent, and bounds its own stopping: no forgotten worker serves an old library."""

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # prctl(2)

_libc = ctypes.CDLL(None, use_errno=True)


def tied_to(parent: int) -> Callable[[], None]:
    """Return what a child has to run between fork and exec so that it ends with *parent*.

    Safe only while the parent has one thread. Signals that the parent has blocked are unblocked.
    """

    def before_exec() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        tie(parent)

    return before_exec


def tie(parent: int) -> None:
    """Have the kernel kill this process when *parent* has ended, however that came about; end it if it has already.

    By SIGKILL: SIGTERM is sent once, and is lost on a process that a debugger holds, that is in a call which does not
    return, or whose end waits for a thread. Exec keeps this, but for a program with capabilities of its own (python
    allowed to bind low ports): so the program that was started ties itself once more.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call above
        os._exit(1)


def tie_as_told(argv: list[str]) -> None:
    """Tie this process to the parent whose process id is the first of *argv*; one that was run by hand has none."""
    if argv:
        tie(int(argv[0]))


def end_within(seconds: float) -> None:
    """Have the kernel end this process *seconds* from now, whatever it does then: a stop in order must also come."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.setitimer(signal.ITIMER_REAL, seconds)


def leave(status: int) -> NoReturn:
    """End this process now, when all is closed: the interpreter's own end would wait for what threads still compute."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            continue
    os._exit(status)
