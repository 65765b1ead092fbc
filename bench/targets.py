"""What is measured: the engine stand-in itself, nginx, the gateway and its peers, each started here."""

import contextlib
import json
import os
import shutil
import string
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from children import BenchFailed, child, command_line, free_port, peak_rss_mb, tail, tree, wait_for

ROOT = Path(__file__).resolve().parent
CLIENT_KEY = "sk-bench-client-0123456789abcdef"
ADMIN_KEY = "sk-bench-admin-0123456789abcdef"
MODEL = "qwen"
NOTHING: Mapping[str, str] = {}
PEERS = {
    "sglang-router": ("sglang_router.launch_router", "--backend", "openai", "--log-level", "warn"),
    "vllm-router": ("vllm_router.launch_router", "--log-level", "warning"),
}
"""Module and flags of each peer; which Python has it is said by flag or environment."""


@dataclass(frozen=True)
class Target:
    """Something that answers /v1/chat/completions on 127.0.0.1."""

    name: str
    port: int
    pid: int | None = None
    """The first of its processes; None: the engine itself, whose CPU is not a relay's."""
    worker: str = ""
    """Words in the command line of a process that carries the load; empty: any of its processes may."""
    alone: bool = False
    """Whether those processes alone are looked at."""

    def pids(self) -> list[int]:
        """Return all of its processes, or those that carry the load."""
        found = [] if self.pid is None else tree(self.pid)
        return [pid for pid in found if self.worker in command_line(pid)] if self.alone else found

    def rss_mb(self) -> float:
        """Return the peak memory of its largest worker, in MB."""
        return max((peak_rss_mb(pid) for pid in self.pids() if self.worker in command_line(pid)), default=0.0)


@contextlib.contextmanager
def engine(core: int, program: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Run the engine stand-in within the block; give its port and pid."""
    port, log = free_port(), folder / "engine.log"
    with child(core, [str(program), str(port)], log) as pid:
        wait_for(f"http://127.0.0.1:{port}/health", pid, log, "the engine stand-in")
        yield port, pid


def nginx_program() -> str | None:
    """Return the path of nginx; Debian has it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def nginx(program: str, core: int, engine_port: int, folder: Path) -> Iterator[Target]:
    """Run the nginx *program* within the block."""
    port, log, own = free_port(), folder / "nginx.out", folder / "nginx"
    own.mkdir()
    template = string.Template((ROOT / "nginx.conf.template").read_text())
    (own / "nginx.conf").write_text(template.substitute(folder=own, port=port, engine_port=engine_port))
    with child(
        core, [program, "-p", str(own), "-c", str(own / "nginx.conf"), "-e", str(own / "nginx.log")], log
    ) as pid:
        wait_for(f"http://127.0.0.1:{port}/health", pid, log, "nginx")
        yield Target("nginx", port, pid)


@contextlib.contextmanager
def gateway(
    core: int, engine_port: int, folder: Path, *, words: bool, environment: Mapping[str, str] = NOTHING
) -> Iterator[Target]:
    """Run `gateway serve` with one worker within the block, with the starter *words* or an empty keyword library.

    *environment* is added to; a ``PYTHONPATH`` in it comes first.
    """
    name = "gateway" if words else "gateway, no words"
    port, log, own = free_port(), folder / f"{name}.log", folder / name
    own.mkdir()
    deployment = {"model": MODEL, "engine": "external", "url": f"http://127.0.0.1:{engine_port}"}
    (own / "gateway.yaml").write_text(json.dumps({"deployments": [deployment]}))  # JSON is YAML
    paths = [environment.get("PYTHONPATH"), str(ROOT.parent), os.environ.get("PYTHONPATH")]
    variables = {
        "GATEWAY_CONFIG": str(own / "gateway.yaml"),
        "GATEWAY_DATA_DIR": str(own / "data"),
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(free_port()),
        "GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "GATEWAY_CLIENT_KEY": CLIENT_KEY,
        "GATEWAY_WORKERS": "1",
        "GATEWAY_KEYWORDS__STARTER": str(words).lower(),
        **environment,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    with child(core, [sys.executable, "-m", "gateway", "serve"], log, variables) as pid:
        wait_for(f"http://127.0.0.1:{port}/readyz", pid, log, "the gateway")
        yield Target(name, port, pid, worker="gateway.worker")


@contextlib.contextmanager
def peer(name: str, python: str, core: int, engine_port: int, folder: Path) -> Iterator[Target]:
    """Run a router of others within the block, out of the environment that *python* belongs to."""
    port, log = free_port(), folder / f"{name}.log"
    module, *flags = PEERS[name]
    argv = [python, "-m", module, "--host", "127.0.0.1", "--port", str(port)]
    argv += ["--worker-urls", f"http://127.0.0.1:{engine_port}", "--policy", "round_robin"]
    argv += ["--prometheus-port", str(free_port()), "--prometheus-host", "127.0.0.1", *flags]
    with child(core, argv, log) as pid:
        wait_for(f"http://127.0.0.1:{port}/health", pid, log, name)
        yield Target(name, port, pid)


def peer_python(name: str, flags: Mapping[str, str]) -> str:
    """Return the Python that has the peer *name*: from *flags*, or from ``BENCH_<NAME>_PYTHON``."""
    variable = f"BENCH_{name.upper().replace('-', '_')}_PYTHON"
    python = flags.get(name) or os.environ.get(variable)
    if python is None:
        raise BenchFailed(f"{name}: say which Python has it: --peer {name}=PYTHON, or {variable}")
    if shutil.which(python) is None:
        raise BenchFailed(f"{name}: {python} cannot be run")
    return python


def check(target: Target, body: bytes, folder: Path) -> None:
    """Raise `BenchFailed` unless *target* answers one request of each kind as an engine would."""
    for sent, expected in ((body, b"[DONE]"), (body.replace(b'"stream": true', b'"stream": false'), b'"usage"')):
        headers = {"Authorization": f"Bearer {CLIENT_KEY}", "Content-Type": "application/json"}
        url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
        request = urllib.request.Request(url, sent, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - our own URL
                answer: bytes = reply.read()
        except urllib.error.HTTPError as error:
            raise BenchFailed(
                f"{target.name} answers {error.code}: {error.read(500).decode(errors='replace')}"
            ) from None
        except OSError as error:
            log = folder / f"{target.name}.log"
            raise BenchFailed(f"{target.name}: {error}\n{tail(log) if log.exists() else ''}") from None
        if expected not in answer:
            raise BenchFailed(f"{target.name}: no {expected.decode()} in its answer: {answer[-300:]!r}")
