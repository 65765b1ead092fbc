"""Whole gateways: how they start, what they print, and that nothing of them is left."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.banner import how_to_use, reachable_host
from gateway.settings import Settings
from gateway.state.redis import SOCKET_PATH_LIMIT, socket_path
from tests.e2e.conftest import CLIENT_KEY, Stack, free_ports, start, stop, wait_until_ready

NO_ENGINE: dict[str, object] = {"deployments": []}


def processes_of(folder: Path) -> dict[int, str]:
    """Return the processes that have *folder* in their environment or command line: pid → command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes()
                if str(folder).encode() in (entry / "environ").read_bytes() + command and command:
                    found[int(entry.name)] = command.replace(b"\0", b" ").decode()
            except OSError:
                continue
    return found


def wait_until_gone(folder: Path) -> None:
    deadline = time.monotonic() + 15
    while processes_of(folder):
        assert time.monotonic() < deadline, processes_of(folder)
        time.sleep(0.05)


def tiny(folder: Path) -> dict[str, object]:
    """Return settings with two replicas of the tiny model."""
    from tests import tiny_gguf  # noqa: PLC0415 - numpy, for the few that need it

    path = tiny_gguf.write(folder / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512, "replicas": 2}
    return {"deployments": [deployment]}


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stack]:
    """A gateway with two replicas and two workers; ended whatever becomes of the test."""
    folder = tmp_path / "gw"
    folder.mkdir()
    stack = start(folder, tiny(folder), GATEWAY_WORKERS="2")
    yield stack
    stop(stack)


def pid_of(stack: Stack, words: str) -> int:
    return next(pid for pid, command in processes_of(stack.folder).items() if words in command)


def ask(stack: Stack) -> int:
    with stack.client() as client:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "temperature": 0}
        return client.post("/v1/chat/completions", json=body).status_code


def test_sigterm_ends_everything(small: Stack) -> None:
    """A gateway that is stopped leaves no process."""
    assert ask(small) == 200
    stop(small)
    assert small.process.returncode == 0
    wait_until_gone(small.folder)


def test_kill_9_of_the_parent_ends_everything(small: Stack) -> None:
    """No worker, engine or state server outlives its parent."""
    small.process.kill()
    small.process.wait()
    wait_until_gone(small.folder)


@pytest.mark.parametrize("part", ["gateway.worker", "gateway.control", "valkey-server"])
def test_a_part_that_is_killed_comes_back(small: Stack, part: str) -> None:
    """Each process is started again; the key still works and models are ready again."""
    before = pid_of(small, part)
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 20
    while True:
        running = [pid for pid, command in processes_of(small.folder).items() if part in command and pid != before]
        if len(running) >= (2 if part == "gateway.worker" else 1):
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_until_ready(small, 30)
    deadline = time.monotonic() + 10
    while ask(small) != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stop(small)
    wait_until_gone(small.folder)


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    port, admin_port = free_ports(2)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin_port),
        **environment,
    }
    argv = [sys.executable, "-m", "gateway", "serve"]
    return subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=60, check=False)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """Workers could share a stranger's port unnoticed; so it is looked at first."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = run(tmp_path, GATEWAY_PORT=str(other.getsockname()[1]))
    assert (78, True) == (done.returncode, "GATEWAY_PORT: cannot listen" in done.stderr)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("workers: many", "workers"),
        ("prot: 8000", "prot"),
        ("deployments: [{model: a, engine: vllm, path: /nowhere, port: 80}]", "deployments[0].port"),
        ("deployments: [{model: a, engine: vllm, path: /nowhere}]", "deployments[0].path"),
        ("deployments: [{model: a, engine: vllm", "gateway.yaml"),
        ("timeouts: {idle_seconds: -1}", "timeouts.idle_seconds"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, named: str) -> None:
    """What is wrong in the file stands on stderr with its key, and nothing is started."""
    config = tmp_path / "gateway.yaml"
    config.write_text(text)
    done = run(tmp_path, GATEWAY_CONFIG=str(config))
    assert (78, True) == (done.returncode, named in done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_a_bad_first_key_is_named(tmp_path: Path) -> None:
    """A key that is too easy ends the start with its name."""
    config = tmp_path / "gateway.yaml"
    config.write_text("deployments: []")
    done = run(tmp_path, GATEWAY_CONFIG=str(config), GATEWAY_CLIENT_KEY="short")
    assert (78, True) == (done.returncode, "GATEWAY_CLIENT_KEY" in done.stderr), done.stderr
    wait_until_gone(tmp_path)


def test_a_second_gateway_on_the_same_data_is_refused(small: Stack) -> None:
    """The lock forbids a second one, so that no forgotten worker serves old keys."""
    port, admin_port = free_ports(2)
    variables = {**small.environment, "GATEWAY_PORT": str(port), "GATEWAY_ADMIN_PORT": str(admin_port)}
    argv = [sys.executable, "-m", "gateway", "serve"]
    done = subprocess.run(argv, env=variables, capture_output=True, text=True, timeout=30, check=False)
    assert (78, True) == (done.returncode, "another gateway runs" in done.stderr)
    assert ask(small) == 200
    stop(small)


def test_a_very_long_data_directory_works(tmp_path: Path) -> None:
    """A unix socket's path is short; a data directory's need not be."""
    folder = tmp_path / ("long" * 20) / ("folder" * 10)
    folder.mkdir(parents=True)
    assert len(str(socket_path(folder / "data"))) <= SOCKET_PATH_LIMIT
    stack = start(folder, tiny(folder))
    assert ask(stack) == 200
    stop(stack)


def test_first_keys_are_printed_once(tmp_path: Path) -> None:
    """The first start prints two keys and a line that works; the second prints none."""
    folder = tmp_path / "gw"
    folder.mkdir()
    settings = tiny(folder)
    for first in (True, False):
        stack = start(folder, settings, GATEWAY_CLIENT_KEY="", GATEWAY_ADMIN_KEY="")
        deadline = time.monotonic() + 10
        while "Admin API" not in stack.log():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        log = stack.log()
        assert first == ("client key" in log and "admin key" in log)
        if first:
            secret = log.split("client key")[1].split()[0]
            with httpx.Client(base_url=f"http://127.0.0.1:{stack.port}") as client:
                models = client.get("/v1/models", headers={"authorization": f"Bearer {secret}"})
            assert models.status_code == 200
            assert f"Bearer {secret}" in log
        stop(stack)


def test_the_banner_names_an_address_that_others_reach() -> None:
    """Dify is on another machine; curl is on this one."""
    text = how_to_use(Settings(), {"m": "chat", "e": "embeddings"}, CLIENT_KEY)
    assert "curl http://127.0.0.1:8000/v1/chat/completions" in text
    assert f"API endpoint URL  http://{reachable_host('0.0.0.0')}:8000/v1" in text
    assert text.index("LLM") < text.index("Text Embedding")
