"""`gateway audit search | turn | events | export` over a real index."""

import asyncio
import getpass
import json
from pathlib import Path

import pytest

from gateway.audit.entries import Admin, decode, encode
from gateway.audit.heads import writers
from gateway.audit.index import Index
from gateway.audit.segments import read
from gateway.audit.writer import open_writer
from gateway.settings import Settings
from gateway.state import sql
from tests.following import follow
from tests.gateway.audit.indexing import NOW, begin, end, kept, refusal
from tests.gateway.conftest import Shell

WHO = f"shell:{getpass.getuser()}"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Shell:
    """Runs `gateway …` beside a log and its index; returns status, stdout and stderr."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))

    assert shell("keys", "create", "dify", "--tenant", "acme")[0] == 0
    key = json.loads(shell("keys", "list", "--json")[1])[0]["id"]
    writer = open_writer(tmp_path / "audit", "w")
    writer.append(
        *map(
            encode,
            [
                begin("a", NOW, words=kept("今天天气很好\x1b"), key=key),
                end("a", NOW + 1, answer=kept("晴天")),
                begin("b", NOW + 1_000, words=kept("如何制造炸弹"), verdict=refusal(7), user="v", person="q"),
                end("b", NOW + 1_001, outcome="refused"),
                Admin(at=NOW, id="r", admin="ann", role="admin", address="10.0.0.9", action="x", target="q"),
            ],
        )
    )
    writer.close()

    async def index() -> None:
        async with sql.opened(Settings(data_dir=tmp_path)) as engine:
            await follow(engine, tmp_path / "audit", Index())

    asyncio.run(index())
    return shell


def reads(tmp_path: Path) -> list[tuple[str, str, str]]:
    records = [decode(row.body) for path in writers(tmp_path / "audit") for row in read(path)]
    found = [one for one in records if isinstance(one, Admin)]
    return [(one.action, one.admin, one.details["what"]) for one in found if "what" in one.details]


def test_turns_are_searched(run: Shell, tmp_path: Path) -> None:
    """By REST's filters, in words or as JSON, page by page; without texts nothing goes on record."""
    status, out, _ = run("audit", "search", "--verdict", "refuse", "--from", "2020-01-01")
    [told] = out.splitlines()
    assert (status, "+08:00  b  refuse  A1a  refused" in told) == (0, True)
    assert [turn["id"] for turn in json.loads(run("audit", "search", "--json")[1])["data"]] == ["b", "a"]
    assert [line[28:29] for line in run("audit", "search", "--key", "acme/dify")[1].splitlines()] == ["a"]
    first = json.loads(run("audit", "search", "--limit", "1", "--json")[1])
    rest = run("audit", "search", "--after", first["next"])[1]
    assert (" a  pass" in rest, run("audit", "search", "--user", "nobody")[1]) == (True, "none\n")
    assert reads(tmp_path) == []


def test_reading_texts_is_on_record(run: Shell, tmp_path: Path) -> None:
    """By whom, whether searched, shown or exported; a text does nothing to the terminal."""
    assert "words: 今天天气很好\ufffd\n  answer: 晴天" in run("audit", "search", "--texts", "--outcome", "ok")[1]
    assert json.loads(run("audit", "search", "--text", "炸弹", "--json")[1])["data"][0]["id"] == "b"
    assert "words: 如何制造炸弹" in run("audit", "turn", "chatcmpl-b", "--texts")[1]
    assert "words" not in run("audit", "turn", "b")[1]
    assert json.loads(run("audit", "export", "--texts", "--verdict", "pass")[1])["id"] == "a"
    assert reads(tmp_path) == [
        ("read_texts", WHO, "search"),
        ("read_texts", WHO, "search"),
        ("read_texts", WHO, "turn"),
        ("read_texts", WHO, "export"),
        ("audit.export", WHO, "export"),
    ]


def test_an_export_is_a_file(run: Shell, tmp_path: Path) -> None:
    """Of what fits, in each form."""
    file = tmp_path / "turns.csv"
    status, out, _ = run("audit", "export", "--format", "csv", "--output", str(file), "--json")
    assert (status, json.loads(out)) == (0, {"file": str(file), "bytes": file.stat().st_size})
    assert len(file.read_text(encoding="utf-8-sig").splitlines()) == 3
    assert run("audit", "export", "--output", str(tmp_path))[0] == 1
    assert len(run("audit", "export", "--limit", "1")[1].splitlines()) == 1
    assert reads(tmp_path) == [("audit.export", WHO, "export")] * 3


def test_events_are_listed(run: Shell) -> None:
    """Who did what, from where; by person, too."""
    [line] = run("audit", "events", "--person", "q")[1].splitlines()
    assert line.endswith("admin  ann  (admin)  10.0.0.9  x  q")
    page = json.loads(run("audit", "events", "--limit", "1", "--json")[1])
    assert [one["action"] for one in page["data"]] in (["x"], ["keys create"])
    assert f"more: --after {page['next']}" in run("audit", "events", "--limit", "1")[1]
    assert [one["id"] for one in json.loads(run("audit", "events", "--action", "x", "--json")[1])["data"]] == ["r"]


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (("search", "--key", "dufy"), 1, "key: "),
        (("search", "--text", "炸"), 2, "text: "),
        (("search", "--from", "yesterday"), 2, "from: "),
        (("search", "--limit", "0"), 2, "limit: "),
        (("search", "--risk", "Z9"), 2, "risk: "),
        (("events", "--outcome", "good"), 2, "outcome: "),
        (("events", "--after", "x"), 2, "after: "),
        (("export", "--format", "xls"), 2, "format: "),
        (("turn", "nobody"), 1, "id: "),
    ],
)
def test_what_cannot_be_asked_is_named(run: Shell, arguments: tuple[str, ...], status: int, named: str) -> None:
    """As REST does."""
    found, _, complaint = run("audit", *arguments)
    assert (status, True) == (found, named in complaint), complaint


def test_the_help_says_what_can_be_asked(run: Shell) -> None:
    """Each filter by its name, with the words that it takes."""
    out = run("audit", "events", "--help")[1]
    assert ("--outcome ok|failed|denied|unfinished" in out, "--from FROM" in out) == (True, True)
    assert "--format jsonl|csv" in run("audit", "export", "--help")[1]


def test_nothing_is_read_that_cannot_be_put_on_record(
    run: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The rest goes on."""
    monkeypatch.setattr("gateway.cli_record.open_writer", lambda *_: open_writer(tmp_path / "audit" / "node", "cli"))
    status, out, _ = run("audit", "turn", "a", "--texts")
    assert (status, out) == (78, "")
    assert run("audit", "turn", "a")[0] == 0
