"""`/admin/audit` over a real log, a real index and real databases."""

import csv
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.admin.app import create_app
from gateway.admin.audit_services import AuditServices
from gateway.admin.services import AdminServices
from gateway.audit.entries import Admin, Applied, Found, Person, Strike, decode, encode
from gateway.audit.follower import Follower
from gateway.audit.heads import Exporter, Signer
from gateway.audit.index import Index
from gateway.audit.search import Search
from gateway.audit.segments import read
from gateway.audit.verification import Verification
from gateway.audit.verify import verify
from gateway.audit.writer import Writer, open_writer
from gateway.key_store import AdminKeys, KeyStore, ensure_first_keys
from gateway.keyword_services import KeywordServices
from gateway.settings import Settings
from gateway.state import sql
from tests.gateway.audit.indexing import NOW, Talk, begin, end, kept, refusal

ADMIN = "adm-0123456789abcdef"


class Desk(NamedTuple):
    """A client of the admin API, and what is below it."""

    client: httpx.AsyncClient
    engine: AsyncEngine
    root: Path
    writer: Writer

    async def log(self, *records: Any) -> None:
        """Put *records* on record and into the index."""
        if records:
            self.writer.append(*map(encode, records))
        self.writer.sync()
        follower = Follower(self.engine, self.root, [Index()])
        while await follower.step():
            pass

    async def get(self, path: str, **query: Any) -> Any:
        response = await self.client.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    def done(self) -> list[tuple[str, str, Any]]:
        """Return what is on record of admins."""
        records = [decode(row.body) for row in read(self.writer.slot.directory)]
        return [(one.action, one.target, one.details) for one in records if isinstance(one, Admin)]


@pytest.fixture
async def desk(database: Settings, redis: "Redis") -> AsyncIterator[Desk]:
    settings = Settings(
        data_dir=database.data_dir,
        database_url=database.database_url,
        admin_key=ADMIN,
        client_key="sk-client-0123456789",
    )
    root = settings.data_dir / "audit"
    async with sql.opened(settings) as engine:

        async def publish() -> None:
            """Nobody follows the keys here."""

        store, admins = KeyStore(engine, publish), AdminKeys(engine)
        await ensure_first_keys(store, admins, settings)
        writer = open_writer(root, "control")
        signing = Signer(b"k" * 32)
        exporter = Exporter(root, signing)
        verification = Verification(lambda: verify(root, signing, (exporter.directory,)))

        async def ids_of(person: str) -> list[str]:
            return [person]

        audit = AuditServices(Search(engine), writer, verification, ids_of, "CODE")
        keywords = KeywordServices.over(engine, settings.keywords)
        app = create_app(AdminServices(store, admins, redis, keywords, audit=audit))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://admin/admin", headers=headers) as client:
            yield Desk(client, engine, root, writer)
        writer.close()


TURNS = [
    begin("a", NOW, words=kept("今天天气很好")),
    begin("b", NOW + 1000, words=kept("=如何制造炸弹"), verdict=refusal(7), person="q", user="v"),
    end("a", NOW + 10, answer=kept("是的，\n晴天"), observed=(Found("keywords.out", "9", 0, 1),)),
    end("b", NOW + 1010, outcome="refused"),
    begin("c", NOW + 2000),
]


async def test_turns_are_listed_without_texts(desk: Desk) -> None:
    """The newest first, with everything but what people wrote; nothing is put on record for it."""
    await desk.log(*TURNS)
    listed = await desk.get("/audit")
    assert [turn["id"] for turn in listed["data"]] == ["c", "b", "a"]
    assert listed["next"] is None
    _, b, _ = listed["data"]
    assert b["verdict"] == {
        "action": "refuse",
        "risk": "A1a",
        "evidence": [{"stage": "keywords.in", "what": "7", "start": 0, "end": 2}],
    }
    assert b["words"] == {"chars": 7, "sha256": "5" * 64, "kept": True}
    assert (b["outcome"], b["accepted_at"], b["answer"]) == ("refused", NOW + 1000, None)
    assert (listed["data"][0]["outcome"], listed["data"][0]["finished_at"]) == (None, None)
    assert desk.done() == []


async def test_filters_of_the_query(desk: Desk) -> None:
    """Times in both forms; everything that can be asked for."""
    await desk.log(*TURNS)

    async def ids(**query: Any) -> str:
        return "".join(turn["id"] for turn in (await desk.get("/audit", **query))["data"])

    assert await ids(**{"from": str(NOW + 500)}) == "cb"
    assert await ids(**{"from": "2020-01-01T00:00:00 08:00", "to": "2020-01-02"}) == ""
    assert await ids(to="2100-01-01", verdict="refuse") == "b"
    assert await ids(person="q", user="v", key="k1", risk="A1a", entry="7", outcome="refused") == "b"
    assert await ids(outcome="unfinished") == "c"
    assert await ids(text="炸弹") == "b"


async def test_pages(desk: Desk) -> None:
    """`next` is where the next one begins."""
    await desk.log(*TURNS)
    first = await desk.get("/audit", limit=2)
    second = await desk.get("/audit", limit=2, after=first["next"])
    assert [turn["id"] for turn in [*first["data"], *second["data"]]] == ["c", "b", "a"]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"text": "炸"}, "text"),
        ({"text": "e\u0301"}, "text"),
        ({"from": "yesterday"}, "from"),
        ({"to": "9" * 17}, "to"),
        ({"after": "x"}, "after"),
        ({"risk": "Z9"}, "risk"),
        ({"entry": "0"}, "entry"),
        ({"outcome": "good"}, "outcome"),
        ({"verdict": "bad"}, "verdict"),
        ({"limit": "0"}, "limit"),
        ({"persn": "p"}, "persn"),
        ({"key": "nobody's"}, "key"),
    ],
)
async def test_what_cannot_be_asked_is_named(desk: Desk, query: dict[str, str], field: str) -> None:
    """In the one shape of an error."""
    response = await desk.client.get("/audit", params=query)
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)


async def test_reading_texts_is_on_record_first(desk: Desk) -> None:
    """A page with texts, one turn with texts, a search for a text, a person's history with texts."""
    await desk.log(*TURNS)
    listed = await desk.get("/audit", texts=True, limit=1, verdict="refuse")
    assert listed["data"][0]["words"]["text"] == "=如何制造炸弹"
    assert "text" not in (await desk.get("/audit", text="炸弹"))["data"][0]["words"]
    assert (await desk.get("/audit/a", texts=True))["answer"]["text"] == "是的，\n晴天"
    await desk.get("/people/p/history", texts=True)
    done = desk.done()
    assert [(action, target, details["what"]) for action, target, details in done] == [
        ("read_texts", "", "search"),
        ("read_texts", "", "search"),
        ("read_texts", "a", "turn"),
        ("read_texts", "p", "history"),
    ]
    assert done[1][2]["asked"] == {"text": "炸弹", "texts": False, "limit": 100}
    await desk.log()
    events = await desk.get("/audit/events", action="read_texts", by="first")
    assert len(events["data"]) == 4


async def test_nothing_is_read_that_cannot_be_put_on_record(desk: Desk) -> None:
    """With the log away there are no texts; the rest goes on."""
    await desk.log(*TURNS)
    desk.writer.close()
    response = await desk.client.get("/audit/a", params={"texts": True})
    assert (response.status_code, response.json()["error"]["code"]) == (503, "audit_unavailable")
    assert (await desk.client.get("/audit/export")).status_code == 503
    assert (await desk.get("/audit/a"))["id"] == "a"


async def test_one_turn(desk: Desk) -> None:
    """By its content id, also as a refusal's body has it; an answer's text carries its label."""
    await desk.log(*TURNS)
    assert (await desk.get("/audit/chatcmpl-b"))["id"] == "b"
    shown = await desk.get("/audit/a", texts=True)
    assert shown["AIGC"]["ProduceID"] == "a"
    response = await desk.client.get("/audit/nobody")
    assert (response.status_code, response.json()["error"]["param"]) == (404, "id")


async def test_an_export_is_a_file_of_what_fits(desk: Desk) -> None:
    """As JSON lines; it goes on record, and without texts nobody is said to have read some."""
    await desk.log(*TURNS)
    response = await desk.client.get("/audit/export", params={"verdict": "pass"})
    rows = [json.loads(line) for line in response.text.splitlines()]
    assert [row["id"] for row in rows] == ["c", "a"]
    assert "AIGC" not in rows[1]
    assert "text" not in rows[1]["answer"]
    assert 'filename="audit.jsonl"' in response.headers["content-disposition"]
    assert [(action, details["asked"]["verdict"]) for action, _, details in desk.done()] == [("audit.export", "pass")]
    newest = (await desk.client.get("/audit/export", params={"verdict": "pass", "limit": 1})).text.splitlines()
    assert [json.loads(line)["id"] for line in newest] == ["c"]
    assert desk.done()[-1][2]["asked"]["limit"] == 1


async def test_an_export_as_a_table_runs_nothing(desk: Desk) -> None:
    """What a spreadsheet would take for a formula is text; each answer carries its implicit label."""
    await desk.log(*TURNS)
    response = await desk.client.get("/audit/export", params={"format": "csv", "texts": "true"})
    assert response.content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(response.content.decode("utf-8-sig"), newline="")))
    assert [row["id"] for row in rows] == ["c", "b", "a"]
    assert rows[1]["words_text"] == "'=如何制造炸弹"
    assert rows[2]["answer_text"] == "是的，\n晴天"
    assert rows[2]["accepted_at"].endswith("+08:00")
    label = json.loads(rows[2]["AIGC"])
    assert (label["Label"], label["ContentProducer"], label["ProduceID"]) == ("1", "CODE", "a")
    assert rows[1]["AIGC"] == ""
    assert [action for action, *_ in desk.done()] == ["read_texts", "audit.export"]


async def test_events(desk: Desk) -> None:
    """Of admins and of people; page by page."""
    talk = Talk()
    made = [Admin(at=NOW + i, admin="a", action="keys.create", target=f"k{i}") for i in range(3)]
    await desk.log(*made, *talk.say(bad=True), *talk.uphold("lift"))
    first = await desk.get("/audit/events", limit=3)
    assert [(event["kind"], event["action"]) for event in first["data"]] == [
        ("applied", "lift"),
        ("person", "lift"),
        ("admin", "keys.create"),
    ]
    assert first["data"][1]["details"]["reason"] == "why"
    rest = await desk.get("/audit/events", limit=2, after=first["next"])
    assert [event["target"] for event in rest["data"]] == ["k1", "k0"]
    assert rest["next"] is None


async def test_an_event_is_all_that_is_on_record(desk: Desk) -> None:
    """Who, in which role, from where, with what result; whose name an alias is."""
    who = {"admin": "ann", "role": "moderator", "address": "10.0.0.9"}
    await desk.log(
        Admin(at=NOW, id="r1", action="POST /x", target="k", details={"body": {"n": 1}}, **who),
        Admin(at=NOW + 5, id="r1", action="POST /x", target="k", outcome="failed", status=409, **who),
        Person(at=NOW, id="m1", person="p", kind="alias", alias="q", strike=Strike(NOW), by="ann", reason="why"),
        Applied(at=NOW, id="m1", person="p", strike=Strike(NOW, 0, "alias")),
    )
    applied, alias, end, begin = (await desk.get("/audit/events"))["data"]
    assert (begin["id"], begin["role"], begin["address"], begin["outcome"]) == ("r1", "moderator", "10.0.0.9", None)
    assert begin["details"] == {"body": {"n": 1}}
    assert (end["id"], end["by"], end["outcome"], end["status"]) == ("r1", "ann", "failed", 409)
    assert (alias["kind"], alias["target"], alias["alias"]) == ("person", "p", "q")
    assert (applied["kind"], applied["action"], applied["id"]) == ("applied", "alias", "m1")


async def test_events_are_found_by_all_that_they_say(desk: Desk) -> None:
    """Each alone, and together; what has no end on record is unfinished."""
    ann = {"admin": "ann", "role": "admin", "address": "10.0.0.9"}
    ban = {"person": "p", "kind": "ban", "reason": "r", "by": "eve"}
    await desk.log(
        Admin(at=NOW, id="r1", action="x", **ann),
        Admin(at=NOW + 10, id="r1", action="x", outcome="failed", status=409, **ann),
        Admin(at=NOW + 20, id="r2", admin="bob", role="viewer", action="y", target="p", outcome="denied", status=403),
        Admin(at=NOW + 30, id="r3", admin="bob", action="y"),
        Admin(at=NOW + 25, admin="bob", action="read_texts"),
        Person(at=NOW + 40, id="m1", alias="q", strike=Strike(NOW), **{**ban, "kind": "alias"}),
        Applied(at=NOW + 50, id="m1", person="z", strike=Strike(NOW, 0, "alias")),
        Person(at=NOW + 60, id="m2", strike=Strike(NOW), **ban),
    )

    async def found(**query: str) -> list[str]:
        return [f"{event['id']} {event['outcome']}" for event in (await desk.get("/audit/events", **query))["data"]]

    first = ["r1 failed", "r1 None"]
    assert [first] * 3 == [await found(by="ann"), await found(address="10.0.0.9"), await found(id="r1")]
    assert [["r2 denied"]] * 2 == [await found(role="viewer"), await found(outcome="denied")]
    assert ["m2 None", "r3 None"] == await found(outcome="unfinished")
    assert ["r1 failed"] == await found(status="409")
    assert ["r2 denied"] == await found(kind="admin", person="p")
    assert ["m1 None"] == await found(person="q")
    assert ["m2 None", "m1 None"] == await found(kind="person", person="p")
    assert ["m1 None", "r3 None"] == await found(**{"from": str(NOW + 30), "to": str(NOW + 41)})


async def test_a_key_is_meant_by_its_name_too(desk: Desk) -> None:
    """Alone, or behind its tenant's; what no key has, and no turn, is a 400 and no silence."""
    store = desk.client._transport.app.state.services.keys  # type: ignore[attr-defined]
    for tenant in ("acme", "other"):
        await store.create({"name": "dify", "tenant": tenant})
    ids = [one["id"] for one in await store.list(9) if one["name"] == "dify"]
    await desk.log(begin("a", key=ids[0]), begin("b", key=ids[1]), begin("c", key="gone"))

    async def found(key: str) -> str:
        return "".join(sorted(turn["id"] for turn in (await desk.get("/audit", key=key))["data"]))

    assert [await found(key) for key in ("dify", "acme/dify", "other/dify", ids[0], "gone")] == [
        "ab",
        "a",
        "b",
        "a",
        "c",
    ]
    for path in ("/audit", "/audit/export"):
        response = await desk.client.get(path, params={"key": "acme/dufy"})
        assert (response.status_code, response.json()["error"]["param"]) == (400, "key")


async def test_who_reads_is_on_record_with_role_and_address(desk: Desk) -> None:
    """As of every other thing that an admin does."""
    await desk.log(*TURNS)
    await desk.get("/audit/a", texts=True)
    await desk.log()
    [event] = (await desk.get("/audit/events", action="read_texts"))["data"]
    assert (event["by"], event["role"], event["address"], event["target"]) == ("first", "admin", "127.0.0.1", "a")


async def test_a_persons_history(desk: Desk) -> None:
    """The newest first, with what each turn counted."""
    talk = Talk("p")
    await desk.log(*talk.say(bad=True), *talk.say(bad=True), begin("other", person="q"))
    history = await desk.get("/people/p/history", limit=1)
    assert (history["person"], history["ids"]) == ("p", ["p"])
    assert [turn["id"] for turn in history["data"]] == ["p2"]
    assert history["data"][0]["strike"]["after"]["row"] == 2
    rest = await desk.get("/people/p/history", limit=1, after=history["next"])
    assert [turn["id"] for turn in rest["data"]] == ["p1"]


async def test_the_log_is_verified(desk: Desk) -> None:
    """The report names what is not as it was written."""
    await desk.log(*TURNS)
    response = await desk.client.post("/audit/verify")
    assert response.json()["report"]["ok"]
    path = next(desk.writer.slot.directory.glob("*.seg"))
    path.write_bytes(path.read_bytes().replace(b'"id":"b"', b'"id":"x"'))
    report = (await desk.client.post("/audit/verify")).json()["report"]
    assert (report["ok"], report["faults"][0]["kind"], report["faults"][0]["seq"]) == (False, "chain", 3)
    state = await desk.get("/audit/verify")
    assert (state["running"], state["report"]) == (False, report)


async def test_impact_over_what_people_said(desk: Desk) -> None:
    """What a draft would have hit in the last turns; those without a text are counted."""
    await desk.log(*TURNS)
    fields = {"term": "天气", "risk": "A1a", "action": "block"}
    assert (await desk.client.post("/keywords/entries", json=fields)).status_code == 201
    query = {"source": "audit", "last": 10}
    found = (await desk.client.post("/keywords/impact", params=query, json={})).json()
    assert (found["turns"], found["without_text"], found["texts"], found["acted_on"]) == (3, 1, 2, 1)
    assert found["samples"][0]["text"] == "今天天气很好"
    assert desk.done()[-1][0] == "read_texts"
    answers = (await desk.client.post("/keywords/impact", params=query, json={"direction": "out"})).json()
    assert (answers["texts"], answers["acted_on"]) == (1, 0)
    last = (await desk.client.post("/keywords/impact", params={**query, "last": 1}, json={})).json()
    assert (last["turns"], last["texts"]) == (1, 0)
    response = await desk.client.post("/keywords/impact", params=query, json={"texts": ["a"]})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "texts")
