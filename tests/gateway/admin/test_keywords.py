"""`/admin/keywords` over a real database and a real Valkey."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from gateway.admin.app import create_app
from gateway.admin.services import AdminServices
from gateway.admin_store import AdminKeys
from gateway.key_store import KeyStore, ensure_first_keys
from gateway.keyword_services import KeywordServices
from gateway.settings import Keywords, Settings
from gateway.state import sql

ADMIN = "adm-0123456789abcdef"
HARMLESS = ["如何安全使用农药", "毒药在古代小说中的作用", "今天天气很好", "春天种什么菜"]


@pytest.fixture
async def client(tmp_path: Path, redis: "Redis") -> AsyncIterator[httpx.AsyncClient]:
    benign = tmp_path / "benign.jsonl"
    benign.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in HARMLESS))
    settings = Settings(
        data_dir=tmp_path, admin_key=ADMIN, client_key="sk-client-0123456789", keywords=Keywords(benign_file=benign)
    )
    async with sql.opened(settings) as engine:

        async def publish() -> None:
            """Nobody follows the keys here."""

        store, admins = KeyStore(engine, publish), AdminKeys(engine)
        await ensure_first_keys(store, admins, settings)
        app = create_app(AdminServices(store, admins, redis, KeywordServices.over(engine, settings.keywords)))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        headers = {"authorization": f"Bearer {ADMIN}"}
        async with httpx.AsyncClient(
            transport=transport, base_url="http://admin/admin/keywords", headers=headers
        ) as made:
            yield made


async def add(client: httpx.AsyncClient, term: str, **fields: Any) -> dict[str, Any]:
    response = await client.post("/entries", json={"term": term, "risk": "A1a", "action": "block", **fields})
    assert response.status_code == 201, response.text
    made: dict[str, Any] = response.json()
    return made


async def version(client: httpx.AsyncClient, *, publish: bool = True) -> int:
    """Freeze the draft, publish it, and return its number."""
    made = (await client.post("/versions", json={"note": "a test"})).json()
    if publish:
        response = await client.post(f"/versions/{made['n']}/publish", json={"why": "a test"})
        assert response.status_code == 200, response.text
    return int(made["n"])


async def test_an_entry_made_by_hand_blocks_at_once_and_says_what_it_hits(client: httpx.AsyncClient) -> None:
    """The answer shows which harmless texts the term would have hit."""
    made = await add(client, "毒药", tags=["甲"], note="why")
    assert ("block", "first", ["甲"], "hand") == (made["action"], made["added_by"], made["tags"], made["origin"])
    hit = made["would_have_hit"]
    assert (4, 1, [HARMLESS[1]]) == (hit["texts"], hit["hit"], [sample["text"] for sample in hit["samples"]])
    shown = (await client.get(f"/entries/{made['id']}")).json()
    assert shown == {name: value for name, value in made.items() if name not in {"warnings", "would_have_hit"}}


async def test_a_term_of_our_own_words_gets_a_warning(client: httpx.AsyncClient) -> None:
    """Whoever blocks what a refusal says is told so."""
    assert (await add(client, "无法回答"))["warnings"] and not (await add(client, "毒药"))["warnings"]


async def test_a_duplicate_is_refused_by_its_field(client: httpx.AsyncClient) -> None:
    """One term is entered once."""
    await add(client, "毒药")
    response = await client.post("/entries", json={"term": "毒 藥", "risk": "A1a"})
    assert (409, "term") == (response.status_code, response.json()["error"]["param"])


async def test_change_and_delete(client: httpx.AsyncClient) -> None:
    """What is named changes, the rest stays; what is deleted is gone."""
    made = await add(client, "毒药", severity=3)
    changed = (await client.patch(f"/entries/{made['id']}", json={"action": "judge"})).json()
    assert ("judge", 3, "毒药") == (changed["action"], changed["severity"], changed["term"])
    assert (await client.delete(f"/entries/{made['id']}")).json()["deleted"]
    assert (await client.get(f"/entries/{made['id']}")).status_code == 404


async def test_pages_and_search(client: httpx.AsyncClient) -> None:
    """A list comes in pages that a cursor joins, and can be searched."""
    made = [(await add(client, f"毒药{number}号"))["id"] for number in range(5)]
    await add(client, "别的", tags=["甲"])
    found: list[int] = []
    params: dict[str, Any] = {"limit": 2, "q": "毒药"}
    while True:
        answer = (await client.get("/entries", params=params)).json()
        found += [record["id"] for record in answer["data"]]
        if answer["next"] is None:
            break
        params["after"] = answer["next"]
    assert found == made
    assert ["别的"] == [r["term"] for r in (await client.get("/entries", params={"tag": "甲"})).json()["data"]]


async def test_import_observes_until_it_was_measured(client: httpx.AsyncClient) -> None:
    """A list of others arrives without power; a measurement, or a reason, gives it."""
    lines = "毒药\n炸药\n炸药\n。\n"
    answer = (await client.post("/import?name=list.txt&risk=A1d&source=houbb", content=lines.encode())).json()
    assert (2, 1, 1) == (answer["added"], answer["duplicates"], answer["rejected"])
    assert answer["rejected_rows"][0]["line"] == 4
    first, second = (await client.get("/entries?source=houbb")).json()["data"]
    assert {"observe"} == {first["action"], second["action"]}
    refused = await client.patch(f"/entries/{first['id']}", json={"action": "block"})
    assert (400, "action") == (refused.status_code, refused.json()["error"]["param"])
    measured = (await client.post("/calibrate", json={"apply": False})).json()
    assert (4, 2, 1) == (measured["texts"], measured["entries"], measured["hit_something"])
    refused = await client.patch(f"/entries/{first['id']}", json={"action": "block"})
    assert "1 harmless texts" in refused.json()["error"]["message"]
    refused = await client.patch(f"/entries/{second['id']}", json={"action": "block"})
    assert "4 harmless texts" in refused.json()["error"]["message"]
    measured = (await client.post("/calibrate", json={"texts": HARMLESS * 250})).json()
    assert (1_000, 0, 0) == (measured["texts"], measured["skipped"], measured["kept_measurements"])
    assert (await client.patch(f"/entries/{second['id']}", json={"action": "block"})).status_code == 200
    assert (await client.post("/calibrate", json={})).json()["kept_measurements"] == 2
    assert (await client.post("/calibrate", json={"force": "newer texts"})).json()["kept_measurements"] == 0
    forced = await client.patch(f"/entries/{first['id']}", json={"action": "block", "force": "must be"})
    assert (200, "forced: must be") == (forced.status_code, forced.json()["note"])


async def test_calibrate_applies_what_it_proposes(client: httpx.AsyncClient) -> None:
    """With `apply` the proposals become the draft, but for what a person chose; that only where it is asked for."""
    made = await add(client, "毒药")
    answer = (await client.post("/calibrate", json={"texts": HARMLESS, "apply": True})).json()
    assert ([], 1) == (answer["proposals"], answer["decided"])
    kept = (await client.get(f"/entries/{made['id']}")).json()
    assert ("block", True) == (kept["action"], kept["decided"])
    asked = {"texts": HARMLESS, "apply": True, "include_decided": True}
    answer = (await client.post("/calibrate", json=asked)).json()
    [proposal] = answer["proposals"]
    found = (await client.get(f"/entries/{made['id']}")).json()
    assert (proposal["proposed"], 1) == (found["action"], found["benign_hits"])
    assert found["action"] != "block"


async def test_export_and_import_again(client: httpx.AsyncClient) -> None:
    """A file that was written here can be read here, with its actions where somebody says why."""
    await add(client, "毒药", exceptions=["毒药片"], tags=["甲", "乙"])
    await version(client)
    data = (await client.get("/export?format=csv&version=1")).content
    [found] = (await client.get("/entries")).json()["data"]
    await client.delete(f"/entries/{found['id']}")
    await client.post("/import?name=a.csv&risk=A1a&keep_actions=our own", content=data)
    [again] = (await client.get("/entries")).json()["data"]
    same = ("term", "action", "exceptions", "tags", "risk")
    assert [found[name] for name in same] == [again[name] for name in same]
    lines = (await client.get("/export?format=jsonl")).text.splitlines()
    assert json.loads(lines[0])["term"] == "毒药"
    await add(client, "炸药")
    assert [2, 1] == [len((await client.get(f"/export?format=jsonl{of}")).text.splitlines()) for of in ("", "&limit=1")]


async def test_versions(client: httpx.AsyncClient) -> None:
    """Frozen, compared, published, rolled back; the log has all of it."""
    first = await add(client, "毒药")
    assert await version(client) == 1
    await client.patch(f"/entries/{first['id']}", json={"severity": 1})
    await add(client, "炸药")
    assert await version(client) == 2
    listed = (await client.get("/versions")).json()
    assert ([1, 2], 2) == ([found["n"] for found in listed["data"]], listed["live"])
    diff = (await client.get("/versions/2/diff?against=1")).json()
    assert ["changed", "added"] == [found["change"] for found in diff["data"]]
    await client.patch(f"/entries/{first['id']}", json={"severity": 2})
    drafted = (await client.get("/versions/draft/diff?against=live")).json()
    assert ([1], [2]) == tuple([row[side]["severity"] for row in drafted["data"]] for side in ("old", "new"))
    assert "n" == (await client.get("/versions/x/diff?against=live")).json()["error"]["param"]
    page = (await client.get("/versions/2/diff?against=1&limit=1")).json()
    assert (1, first["id"], 2) == (len(page["data"]), page["next"], page["differences"])
    assert (await client.post("/rollback", json={"why": "worse"})).json()["n"] == 1
    assert (await client.post("/rollback", json={"why": "worse"})).status_code == 409
    kinds = [(row["kind"], row["n"], row["made_by"]) for row in (await client.get("/releases")).json()["data"]]
    assert kinds == [("publish", 1, "first"), ("publish", 2, "first"), ("rollback", 1, "first")]


async def test_a_canary_is_not_live(client: httpx.AsyncClient) -> None:
    """It stands in the list beside the live version until its time is over."""
    await add(client, "毒药")
    await version(client)
    await add(client, "炸药")
    await version(client, publish=False)
    release = (await client.post("/versions/2/publish", json={"why": "try", "canary_minutes": 30})).json()
    assert release["canary_until"] - release["created_at"] == 1800
    listed = (await client.get("/versions")).json()
    assert (1, 2) == (listed["live"], listed["canary"])


async def test_a_text_is_tried(client: httpx.AsyncClient) -> None:
    """Both folds, every hit and the decision, of the live version or the draft."""
    await add(client, "毒药")
    await version(client)
    await add(client, "炸药", action="observe")
    live = (await client.post("/test", json={"text": "做毒 药和炸藥"})).json()
    assert ("block", ["毒药"], "做毒药和炸药") == (
        live["decision"],
        [h["term"] for h in live["hits"]],
        live["squeezed"],
    )
    hit = live["hits"][0]
    assert ("毒 药", "A1a") == ("做毒 药和炸藥"[hit["start"] : hit["end"]], hit["risk"])
    draft = (await client.post("/test", json={"text": "炸药", "version": "draft"})).json()
    assert ("observe", "draft") == (draft["decision"], draft["version"])
    assert (await client.post("/test", json={"text": "你好"})).json()["decision"] == "pass"


async def test_impact(client: httpx.AsyncClient) -> None:
    """What the draft would do with the stored texts, or with given ones."""
    await add(client, "毒药")
    answer = (await client.post("/impact", json={})).json()
    assert (4, 1, 0.25, {"block": 1, "pass": 3}) == (
        answer["texts"], answer["acted_on"], answer["rate"], answer["decisions"],
    )  # fmt: skip
    assert [("毒药", 1)] == [(found["term"], found["texts"]) for found in answer["worst"]]
    given = (await client.post("/impact", json={"texts": ["毒药", "毒药"]})).json()
    assert (2, 1.0) == (given["texts"], given["rate"])


async def test_the_draft_is_built_anew_when_it_has_changed(client: httpx.AsyncClient) -> None:
    """No trial runs on an older draft."""
    for number in range(3):
        await add(client, f"毒药{number}号")
        answer = (await client.post("/impact", json={"texts": ["毒药0号", "毒药1号", "毒药2号"]})).json()
        assert answer["acted_on"] == number + 1


async def test_coverage(client: httpx.AsyncClient) -> None:
    """The report of clause 8.1, to read and to process."""
    await add(client, "毒药")
    await version(client)
    report = (await client.get("/coverage")).json()
    assert (1, False) == (report["total"]["have"], report["ok"])
    page = await client.get("/coverage?format=markdown&version=draft")
    assert page.headers["content-type"].startswith("text/markdown") and "8.1" in page.text


async def test_a_repeated_request_is_done_once(client: httpx.AsyncClient) -> None:
    """A repeated POST with its Idempotency-Key makes one entry."""
    headers, body = {"idempotency-key": "abc"}, {"term": "毒药", "risk": "A1a"}
    first = await client.post("/entries", json=body, headers=headers)
    second = await client.post("/entries", json=body, headers=headers)
    assert first.json() == second.json() and second.headers["idempotent-replayed"] == "true"


BAD: list[tuple[str, str, Any, int, str | None]] = [
    ("POST", "/entries", {"term": "毒药"}, 400, "risk"),
    ("POST", "/entries", {"term": "毒药", "risk": "A9a"}, 400, "risk"),
    ("POST", "/entries", {"term": "", "risk": "A1a"}, 400, "term"),
    ("POST", "/entries", {"term": "x" * 201, "risk": "A1a"}, 400, "term"),
    ("POST", "/entries", {"term": "毒", "risk": "A1a", "action": "block"}, 400, "term"),
    ("POST", "/entries", {"term": "毒药", "risk": "A1a", "action": "explode"}, 400, "action"),
    ("POST", "/entries", {"term": "(", "risk": "A1a", "match": "regex", "direction": "in"}, 400, "term"),
    ("POST", "/entries", {"term": "毒药", "risk": "A1a", "severety": 1}, 400, "severety"),
    ("POST", "/entries", {"term": "毒药", "risk": "A1a", "expires_at": -1}, 400, "expires_at"),
    ("GET", "/entries?limit=0", None, 400, "limit"),
    ("GET", "/entries?colour=red", None, 400, "colour"),
    ("GET", "/entries/99", None, 404, "id"),
    ("GET", "/entries/99999999999999999999", None, 400, "entry_id"),
    ("PATCH", "/entries/99", {}, 404, "id"),
    ("DELETE", "/entries/99", None, 404, "id"),
    ("POST", "/entries", {"term": "(abc", "risk": "A1a", "match": "regex"}, 400, "term"),
    ("GET", "/entries?risk=Z9", None, 400, "risk"),
    ("DELETE", "/entries", None, 400, "source"),
    ("DELETE", "/entries?source=", None, 400, "source"),
    ("DELETE", "/entries?source=x", None, 400, "why"),
    ("DELETE", "/entries?source=x&why=%20", None, 400, "why"),
    ("DELETE", "/entries?source=x&why=y", None, 400, "source"),
    ("POST", "/import?name=a.png&risk=A1a", {}, 400, "name"),
    ("POST", "/import?name=a.txt&risk=A1a&update=perhaps", {}, 400, "update"),
    ("POST", "/import?name=a.txt&risk=A1a&keep_actions=%20", {}, 400, "keep_actions"),
    ("POST", "/import?name=a.txt&risk=A1a", None, 400, "body"),
    ("POST", "/import?name=a.txt", {}, 400, "risk"),
    ("GET", "/export?version=7", None, 404, "version"),
    ("GET", "/export?limit=0", None, 400, "limit"),
    ("GET", "/export?version=x", None, 400, "version"),
    ("POST", "/versions", {}, 400, "note"),
    ("GET", "/versions/7", None, 404, "version"),
    ("GET", "/versions/7/diff?against=draft", None, 404, "version"),
    ("POST", "/versions/7/publish", {"why": "x"}, 404, "version"),
    ("POST", "/versions/7/publish", {"why": "x", "canary_minutes": 1441}, 400, "canary_minutes"),
    ("POST", "/versions/7/publish", {"why": " "}, 400, "why"),
    ("POST", "/rollback", {"why": "x"}, 409, "version"),
    ("POST", "/test", {"text": "x"}, 404, "version"),
    ("POST", "/test", {"text": "x", "direction": "up"}, 400, "direction"),
    ("POST", "/impact", {"texts": []}, 400, "texts"),
    ("POST", "/impact", {"version": "yesterday"}, 400, "version"),
    ("GET", "/coverage", None, 404, "version"),
    ("POST", "/calibrate", {"apply": "perhaps"}, 400, "apply"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "param"), BAD)
async def test_every_error_has_the_one_shape(
    client: httpx.AsyncClient, method: str, path: str, body: Any, status: int, param: str | None
) -> None:
    """Whatever is wrong, the error names its field in the one shape."""
    response = await client.request(method, path, json=body)
    error = response.json()["error"]
    assert {"message", "type", "param", "code", "src"} == set(error)
    assert (status, "gateway", param) == (response.status_code, error["src"], error["param"]), error


async def test_every_wrong_field_is_named_at_once(client: httpx.AsyncClient) -> None:
    """Those that are wrong by themselves, and those that are wrong together."""
    body = {"term": "毒药", "risk": "Z9", "severity": 9, "match": "guess"}
    message = (await client.post("/entries", json=body)).json()["error"]["message"]
    assert all(f"`{field}`: " in message for field in ("risk", "severity", "match")) and "A1a, A1b" in message
    body = {"term": "毒", "risk": "A1a", "action": "block", "exceptions": ["药"]}
    error = (await client.post("/entries", json=body)).json()["error"]
    assert "term" == error["param"] and "`term`: " in error["message"] and "`exceptions`: " in error["message"]


async def test_a_version_to_compare_with_is_named(client: httpx.AsyncClient) -> None:
    """By the parameter that asked for it."""
    await add(client, "毒药")
    await version(client)
    response = await client.get("/versions/1/diff?against=88")
    assert (404, "against") == (response.status_code, response.json()["error"]["param"])


async def test_where_there_is_one_direction_it_need_not_be_said(client: httpx.AsyncClient) -> None:
    """Expressions, sounds and combinations are looked for in questions."""
    made = await add(client, "枪支&购买", match="combo", action="observe")
    assert "in" == made["direction"]


async def test_a_source_is_removed(client: httpx.AsyncClient) -> None:
    """Counted without a reason, removed with one."""
    await client.post("/import?name=list.txt&risk=A1d&source=houbb", content="毒药\n炸药\n".encode())
    await add(client, "毒气")
    dry = (await client.delete("/entries?source=houbb&dry_run=true")).json()
    assert (2, False) == (dry["entries"], dry["removed"])
    assert (await client.delete("/entries?source=houbb&why=replaced")).json()["removed"]
    assert ["毒气"] == [record["term"] for record in (await client.get("/entries")).json()["data"]]


async def test_an_import_updates_when_it_is_asked_to(client: httpx.AsyncClient) -> None:
    """What a row states replaces what is there."""
    made = await add(client, "毒药", severity=3)
    data = "term,risk\n毒药,A1f\n新词,A1f\n".encode()
    first = (await client.post("/import?name=a.csv&risk=A1a", content=data)).json()
    assert ("a.csv", 1, 0, 1) == (first["file"], first["added"], first["updated"], first["differing"])
    again = (await client.post("/import?name=a.csv&risk=A1a&update=true", content=data)).json()
    assert (0, 1, 1) == (again["added"], again["updated"], again["unchanged"])
    found = (await client.get(f"/entries/{made['id']}")).json()
    assert ("A1f", 3, "block") == (found["risk"], found["severity"], found["action"])


async def test_the_lines_and_words_of_a_file_add_up(client: httpx.AsyncClient) -> None:
    """A file of several megabytes comes in pieces, and counts in numbers that say what each line was."""
    words = "".join(f"毒药{number}号\n" for number in range(1_000))
    data = ("# " + "x" * 2_000_000 + "\n" + words + "\n标题：\n毒药1号\n").encode()
    found = (await client.post("/import?name=a.txt&risk=A1d", content=data)).json()
    lines = found["lines"]
    assert (1_004, 1_002, 1, 1) == tuple(lines[name] for name in ("lines", "with_words", "blank", "comments"))
    became = ("added", "updated", "unchanged", "differing", "duplicates", "rejected")
    assert found["words"] == 1_002 == sum(found[name] for name in became)
    assert (1_000, 1, 1, 1) == tuple(found[name] for name in ("added", "duplicates", "rejected", "headings"))


async def test_changes_of_the_draft_are_told(client: httpx.AsyncClient) -> None:
    """By whom, in pages, the newest first; of one entry or all."""
    made = await add(client, "毒药")
    await client.patch(f"/entries/{made['id']}", json={"action": "judge"})
    await client.post("/import?name=a.txt&risk=A1d", content="火药\n".encode())
    await client.delete(f"/entries/{made['id']}")
    found = (await client.get("/changes?limit=2")).json()
    assert ["removed", "imported"] == [row["kind"] for row in found["data"]]
    rest = (await client.get("/changes", params={"limit": 2, "after": found["next"]})).json()
    assert ["changed", "added"] == [row["kind"] for row in rest["data"]] and rest["next"] is None
    assert {"action": ["block", "judge"]} == rest["data"][0]["fields"]
    assert 3 == len((await client.get(f"/changes?entry={made['id']}&by=first")).json()["data"])
    assert 1 == len((await client.get("/changes?kind=imported")).json()["data"])
    assert "kind" == (await client.get("/changes?kind=x")).json()["error"]["param"]


async def test_without_texts_a_trial_says_what_is_missing(client: httpx.AsyncClient, tmp_path: Path) -> None:
    """A file that is not there, or broken, is named."""
    (tmp_path / "benign.jsonl").write_text('{"text": "a"}\n{"txt": 1}\n')
    error = (await client.post("/impact", json={})).json()["error"]
    assert "texts" == error["param"] and "line 2" in error["message"]
    (tmp_path / "benign.jsonl").unlink()
    assert (await client.post("/impact", json={})).json()["error"]["param"] == "texts"
    made = await add(client, "毒药")
    assert made["would_have_hit"] is None
    assert ["`keywords.benign_file`" in warning for warning in made["warnings"]] == [True]


async def test_a_body_above_the_bound_is_refused(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where its length is not told beforehand."""
    monkeypatch.setattr("gateway.admin.keywords.MOST_BYTES", 10)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"123456\n"

    response = await client.post("/import?name=a.txt&risk=A1a", content=parts())
    assert (400, "body_too_large") == (response.status_code, response.json()["error"]["code"])


async def test_nobody_gets_in_without_an_admin_key(client: httpx.AsyncClient) -> None:
    """The keyword library is for admins alone."""
    client.headers.pop("authorization")
    assert (await client.get("/entries")).status_code == 401
