"""A whole gateway with two workers: a word from the admin API, and from the shell, to every worker and back."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests import tiny_gguf
from tests.e2e.conftest import ADMIN_KEY, Stack, start, stop

REFUSED = "抱歉"
ROUND = 12
"""Questions on connections of their own, so that each worker gets some."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("kw")
    path = tiny_gguf.write(folder / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512}
    running = start(folder, {"deployments": [deployment]}, GATEWAY_WORKERS="2")
    yield running
    stop(running)


def refusals(stack: Stack, text: str) -> int:
    """Return how many of `ROUND` questions are refused."""
    count = 0
    for _ in range(ROUND):
        with stack.client() as client:
            body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 2}
            answer = client.post("/v1/chat/completions", json=body).json()
        choices = answer.get("choices", ())  # none while the engine starts again with its control process
        count += sum(REFUSED in (choice["message"]["content"] or "") for choice in choices)
    return count


def wait_for(stack: Stack, text: str, expected: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while (found := refusals(stack, text)) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def admin(stack: Stack) -> httpx.Client:
    return httpx.Client(
        base_url=f"http://127.0.0.1:{stack.admin_port}/admin/keywords",
        headers={"authorization": f"Bearer {ADMIN_KEY}"},
        timeout=30,
    )


def shell(stack: Stack, *words: str) -> str:
    argv = [sys.executable, "-m", "gateway", "keywords", *words]
    return subprocess.run(argv, env=stack.environment, capture_output=True, text=True, check=True).stdout


def test_a_word_reaches_every_worker_and_goes_again(gateway: Stack) -> None:
    """Published by REST, all workers refuse it; rolled back from the shell, none does."""
    assert refusals(gateway, "紫色大象") == 0
    with admin(gateway) as client:
        entry = {"term": "紫色大象", "risk": "A1f", "action": "block"}
        assert client.post("/entries", json=entry).status_code == 201
        n = client.post("/versions", json={"note": "elephants"}).json()["n"]
        assert refusals(gateway, "紫色大象") == 0
        assert client.post(f"/versions/{n}/publish", json={"why": "a test"}).status_code == 200
        wait_for(gateway, "讲讲紫 色大象", ROUND)
        assert client.get("/releases").json()["data"][-1]["live_at"] is not None
    shell(gateway, "rollback", "--why", "a test")
    wait_for(gateway, "紫色大象", 0)


def test_a_killed_control_process_changes_nothing(gateway: Stack) -> None:
    """What is live stays live; what is published while control is away counts when it is back."""
    shell(gateway, "add", "绿色大象", "--risk", "A1f", "--action", "block")
    shell(gateway, "freeze", "more elephants")
    control = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and _runs_control(entry, str(gateway.folder))
    )
    os.kill(control, signal.SIGKILL)
    shell(gateway, "publish", "3", "--why", "a test")
    wait_for(gateway, "绿色大象", ROUND, 30)


def _runs_control(entry: Path, folder: str) -> bool:
    try:
        ours = folder.encode() in (entry / "environ").read_bytes()
        return ours and b"gateway.control" in (entry / "cmdline").read_bytes()
    except OSError:
        return False
