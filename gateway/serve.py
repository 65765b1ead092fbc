"""`gateway serve`: starts the processes, keeps them running, ends them in order.

    gateway serve ── valkey-server        where no Redis URL is set
                  ├─ gateway.control      admin API, owner of the engines, which may outlive it (docs/lifecycle.md)
                  └─ gateway.worker × N   the data plane, all on one port

One thread, and no event loop while it runs: it sleeps until a child ends or a signal comes. Each child is killed when
this process ends before it has stopped them (`gateway.parent`); the kernel takes the end of the starting *thread* for
that.
"""

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from prometheus_client.multiprocess import mark_process_dead

from backends.leftovers import end_all, leftovers
from backends.process import SHIM_SECONDS
from gateway.checks import cannot_listen
from gateway.parent import tied_to
from gateway.settings import Settings
from gateway.state.redis import (
    RedisRefused,
    embedded_binary,
    embedded_command,
    private_directory,
    silence,
    socket_path,
)

log = logging.getLogger(__name__)

STATE_START_SECONDS = 30.0
"""For the embedded server to answer; it first reads its append-only file."""
BACK_OFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Wait before the n-th restart in a row of a child that did not live for `STEADY_SECONDS`."""
STEADY_SECONDS = 30.0
WORKER_STOP_SECONDS = 10.0
"""For a worker's turns to put themselves on record and for its connections to close, beside `drain_seconds`."""
CONTROL_STOP_SECONDS = SHIM_SECONDS + 10.0
"""For the control process to end its admin API and the shims, beside the grace of the engines."""
GRACE_SECONDS = 10.0
"""Of the embedded engines; the default of `stop_grace_seconds`."""
EXIT_CONFIG = 78
"""EX_CONFIG of sysexits.h: a child that ends with it at its first start will never start; so the whole ends."""
WAKE = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}


class ServeFailed(Exception):
    """The gateway cannot be started; the message says what to do."""


class Child:
    """One process that is to run."""

    def __init__(self, name: str, argv: Iterable[str], environment: dict[str, str]) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.quick_ends = 0
        self.has_served = False
        """Whether it has run for `STEADY_SECONDS` once: then the settings were right, and may be again."""
        self.due = 0.0
        self.stop_signal = signal.SIGTERM

    def start(self, now: float) -> None:
        """Start it in a process group of its own: Ctrl-C reaches the parent alone, which stops all in order."""
        self.started = now
        self.process = subprocess.Popen(  # noqa: S603 - our own argv
            self.argv,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            process_group=0,
            preexec_fn=tied_to(os.getpid()),  # noqa: PLW1509 - this process has one thread
        )

    def ended(self, now: float) -> int | None:
        """Return the exit status if it has ended since it was last asked, and plan its restart."""
        if self.process is None or (status := self.process.poll()) is None:
            return None
        self.process = None
        steady = now - self.started > STEADY_SECONDS
        self.has_served = self.has_served or steady
        self.quick_ends = 0 if steady else self.quick_ends + 1
        self.due = now + BACK_OFF_SECONDS[min(self.quick_ends, len(BACK_OFF_SECONDS) - 1)]
        return status

    def stop(self, seconds: float) -> None:
        """Send `stop_signal`, wait, and kill what is still there."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            status = self.process.wait(seconds)
            if status != 0:  # it did not come to the end of its own stopping
                log.warning("%s (pid %d) ended with %d when it was stopped", self.name, self.process.pid, status)
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop within %g s and is killed", self.name, seconds)
            self.process.kill()
            self.process.wait()
        self.process = None


def serve(settings: Settings) -> int:
    """Run the gateway until SIGTERM or SIGINT; return the exit status. Raises `ServeFailed`."""
    data_dir = settings.data_dir.resolve()
    try:
        private_directory(data_dir)
        lock = _locked(data_dir)
        environment = _environment(data_dir)
    except OSError as error:
        raise ServeFailed(f"data_dir: {data_dir} cannot be used: {error}") from None
    with lock:
        check_port(settings.host, settings.port)
        check_port(settings.admin_host, settings.admin_port, "ADMIN_")
        signal.pthread_sigmask(signal.SIG_BLOCK, WAKE)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # children inherit it: one that is not ready for it lives on
        if not _redis_answers(settings):
            return 0
        state = [_start_state(settings, data_dir, environment)] if settings.redis_url is None else []
        plane = [_python("gateway.control", environment)]
        plane += [_python("gateway.worker", environment, str(index)) for index in range(settings.worker_count)]
        try:
            return _watch([*state, *plane], Path(environment["PROMETHEUS_MULTIPROC_DIR"]))
        finally:
            _stop(settings, plane, state)


def _redis_answers(settings: Settings) -> bool:
    """Wait until the Redis of `redis_url` answers; return False where a signal ended the waiting.

    It may be started after the gateway. Raises `ServeFailed` where it refuses us, which no waiting would change.
    """
    if settings.redis_url is None:
        return True
    for i in itertools.count(1):
        try:
            silent = silence(settings.redis_url)
        except RedisRefused as error:
            raise ServeFailed(f"redis_url: Redis refuses the gateway: {error}") from None
        if silent is None:
            break
        if i == 1:
            log.error("redis_url: no Redis answers: %s; the gateway starts as soon as one does", silent)
        if signal.sigtimedwait({signal.SIGTERM, signal.SIGINT}, BACK_OFF_SECONDS[min(i, len(BACK_OFF_SECONDS) - 1)]):
            return False
    if i > 1:
        log.info("redis_url: Redis answers")
    return True


def _watch(children: list[Child], metrics: Path) -> int:
    """Keep *children* running until a signal asks for the end."""
    while True:
        now = time.monotonic()
        for child in children:
            pid = child.process.pid if child.process is not None else 0
            status = child.ended(now)
            if status == EXIT_CONFIG and not child.has_served:
                return EXIT_CONFIG
            if status is not None:
                mark_process_dead(pid, str(metrics))  # type: ignore[no-untyped-call]
                log.error("%s (pid %d) ended with %d and is started again", child.name, pid, status)
            if child.process is None and now >= child.due:
                child.start(now)
        waits = [child.due - now for child in children if child.process is None]
        woken = signal.sigtimedwait(WAKE, max(0.0, min(waits, default=3600.0)))
        if woken is not None and woken.si_signo in {signal.SIGTERM, signal.SIGINT}:
            for child in children:
                child.stop_signal = signal.Signals(woken.si_signo)  # Ctrl-C ends the engines too
            return 0
        if woken is not None and woken.si_signo == signal.SIGHUP:
            _pass_on_hangup(children)
        _reap(children)


def _pass_on_hangup(children: Iterable[Child]) -> None:
    """Have the control process read the settings again."""
    for child in children:
        if child.name == "gateway.control" and child.process is not None:
            child.process.send_signal(signal.SIGHUP)


def _reap(children: Iterable[Child]) -> None:
    """Take note of the end of processes that became ours when theirs ended: in a container this is the init process."""
    ours = {child.process.pid for child in children if child.process is not None}
    with contextlib.suppress(ChildProcessError):  # there is none at all
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in ours:
            os.waitpid(ended.si_pid, 0)


def _stop(settings: Settings, plane: list[Child], state: list[Child]) -> None:
    """Workers first, so that running turns end in order; then the engines; the state last."""
    control, *workers = plane
    for worker in workers:
        if worker.process is not None:
            worker.process.terminate()
    give_up = time.monotonic() + worker_stop_seconds(settings)  # of all: many that hang take no longer than one
    for worker in workers:
        worker.stop(max(0.0, give_up - time.monotonic()))
    control.stop(control_stop_seconds(settings))
    if not settings.engines.left_by(control.stop_signal):  # it may have been told before it had adopted them
        asyncio.run(end_all(leftovers(settings.data_dir.resolve() / "engines")))
    for child in state:
        child.stop(10.0)


def worker_stop_seconds(settings: Settings) -> float:
    """Return after how many seconds a worker that was told to stop is gone."""
    return settings.timeouts.drain_seconds + WORKER_STOP_SECONDS


def control_stop_seconds(settings: Settings) -> float:
    """Return after how many seconds a control process that was told to stop is gone: its slowest engine, and more."""
    grace = max((d.stop_grace_seconds for d in settings.deployments or ()), default=GRACE_SECONDS)
    return grace + CONTROL_STOP_SECONDS


def _locked(data_dir: Path) -> TextIO:
    """Hold the lock on the data directory; closing the returned file lets it go."""
    lock = (data_dir / "lock").open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise ServeFailed(f"another gateway runs on {data_dir} (GATEWAY_DATA_DIR)") from None
    return lock


def check_port(host: str, port: int, setting: str = "") -> None:
    """Raise `ServeFailed` where *port* is taken: workers share their port, and would share a stranger's unnoticed."""
    complaint = cannot_listen(host, port, setting)
    if complaint is not None:
        raise ServeFailed(complaint)


def _environment(data_dir: Path) -> dict[str, str]:
    """Return the children's environment; the metrics of processes that are gone are forgotten."""
    metrics = data_dir / "metrics"
    shutil.rmtree(metrics, ignore_errors=True)
    metrics.mkdir()
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics), "GATEWAY_DATA_DIR": str(data_dir)}


def _python(module: str, environment: dict[str, str], *arguments: str) -> Child:
    return Child(module, (sys.executable, "-m", module, str(os.getpid()), *arguments), environment)


def _start_state(settings: Settings, data_dir: Path, environment: dict[str, str]) -> Child:
    """Start the embedded server and wait until it answers."""
    address = socket_path(settings.data_dir)
    directory = data_dir / "valkey"
    for path in (directory, address.parent):
        private_directory(path)
    try:
        child = Child("valkey-server", embedded_command(embedded_binary(), directory, address), environment)
    except FileNotFoundError as error:
        raise ServeFailed(str(error)) from None
    child.start(time.monotonic())
    give_up = time.monotonic() + STATE_START_SECONDS
    while not _answers(address):
        status = child.process.poll() if child.process is not None else None
        if status is not None or time.monotonic() > give_up:
            child.stop(1.0)
            raise ServeFailed(f"the embedded Valkey does not start; see {directory / 'valkey.log'}")
        time.sleep(0.05)
    return child


def _answers(address: Path) -> bool:
    """Return whether the server answers PING with PONG; while it reads its file it answers -LOADING."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(address))
            probe.sendall(b"PING\r\n")
            return probe.recv(64).startswith(b"+PONG")
        except OSError:
            return False
