"""Appeals and complaints at the client's port: on record before they are confirmed, bounded, and never a strike."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway import worker
from gateway.audit.entries import Accepted, AnyRecord, Appeal, Complaint, decode
from gateway.audit.heads import writers
from gateway.audit.segments import read
from gateway.audit.writer import Writer, open_writer
from gateway.complaints import contents
from gateway.complaints.published import REJECTED, Board, Status
from gateway.keys import digest
from gateway.metrics import Metrics
from gateway.people.directory import packed, person_id
from gateway.relay import desk as module
from gateway.relay.desk import Desk
from gateway.services import Services
from gateway.settings import Settings
from gateway.state.redis import connect
from gateway.tasks import running
from keywords.entry import Action, Entry
from keywords.library import Library
from tests.gateway.conftest import SECRET, Running, ring_document

OTHER = "sk-gw-other-0123456789abcdef"
CONTENT = "0123456789abcdef01234567"
LIBRARY = Library.build([Entry(id=7, term="禁忌配方", risk="A1d", action=Action.BLOCK)])

SOMEONE = person_id("acme", "someone")


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Writer]:
    writer = open_writer(tmp_path / "audit", "w")
    yield writer
    writer.close()


@pytest.fixture
async def desk(tmp_path: Path, valkey: Path, redis: "Redis", chain: Writer) -> AsyncIterator[Running]:
    """A worker with a log and a state server; another tenant has a key, too."""
    del redis  # it is empty
    settings = Settings(data_dir=tmp_path, redis_url=f"unix://{valkey}", deployments=())
    client = connect(settings)
    services = Services(settings, client, Metrics(), chain)
    other = {digest(OTHER): {"key_id": "k2", "name": "other", "tenant": "other"}}
    services.take_keys({**ring_document(), **other})
    services.shelf.use(LIBRARY)
    sock = worker.listen("127.0.0.1", 0)
    async with worker.serving(services, sock) as shared:
        yield Running(services, shared, sock.getsockname()[1])
    services.upstream.close()
    await client.aclose()


def recorded(tmp_path: Path) -> list[AnyRecord]:
    return [decode(row.body) for directory in writers(tmp_path / "audit") for row in read(directory)][1:]


async def appeal(desk: Running, secret: str | None = SECRET, once: str = "", **fields: Any) -> httpx.Response:
    headers = {"idempotency-key": once} if once else {}
    async with desk.client(secret) as client:
        body = {"user": "u1", "text": "我没有说过", **fields}
        given = {name: value for name, value in body.items() if value is not None}
        return await client.post("/v1/appeals", json=given, headers=headers)


async def complain(desk: Running, secret: str = SECRET, **fields: Any) -> httpx.Response:
    async with desk.client(secret) as client:
        return await client.post("/v1/complaints", json={"content_id": CONTENT, "kind": "illegal", **fields})


async def status(desk: Running, path: str, secret: str = SECRET) -> httpx.Response:
    async with desk.client(secret) as client:
        return await client.get(path)


async def test_an_appeal_is_on_record(desk: Running, tmp_path: Path) -> None:
    """201 with an id and a due time; the record says who, what, when, and what the library noticed."""
    answer = await appeal(desk, text="我只是问了禁忌配方", content_id=f"chatcmpl-{CONTENT}")
    assert answer.status_code == 201
    told = answer.json()
    [record] = recorded(tmp_path)
    assert isinstance(record, Appeal)
    assert (record.id, record.key, record.tenant, record.user) == (told["id"], "k1", "acme", "u1")
    assert (record.person, record.content_id) == (person_id("acme", "u1"), CONTENT)
    assert (record.text, record.address) == ("我只是问了禁忌配方", "127.0.0.1")
    assert (record.at // 1000, record.due // 1000) == (told["received_at"], told["due_at"])
    assert record.due - record.at == 72 * 3_600_000
    assert [("context", "7")] == [(found.stage.partition(".")[2], found.what) for found in record.found]


async def test_a_complaint_quotes_bad_words_and_nobody_is_struck(desk: Running, tmp_path: Path, redis: "Redis") -> None:
    """The text is kept as it is; no turn and no strike come of it."""
    answer = await complain(desk, user="u1", text="它教我禁忌配方", contact="138")
    assert answer.status_code == 201
    [record] = recorded(tmp_path)
    assert isinstance(record, Complaint)
    assert ("illegal", "它教我禁忌配方", "138", CONTENT) == (
        record.kind,
        record.text,
        record.contact,
        record.content_id,
    )
    assert record.found[0].what == "7"
    assert not [one for one in recorded(tmp_path) if isinstance(one, Accepted)]
    assert not await redis.keys("gw:{standings}:p:*")


async def test_whether_the_content_is_on_record_is_told(desk: Running, redis: "Redis") -> None:
    """True, false, or null where nobody can tell; the complaint is taken all the same."""
    known = {CONTENT}

    async def find(content_id: str) -> str | None:
        return content_id if content_id in known else None

    assert (await complain(desk)).json()["content_on_record"] is None
    async with running(asyncio.create_task(contents.Contents(redis, find, lambda: True).run())):
        while not (await redis.pubsub_numsub(contents.CHANNEL))[0][1]:
            await asyncio.sleep(0.01)
        assert (await complain(desk)).json()["content_on_record"] is True
        assert (await appeal(desk, content_id=CONTENT)).json()["content_on_record"] is True
        wrong = await complain(desk, content_id="f" * 24)
        assert (wrong.status_code, wrong.json()["content_on_record"]) == (201, False)
        mistyped = await complain(desk, content_id="the answer of this morning")
        assert (mistyped.status_code, mistyped.json()["content_on_record"]) == (201, False)
    assert "content_on_record" not in (await appeal(desk)).json()


async def test_a_complaint_needs_no_name(desk: Running, tmp_path: Path) -> None:
    """Somebody unnamed may complain; nobody unnamed can appeal."""
    assert (await complain(desk)).status_code == 201
    [record] = recorded(tmp_path)
    assert isinstance(record, Complaint)
    assert (record.person, record.user) == ("", "")
    for user in (None, "", "unknown"):
        refused = await appeal(desk, user=user)
        assert (400, "user") == (refused.status_code, refused.json()["error"]["param"])


async def test_a_banned_person_can_appeal(desk: Running) -> None:
    """A ban closes the models, not the desk."""
    desk.services.directory.take({"bans": {person_id("acme", "u1"): {}}})
    assert (await appeal(desk)).status_code == 201


async def test_an_alias_appeals_for_the_person(desk: Running, tmp_path: Path) -> None:
    """An appeal is of whom the name stands for."""
    desk.services.directory.take({"aliases": packed({person_id("acme", "u1"): SOMEONE})})
    await appeal(desk)
    [record] = recorded(tmp_path)
    assert isinstance(record, Appeal) and record.person == SOMEONE


@pytest.mark.parametrize("text", ["", "  \n"])
async def test_an_empty_appeal_says_nothing(desk: Running, text: str) -> None:
    """Staff would have nothing to read."""
    refused = await appeal(desk, text=text)
    assert (400, "text") == (refused.status_code, refused.json()["error"]["param"])


async def test_it_needs_a_key(desk: Running) -> None:
    """Whoever has none is told what everybody is told."""
    assert (await appeal(desk, secret=None)).status_code == 401
    async with desk.client(None) as client:
        assert (await client.get("/v1/appeals/apl_1")).status_code == 401
        assert (await client.get("/v1/appeals")).status_code == 405


async def test_the_same_idempotency_key_is_one_appeal(desk: Running, tmp_path: Path) -> None:
    """A repeat gets the same answer and leaves no record; another request with the key is a 409."""
    first, again = await appeal(desk, once="a"), await appeal(desk, once="a")
    assert (201, first.json()) == (again.status_code, again.json())
    assert ("true", None) == (again.headers["idempotent-replayed"], first.headers.get("idempotent-replayed"))
    assert (await appeal(desk, once="a", text="anders")).status_code == 409
    assert (await appeal(desk, once="a", secret=OTHER)).json()["id"] != first.json()["id"]
    assert len(recorded(tmp_path)) == 2


async def test_a_person_appeals_five_times_a_day(desk: Running, tmp_path: Path) -> None:
    """The sixth is a 429 that says when to come again; others are not touched, repeats do not count."""
    for number in range(5):
        assert (await appeal(desk, once=str(number))).status_code == 201
        assert (await appeal(desk, once=str(number))).status_code == 201
    refused = await appeal(desk)
    assert (429, "too_many") == (refused.status_code, refused.json()["error"]["code"])
    assert 86_000 < int(refused.headers["retry-after"]) <= 86_402
    assert (await appeal(desk, user="u2")).status_code == 201
    assert len(recorded(tmp_path)) == 6


async def test_complaints_are_counted_by_key_and_person(desk: Running) -> None:
    """The fifty-first of one is refused."""
    answers = [(await complain(desk, user="u1")).status_code for _ in range(51)]
    assert [201] * 50 + [429] == answers
    assert (await complain(desk, user="u2")).status_code == 201


async def test_a_key_is_bounded_whatever_names_it_brings(desk: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody floods staff by being somebody new each time; another key is not touched."""
    monkeypatch.setattr(module, "MOST_OF_A_KEY", 3)
    desk.shared.application.desk = Desk(desk.services)
    assert [201, 201, 201, 429] == [(await complain(desk, user=f"u{n}")).status_code for n in range(4)]
    assert (await complain(desk, OTHER)).status_code == 201
    assert (await appeal(desk)).status_code == 201


async def test_nothing_is_confirmed_that_is_not_on_record(desk: Running, chain: Writer, tmp_path: Path) -> None:
    """With the log away it is a 503, and it does not use up what a person may say."""
    chain.trouble = "no room"
    for _ in range(6):
        refused = await appeal(desk)
        assert (503, "audit_unavailable") == (refused.status_code, refused.json()["error"]["code"])
    chain.trouble = None
    assert (await appeal(desk)).status_code == 201
    assert len(recorded(tmp_path)) == 1


async def test_what_became_of_it_is_told_to_the_tenant_alone(desk: Running, redis: "Redis") -> None:
    """Open at once; decided as soon as staff have decided; nothing to others, nothing of what is unknown."""
    told = (await appeal(desk)).json()
    path = f"/v1/appeals/{told['id']}"
    assert {**told, "status": "open"} == (await status(desk, path)).json()
    decided = Status(told["id"], "acme", told["received_at"], told["due_at"], REJECTED, "查过了", told["received_at"])
    await Board(redis, "appeals").publish(decided)
    answer = (await status(desk, path)).json()
    assert ("rejected", "查过了", told["received_at"]) == (answer["status"], answer["answer"], answer["decided_at"])
    for other in (await status(desk, path, OTHER), await status(desk, f"/v1/complaints/{told['id']}")):
        assert (404, "not_found") == (other.status_code, other.json()["error"]["code"])


async def test_without_redis_the_desk_is_open(desk: Running, tmp_path: Path) -> None:
    """Some are let pass by each worker; a promise to know a repeat cannot be kept, and what became of it not read."""
    lost = connect(Settings(data_dir=tmp_path, redis_url=f"unix://{tmp_path}/nobody.sock"))
    desk.shared.application.desk = Desk(_with_redis(desk.services, lost))
    assert [201] * 7 == [(await appeal(desk)).status_code for _ in range(7)]
    kept = await appeal(desk, once="a")
    assert (503, "state_unavailable") == (kept.status_code, kept.json()["error"]["code"])
    unread = await status(desk, "/v1/appeals/apl_1")
    assert (503, "state_unavailable") == (unread.status_code, unread.json()["error"]["code"])
    await lost.aclose()


def _with_redis(services: Services, lost: "Redis") -> Services:
    services.redis = lost
    return services
