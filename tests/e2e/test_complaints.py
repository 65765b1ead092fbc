"""A whole gateway: suspended, appealed, upheld, answered again; complained, answered; the receiver told of it all."""

import asyncio
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.complaints.sink import CaseSink
from gateway.people.seen import name_of
from gateway.settings import Settings
from gateway.state import sql
from gateway.webhooks.rules import Webhook
from gateway.webhooks.sink import OutboxSink
from tests import tiny_gguf
from tests.e2e.conftest import ADMIN_KEY, Stack, start, stop
from tests.following import follow

WORD = "紫色大象"
SECRET = "a secret of the two of us"
TOLD: list[dict[str, Any]] = []
"""What the receiver was told."""


class Handler(http.server.BaseHTTPRequestHandler):
    """Takes what comes."""

    def do_POST(self) -> None:
        TOLD.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, receiver: str) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("complaints")
    path = tiny_gguf.write(folder / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512}
    hooks = [{"url": receiver, "secret": SECRET}]
    stack = start(folder, {"deployments": [deployment], "webhooks": hooks}, GATEWAY_WORKERS="2")
    with admin(stack) as client:
        entry = {"term": WORD, "risk": "A1f", "action": "block"}
        assert client.post("/admin/keywords/entries", json=entry).status_code == 201
        n = client.post("/admin/keywords/versions", json={"note": "elephants"}).json()["n"]
        assert client.post(f"/admin/keywords/versions/{n}/publish", json={"why": "a test"}).status_code == 200
    until(lambda: all("无法回答" in say(stack, WORD) for _ in range(8)))
    yield stack
    stop(stack)


def admin(stack: Stack) -> httpx.Client:
    headers = {"authorization": f"Bearer {ADMIN_KEY}"}
    return httpx.Client(base_url=f"http://127.0.0.1:{stack.admin_port}", headers=headers, timeout=30)


def say(stack: Stack, text: str, user: str | None = None) -> str:
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], "max_tokens": 2, "user": user}
    with stack.client() as client:
        return str(client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"])


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def index(stack: Stack, receiver: str) -> None:
    """Make rows of what is in the log by now, beside whoever else does."""
    data = Path(stack.environment["GATEWAY_DATA_DIR"])

    async def work() -> None:
        hook = Webhook(url=receiver, secret=SECRET)  # type: ignore[arg-type]
        async with sql.opened(Settings(data_dir=data)) as engine:
            await follow(engine, data / "audit", CaseSink(), OutboxSink([hook], names=name_of))

    asyncio.run(work())


def test_an_appeal_from_suspension_to_answer(gateway: Stack, receiver: str) -> None:
    """Each step is seen by whom it concerns: the person, staff, the receiver."""
    for text in ("一", "二", "三"):
        say(gateway, f"{WORD}{text}", "ann")
    assert "暂停" in say(gateway, "你好", "ann")
    with gateway.client() as client:
        made = client.post("/v1/appeals", json={"user": "ann", "text": f"我写童话，里面有{WORD}"})
        assert made.status_code == 201, made.text
        told = made.json()
        assert client.get(f"/v1/appeals/{told['id']}").json()["status"] == "open"
    index(gateway, receiver)
    with admin(gateway) as staff:
        [row] = staff.get("/admin/appeals", params={"status": "open"}).json()["data"]
        assert (row["id"], row["user"], row["due_at"]) == (told["id"], "ann", told["due_at"])
        decided = staff.post(f"/admin/appeals/{row['id']}/uphold", json={"reason": "童话没有问题"})
        assert decided.json()["status"] == "upheld", decided.text
        assert staff.post(f"/admin/appeals/{row['id']}/reject", json={"reason": "x"}).status_code == 409
    until(lambda: "暂停" not in say(gateway, "你好", "ann"))

    def told_so() -> bool:
        with gateway.client() as client:
            found = client.get(f"/v1/appeals/{told['id']}").json()
        return (found["status"], found.get("answer")) == ("upheld", "童话没有问题")

    until(told_so)
    index(gateway, receiver)
    until(lambda: len(TOLD) == 2)
    assert ["person.suspended", "person.upheld"] == [one["type"] for one in TOLD]
    assert ("ann", row["person"], row["person"]) == (TOLD[0]["user"], TOLD[0]["person"], TOLD[1]["person"])
    with admin(gateway) as staff:
        deliveries = staff.get("/admin/webhooks/deliveries").json()["data"]
        assert ["delivered", "delivered"] == [one["status"] for one in deliveries]


def test_a_complaint_from_content_id_to_label(gateway: Stack, receiver: str) -> None:
    """The id of an answer's header is what is complained about, and what the label is of."""
    body = {"model": "tiny", "messages": [{"role": "user", "content": "你好"}], "max_tokens": 2}
    with gateway.client() as client:
        content_id = client.post("/v1/chat/completions", json=body).headers["x-content-id"]
        made = client.post("/v1/complaints", json={"content_id": content_id, "kind": "false", "text": "不对"})
        assert (made.status_code, made.json()["content_on_record"]) == (201, True), made.text
        wrong = client.post("/v1/complaints", json={"content_id": "f" * 24, "kind": "other"})
        assert (wrong.status_code, wrong.json()["content_on_record"]) == (201, False), wrong.text
    index(gateway, receiver)
    with admin(gateway) as staff:
        said = {"answer": "已经处理", "decision": "founded", "risk": "A5a"}
        assert staff.post(f"/admin/complaints/{made.json()['id']}/answer", json=said).status_code == 200
        [label] = staff.get("/admin/labels").json()["data"]
        assert (label["content_id"], label["label"], label["risk"]) == (content_id, "harmful", "A5a")
        until(lambda: 'gateway_cases_open{queue="complaints"}' in staff.get("/metrics").text)
    with gateway.client() as client:
        until(lambda: client.get(f"/v1/complaints/{made.json()['id']}").json()["status"] == "answered")
