"""What stands beside an engine on a node of a Ray cluster: starts it under its shim, and tells how it is.

The class goes to the nodes by value, and the shim as text: a node needs Ray, and what the engine's command line names.
So nothing of the project is imported here.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HELD_SECONDS = 15.0
"""An owner that was heard of so recently is alive: nobody else may take the engine over."""
CHUNK_BYTES = 64 * 1024
"""Of the log, in one answer."""
OWN = ("RAY_", "OMP_NUM_THREADS")
"""Beginnings of the variables that Ray sets for its own workers. An engine must not take itself for one, and Ray's
OMP_NUM_THREADS is the number of CPUs in its books, not what an engine may use."""


def environment(inherited: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """Return an engine's environment: the node's, with CUDA_VISIBLE_DEVICES as Ray gave it, and what is *added*."""
    return {**{name: value for name, value in inherited.items() if not name.startswith(OWN)}, **added}


class Host:
    """One engine on one node. All methods but `expire` return at once.

    Everything is called by one thread, the main one: the kernel ends the shim with the thread that started it. With no
    word from its owner for *orphan_seconds* (0: for ever) it ends the engine and itself.
    """

    def __init__(self, owner: str, shim_source: str, orphan_seconds: float, address: str | None = None) -> None:
        self.owner = owner
        self.address = address or _node_address()
        self.orphan_seconds = orphan_seconds
        self.folder = Path(tempfile.mkdtemp(prefix="engine-"))
        self.started: dict[str, Any] | None = None
        """What the owner said when it started the engine."""
        self._shim_file = self.folder / "shim.py"
        self._shim_file.write_text(shim_source, encoding="utf-8")
        self._shim: subprocess.Popen[bytes] | None = None
        self._grace = 0.0
        self._sent = 0
        self._heard = time.monotonic()
        threading.Thread(target=_expire, args=(weakref.ref(self),), daemon=True).start()

    def take(self, owner: str, orphan_seconds: float) -> dict[str, Any]:
        """Give the engine to *owner*; return what was said of it, and who holds it: another one that is alive."""
        if owner != self.owner and time.monotonic() - self._heard < HELD_SECONDS:
            return {"holder": self.owner}
        self.owner, self.orphan_seconds = owner, orphan_seconds
        self._heard = time.monotonic()
        return {"holder": owner, "started": self.started, "runs": self._status() is None and self._shim is not None}

    def where(self) -> dict[str, str]:
        """Return the node's address, and the numbers of the GPUs that Ray has given."""
        return {"host": self.address, "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}

    def place(self, port: int | None) -> dict[str, Any]:
        """Return this node's address, and *port* or a free one; whether it is free."""
        self._heard = time.monotonic()
        with self._socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as engines do: TIME_WAIT is no obstacle
            try:
                probe.bind((self.address, port or 0))
            except OSError:
                return {"host": self.address, "port": port, "free": False}
            return {"host": self.address, "port": probe.getsockname()[1], "free": True}

    def start(
        self, argv: list[str], added: dict[str, str], grace_seconds: float, log_bytes: int, about: dict[str, Any]
    ) -> int:
        """Start the engine; return the shim's process id. *about* is given back to whoever takes it over."""
        command = [sys.executable, "-I", "-S", str(self._shim_file), "--run-dir", str(self.folder)]
        command += ["--grace", str(grace_seconds), "--log-bytes", str(log_bytes), "--owner", str(os.getpid())]
        with (self.folder / "engine.log").open("ab") as log:
            self._shim = subprocess.Popen(  # noqa: S603 - the argv was built for it
                [*command, "--about", json.dumps(about), "--", *argv],
                env=environment(os.environ, added),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._grace, self.started = grace_seconds, about
        self._heard = time.monotonic()
        return self._shim.pid

    def look(self, seen: int | None) -> dict[str, Any]:
        """Return the engine's status, None while it runs, and what its log has after *seen* bytes.

        None: after those that were seen before, by an owner before this one maybe.
        """
        self._heard = time.monotonic()
        self._sent = self._sent if seen is None else seen
        status = self._status()
        text, self._sent = self._log_after(self._sent, whole=status is not None)
        return {"status": status, "log": text, "seen": self._sent}

    def stop(self) -> None:
        """Have the engine end: SIGTERM, and SIGKILL after its grace time; `look` tells when it has."""
        self._heard = time.monotonic()
        if self._shim is not None and self._shim.poll() is None:
            self._shim.send_signal(signal.SIGTERM)

    def clear(self) -> None:
        """Remove its folder, once the engine has ended."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _status(self) -> int | None:
        code = self._shim.poll() if self._shim is not None else None
        return code if code is None or code >= 0 else 128 - code

    def _log_after(self, seen: int, *, whole: bool) -> tuple[str, int]:
        """Return whole lines after *seen* bytes, or all there is, and how many bytes are seen then."""
        with contextlib.suppress(OSError), (self.folder / "engine.log").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(seen if seen <= size else 0)  # the shim has set a full log aside
            begin, data = file.tell(), file.read(CHUNK_BYTES)
            end = len(data) if whole or len(data) == CHUNK_BYTES else data.rfind(b"\n") + 1
            return data[:end].decode("utf-8", "replace"), begin + end
        return "", seen

    def is_orphan(self) -> bool:
        """Return whether its owner has been silent for too long."""
        return bool(self.orphan_seconds) and time.monotonic() - self._heard >= self.orphan_seconds

    def expire(self) -> None:
        """End everything, this process too."""
        if self._shim is not None and self._shim.poll() is None:
            self._shim.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._shim.wait(self._grace + 10)
        self.clear()
        self._leave()

    def _leave(self) -> None:
        """End this process, and give back what Ray has set aside for it."""
        with contextlib.suppress(Exception):  # Ray may be gone
            from ray.util import get_current_placement_group, remove_placement_group  # noqa: PLC0415 - on a node only

            if (group := get_current_placement_group()) is not None:
                remove_placement_group(group)
        os._exit(0)

    def _socket(self) -> socket.socket:
        return socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)


def _expire(watched: "weakref.ref[Host]") -> None:
    """Have a host expire once it is an orphan; end with it: it lives as long as its process, or a test."""
    while (host := watched()) is not None:
        if host.is_orphan():
            host.expire()
            return
        del host
        time.sleep(0.5)


def _node_address() -> str:
    from ray.util import get_node_ip_address  # noqa: PLC0415 - on a node only

    found: str = get_node_ip_address()
    return found
