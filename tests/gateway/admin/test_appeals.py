"""`/admin/appeals`, `/admin/complaints`, `/admin/labels`, `/admin/webhooks` over a real database and a real Valkey."""

import csv
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.admin.app import create_app
from gateway.admin.review import Review
from gateway.admin.services import AdminServices
from gateway.admin.staff import add_staff
from gateway.audit.entries import Admin, decode
from gateway.audit.heads import writers
from gateway.audit.segments import read
from gateway.audit.writer import Writer, open_writer
from gateway.complaints.labels import Turn
from gateway.key_store import AdminKeys, KeyStore, ensure_first_keys
from gateway.keyword_services import KeywordServices
from gateway.settings import Settings
from gateway.state import sql
from gateway.webhooks.outbox import Outbox
from gateway.webhooks.rules import Webhook
from tests.gateway.complaints.cases import CONTENT, appeal, complaint, enter
from tests.gateway.webhooks.conftest import SECRET, message, queue

ADMIN = "adm-0123456789abcdef"
NOW = int(time.time())


class Desk:
    """The API, its database, and whose standing was restored."""

    def __init__(self, client: httpx.AsyncClient, engine: AsyncEngine, root: Path) -> None:
        self.client = client
        self.engine = engine
        self.root = root
        self.restored: list[tuple[str, str, str, str]] = []
        self.pokes: list[str] = []

    async def get(self, path: str, code: int = 200, /, **query: Any) -> Any:
        answer = await self.client.get(f"/admin/{path}", params=query)
        assert code == answer.status_code, answer.text
        return answer.json()

    async def post(self, path: str, code: int = 200, /, once: str = "", **body: Any) -> Any:
        headers = {"idempotency-key": once} if once else {}
        answer = await self.client.post(f"/admin/{path}", json=body, headers=headers)
        assert code == answer.status_code, answer.text
        return answer.json()

    def reads(self) -> list[Admin]:
        rows = [decode(row.body) for directory in writers(self.root) for row in read(directory)]
        return [one for one in rows if isinstance(one, Admin)]


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Writer]:
    writer = open_writer(tmp_path / "audit", "control")
    yield writer
    writer.close()


@pytest.fixture
async def desk(tmp_path: Path, redis: "Redis", chain: Writer) -> AsyncIterator[Desk]:
    settings = Settings(data_dir=tmp_path, admin_key=ADMIN, client_key="sk-client-0123456789")
    async with sql.opened(settings) as engine:

        async def publish() -> None:
            """Nobody follows the keys here."""

        async def uphold(person: str, reason: str, by: str, appeal: str) -> None:
            made.restored.append((person, reason, by, appeal))

        async def find(content_id: str) -> Turn:
            del content_id
            return Turn(({"writer": "n-w0", "seq": 3}, {"writer": "n-w0", "seq": 4}), "a" * 64, "b" * 64)

        store, admins = KeyStore(engine, publish), AdminKeys(engine)
        app = create_app(AdminServices(store, admins, redis, KeywordServices.over(engine, settings.keywords)))
        review = Review.over(
            engine,
            uphold=uphold,
            chain=chain,
            find_turn=find,
            changed=lambda: made.pokes.append("changed"),
            deliver=lambda: made.pokes.append("deliver"),
        )
        add_staff(app, review)
        headers = {"authorization": f"Bearer {ADMIN}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://admin", headers=headers) as client:
            made = Desk(client, engine, tmp_path / "audit")
            await ensure_first_keys(store, admins, settings)
            yield made


async def test_the_queue_of_appeals(desk: Desk) -> None:
    """The oldest due first, page by page, filtered by what is overdue."""
    await enter(desk.engine, appeal(NOW + 9_000), appeal(NOW - 500), appeal(NOW + 5_000))
    first = await desk.get("appeals", limit=2)
    assert [f"apl_{NOW - 500}", f"apl_{NOW + 5_000}"] == [one["id"] for one in first["data"]]
    rest = await desk.get("appeals", limit=2, after=first["next"])
    assert ([f"apl_{NOW + 9_000}"], None) == ([one["id"] for one in rest["data"]], rest["next"])
    late = await desk.get("appeals", overdue=True, status="open")
    assert [(f"apl_{NOW - 500}", True)] == [(one["id"], one["overdue"]) for one in late["data"]]
    assert [] == (await desk.get("appeals", person="p2"))["data"]
    assert "after" == (await desk.get("appeals", 400, after="apl_1"))["error"]["param"]
    assert "status" == (await desk.get("appeals", 400, status="lost"))["error"]["param"]


async def test_an_appeal_is_upheld_once(desk: Desk) -> None:
    """The standing is restored with who and why; a repeat by key is the same answer, any other a 409."""
    await enter(desk.engine, appeal(1))
    shown = await desk.get("appeals/apl_1")
    assert [{"writer": "n-w0", "seq": 3}, {"writer": "n-w0", "seq": 4}] == shown["records"]
    assert ("不是我", "u1", CONTENT) == (shown["text"], shown["user"], shown["content_id"])
    first = await desk.post("appeals/apl_1/uphold", once="k", reason="误判")
    assert ("upheld", "first") == (first["status"], first["decided_by"])
    assert first == await desk.post("appeals/apl_1/uphold", once="k", reason="误判")
    for path in ("uphold", "reject"):
        assert "conflict" == (await desk.post(f"appeals/apl_1/{path}", 409, reason="误判"))["error"]["code"]
    assert ([("p1", "误判", "first", "apl_1")], ["changed"]) == (desk.restored, desk.pokes)


async def test_what_is_wrong_with_a_decision_is_named(desk: Desk) -> None:
    """A reason is needed, a risk is one of the 31, and the case has to be there."""
    await enter(desk.engine, appeal(1), complaint(2))
    for path, body, param in (
        ("appeals/apl_1/uphold", {}, "reason"),
        ("appeals/apl_1/uphold", {"reason": " "}, "reason"),
        ("appeals/apl_1/reject", {"reason": "x" * 2_001}, "reason"),
        ("appeals/apl_1/reject", {"reason": "x", "risk": "A9"}, "risk"),
        ("complaints/cmp_2/answer", {"answer": "x"}, "decision"),
        ("complaints/cmp_2/answer", {"answer": "x", "decision": "maybe"}, "decision"),
        ("complaints/cmp_2/answer", {"answer": "x", "decision": "founded", "mood": 1}, "mood"),
    ):
        assert param == (await desk.post(path, 400, **body))["error"]["param"]
    for path, body in (
        ("appeals/cmp_2/uphold", {"reason": "x"}),
        ("appeals/apl_9/reject", {"reason": "x"}),
        ("complaints/apl_1/answer", {"answer": "x", "decision": "founded"}),
    ):
        assert "not_found" == (await desk.post(path, 404, **body))["error"]["code"]
    await desk.get("appeals/apl_9", 404)
    await desk.get("complaints/cmp_9", 404)


async def test_an_answered_complaint_becomes_a_label(desk: Desk) -> None:
    """Which is listed, and exported as JSON lines."""
    await enter(desk.engine, complaint(1), complaint(2, kind="minors"), appeal(3))
    assert ["cmp_2"] == [one["id"] for one in (await desk.get("complaints", kind="minors"))["data"]]
    await desk.post("complaints/cmp_1/answer", answer="谢谢", decision="founded", risk="A1d")
    await desk.post("complaints/cmp_2/answer", answer="没有问题", decision="unfounded")
    await desk.post("appeals/apl_3/reject", reason="查过", risk="A1f")
    assert (
        "conflict" == (await desk.post("complaints/cmp_1/answer", 409, answer="x", decision="founded"))["error"]["code"]
    )
    labels = await desk.get("labels", limit=2)
    assert [("harmful", "A1d", "answer", "b" * 64), ("harmless", None, "answer", "b" * 64)] == [
        (one["label"], one["risk"], one["part"], one["sha256"]) for one in labels["data"]
    ]
    rest = await desk.get("labels", after=labels["next"], label="harmful")
    assert [("appeal", "apl_3", "words")] == [(one["source"], one["source_id"], one["part"]) for one in rest["data"]]
    lines = (await desk.client.get("/admin/labels/export")).text.splitlines()
    assert ["cmp_1", "cmp_2", "apl_3"] == [json.loads(line)["source_id"] for line in lines]


async def test_complaints_are_exported_and_that_is_on_record(desk: Desk) -> None:
    """As csv and as JSON lines."""
    await enter(desk.engine, complaint(1, text="=1+1"), complaint(2, kind="minors"))
    answer = await desk.client.get("/admin/complaints/export")
    header, first, _ = csv.reader(io.StringIO(answer.content.decode("utf-8-sig")))
    assert ("cmp_1", "'=1+1") == (first[header.index("id")], first[header.index("text")])
    lines = (await desk.client.get("/admin/complaints/export", params={"format": "jsonl", "kind": "minors"})).text
    assert ["cmp_2"] == [json.loads(line)["id"] for line in lines.splitlines()]
    reads = desk.reads()
    assert [("first", "complaints.export")] * 2 == [(one.admin, one.action) for one in reads]
    assert {"format": "jsonl", "status": "", "kind": "minors"} == reads[1].details


async def test_nothing_is_exported_unrecorded(desk: Desk, chain: Writer) -> None:
    """With the log away it is a 503."""
    chain.trouble = "no room"
    assert "audit_unavailable" == (await desk.get("complaints/export", 503))["error"]["code"]
    chain.trouble = None


async def test_deliveries_are_shown_and_tried_anew(desk: Desk) -> None:
    """What was given up, with its last error; never more of a URL than its host."""
    hook = Webhook(url="https://a.example/secret", secret=SECRET)  # type: ignore[arg-type]
    await queue(desk.engine, hook, message(1), message(2, "p2"), now=NOW)
    outbox = Outbox(desk.engine)
    one, _ = await outbox.claim(hook.id, 9, NOW)
    await outbox.failed(one, "status 500", NOW, NOW + 10**9)
    [failed] = (await desk.get("webhooks/deliveries", status="failed"))["data"]
    assert ("evt_1", 1, "status 500") == (failed["event_id"], failed["attempts"], failed["last_error"])
    assert "secret" not in json.dumps(failed)
    page = await desk.get("webhooks/deliveries", limit=1)
    assert [failed] == (await desk.get("webhooks/deliveries", after=page["next"]))["data"]
    assert "pending" == (await desk.post(f"webhooks/deliveries/{failed['id']}/retry"))["status"]
    assert "conflict" == (await desk.post(f"webhooks/deliveries/{failed['id']}/retry", 409))["error"]["code"]
    assert "not_found" == (await desk.post("webhooks/deliveries/999/retry", 404))["error"]["code"]
    assert ["deliver"] == desk.pokes


async def test_nobody_gets_in_without_a_key(desk: Desk) -> None:
    """Whatever the route, also one that was added later."""
    for path in ("appeals", "complaints", "complaints/export", "labels", "labels/export", "webhooks/deliveries"):
        answer = await desk.client.get(f"/admin/{path}", headers={"authorization": ""})
        assert 401 == answer.status_code
