"""Ties a child process to its parent: no forgotten worker serves an old library."""

import ctypes
import os
import signal
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # prctl(2)

_libc = ctypes.CDLL(None, use_errno=True)


def tied_to(parent: int) -> Callable[[], None]:
    """Return what a child has to run between fork and exec so that it ends with *parent*.

    The kernel sends it SIGTERM when the parent has ended, however that came about; the setting survives exec. Safe
    only while the parent has one thread. Signals that the parent has blocked are unblocked.
    """

    def before_exec() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call above
            os._exit(1)

    return before_exec
