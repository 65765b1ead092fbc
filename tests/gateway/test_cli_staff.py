"""`gateway appeals` and `gateway complaints` beside a state server and a database."""

import asyncio
import getpass
import json
import time
from pathlib import Path

import pytest
from redis import Redis

from gateway.audit.entries import Admin, Person, decode
from gateway.audit.heads import writers
from gateway.audit.segments import read
from gateway.people.directory import person_id
from gateway.people.ledger import EPOCH
from gateway.people.seen import Sight, remember
from gateway.settings import Settings
from gateway.state import sql
from tests.gateway.complaints.cases import CONTENT, appeal, complaint, enter
from tests.gateway.conftest import Shell

ANN = person_id("acme", "ann")
WHO = f"shell:{getpass.getuser()}"


@pytest.fixture
def run(tmp_path: Path, valkey: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Shell:
    """Runs `gateway …` on queues of two appeals and two complaints; returns status, stdout and stderr."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GATEWAY_REDIS_URL", f"unix://{valkey}")
    with Redis(unix_socket_path=str(valkey)) as client:
        client.flushall()
        client.set(EPOCH, "e1")

    now = int(time.time())

    async def make() -> None:
        async with sql.opened(Settings(data_dir=tmp_path)) as engine:
            async with engine.begin() as connection:
                await remember(connection, {ANN: Sight("acme", "ann")})
            await enter(
                engine,
                appeal(now - 500, id="apl_1", person=ANN, user="ann\x1b"),
                appeal(now, id="apl_2", person=ANN, text="x" * 500),
                complaint(now, id="cmp_1", contact="138"),
                complaint(now + 1, id="cmp_2", kind="minors", text=""),
            )

    asyncio.run(make())
    return shell


def recorded(tmp_path: Path) -> list[tuple[str, str, str]]:
    found = [decode(row.body) for path in writers(tmp_path / "audit") for row in read(path)]
    admins = [(one.action, one.target, one.outcome) for one in found if isinstance(one, Admin)]
    return admins + [(one.kind, one.person, one.by) for one in found if isinstance(one, Person)]


def test_the_queues_are_listed(run: Shell, tmp_path: Path) -> None:
    """The oldest due first, as much of a text as a line holds; filtered, page by page, on record as little as REST."""
    first, text, second, long = run("appeals", "list")[1].splitlines()
    assert (first.startswith("apl_1  open, overdue  due "), "+08:00  acme/ann\ufffd" in first) == (True, True)
    assert (text, second.startswith("apl_2  open  due "), long) == ("  不是我", True, f"  {'x' * 200}…")
    assert [one["id"] for one in json.loads(run("appeals", "list", "--overdue", "--json")[1])] == ["apl_1"]
    assert run("appeals", "list", "--after", "apl_1", "--limit", "1")[1].startswith("apl_2")
    assert run("complaints", "list", "--kind", "minors", "--content-id", CONTENT)[1].startswith("cmp_2")
    assert run("complaints", "list", "--status", "answered")[1] == "none\n"
    assert "contact: 138" in run("complaints", "show", "cmp_1")[1]
    assert json.loads(run("appeals", "show", "apl_1", "--json")[1])["records"] == []
    assert recorded(tmp_path) == []


def test_an_appeal_is_upheld_from_the_shell(run: Shell, tmp_path: Path) -> None:
    """Once; the standing is restored, by whom is on record."""
    status, out, complaint = run("appeals", "uphold", "apl_1", "--reason", "误判")
    assert (status, f"upheld by {WHO} " in out, ": 误判" in out) == (0, True, True), complaint
    status, _, complaint = run("appeals", "reject", "apl_1", "--reason", "x")
    assert (status, f"decided by {WHO}" in complaint) == (1, True)
    assert recorded(tmp_path) == [
        ("appeals uphold", "apl_1", ""),
        ("appeals uphold", "apl_1", "ok"),
        ("appeals reject", "apl_1", ""),
        ("appeals reject", "apl_1", "failed"),
        ("uphold", ANN, WHO),
    ]


def test_what_is_decided_becomes_a_label(run: Shell, tmp_path: Path) -> None:
    """As over REST."""
    rejected = json.loads(run("appeals", "reject", "apl_2", "--reason", "查过", "--risk", "A1f", "--json")[1])
    assert (rejected["status"], rejected["risk"], rejected["decided_by"]) == ("rejected", "A1f", WHO)
    answered = run("complaints", "answer", "cmp_1", "--answer", "谢谢", "--decision", "founded", "--risk", "A1d")[1]
    assert f"founded A1d by {WHO} " in answered

    async def labels() -> list[tuple[str, str]]:
        async with sql.opened(Settings(data_dir=tmp_path)) as engine, engine.connect() as connection:
            rows = await connection.exec_driver_sql("SELECT source_id, label FROM labels ORDER BY number")
            return [(row[0], row[1]) for row in rows]

    assert asyncio.run(labels()) == [("apl_2", "harmful"), ("cmp_1", "harmful")]


def test_complaints_are_exported(run: Shell, tmp_path: Path) -> None:
    """In each form, on record before."""
    file = tmp_path / "c.csv"
    assert json.loads(run("complaints", "export", "--output", str(file), "--json")[1])["bytes"] == file.stat().st_size
    assert file.read_text(encoding="utf-8-sig").count("cmp_") == 2
    lines = run("complaints", "export", "--format", "jsonl", "--kind", "minors")[1].splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["cmp_2"]
    assert [action for action, *_ in recorded(tmp_path)] == ["complaints.export"] * 2


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (("appeals", "show", "apl_9"), 1, "apl_9"),
        (("appeals", "uphold", "apl_1", "--reason", " "), 2, "reason: "),
        (("appeals", "uphold", "apl_1"), 2, "--reason"),
        (("appeals", "reject", "apl_1", "--reason", "x", "--risk", "Z9"), 2, "risk: "),
        (("appeals", "list", "--limit", "0"), 2, "--limit"),
        (("appeals", "list", "--after", "apl_9"), 1, "apl_9"),
        (("appeals", "list", "--status", "answered"), 2, "--status"),
        (("complaints", "answer", "cmp_1", "--answer", "x", "--decision", "maybe"), 2, "--decision"),
        (("complaints", "answer", "apl_1", "--answer", "x", "--decision", "founded"), 1, "apl_1"),
        (("complaints", "list", "--kind", "boring"), 2, "--kind"),
    ],
)
def test_refusals(run: Shell, arguments: tuple[str, ...], status: int, named: str) -> None:
    """As REST refuses them, naming the field."""
    found, _, complaint = run(*arguments)
    assert (status, True) == (found, named in complaint), complaint
