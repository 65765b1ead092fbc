"""A whole gateway: what was said is found by an admin, also when the control process is killed meanwhile."""

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import tiny_gguf
from tests.e2e.conftest import ADMIN_KEY, Stack, start, stop
from tests.gateway.test_serve import pid_of

SECONDS = 20.0


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("audit")
    path = tiny_gguf.write(folder / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512}
    stack = start(folder, {"deployments": [deployment], "audit": {"texts": "full"}}, GATEWAY_WORKERS="2")
    yield stack
    stop(stack)


def say(stack: Stack, text: str) -> str:
    """Say something on a connection of its own; return the content id."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 2, "user": "somebody"}
    with stack.client() as client:
        answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-content-id"]


def admin(stack: Stack) -> httpx.Client:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{stack.admin_port}", headers=headers, timeout=30)


def found(stack: Stack, ids: list[str], **query: Any) -> list[dict[str, Any]]:
    """Return the turns that fit, as soon as all of *ids* are among them with their ends."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            with admin(stack) as client:
                turns: list[dict[str, Any]] = client.get("/admin/audit", params={"limit": 1000, **query}).json()["data"]
        except (httpx.HTTPError, KeyError):  # it is being started again
            turns = []
        if set(ids) <= {turn["id"] for turn in turns if turn["finished_at"]}:
            return turns
        assert time.monotonic() < deadline, turns
        time.sleep(0.05)


def test_what_was_said_is_found(gateway: Stack) -> None:
    """By its words, some moments after its end; the metrics tell how far the index is."""
    ids = [say(gateway, f"你好，世界{i}") for i in range(5)]
    turns = found(gateway, ids, text="好，世界", texts=True)
    assert {turn["words"]["text"] for turn in turns} == {f"你好，世界{i}" for i in range(5)}
    with admin(gateway) as client:
        metrics = client.get("/metrics").text
        history = client.get(f"/admin/people/{turns[0]['person']}/history").json()
        report = client.post("/admin/audit/verify").json()["report"]
    for name in ("index_lag_seconds", "index_behind_records", "settle_lag_seconds", "index_holes_total"):
        assert f"gateway_audit_{name}" in metrics
    assert set(ids) <= {turn["id"] for turn in history["data"]}
    assert report["ok"]


def test_a_killed_indexer_goes_on_where_it_was(gateway: Stack) -> None:
    """Turns go on while the control process is away, and each is found once."""
    ids = []
    for i in range(30):
        if i % 10 == 5:
            os.kill(pid_of(gateway, "gateway.control"), signal.SIGKILL)
        ids.append(say_somehow(gateway, f"第{i}句话"))
    names = [turn["id"] for turn in found(gateway, [name for name in ids if name])]
    assert len(names) == len(set(names))


def say_somehow(stack: Stack, text: str) -> str:
    """Say something, though the engine may be away with its owner; return the content id of what was answered."""
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return say(stack, text)
        except (AssertionError, httpx.HTTPError):
            assert time.monotonic() < deadline
            time.sleep(0.2)
