"""`gateway people` beside a state server and a database."""

import asyncio
import getpass
import json
import shlex
from functools import partial
from pathlib import Path

import pytest
from redis import Redis

from gateway.audit.entries import Admin, Person, decode
from gateway.audit.index import Index
from gateway.audit.segments import read
from gateway.people.directory import person_id
from gateway.people.ledger import EPOCH
from gateway.settings import Settings
from gateway.state import board, sql
from tests.following import follow
from tests.gateway.conftest import Shell

ANN = person_id("default", "ann")


@pytest.fixture
def run(tmp_path: Path, valkey: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Shell:
    """Runs `gateway people …` on a data directory of its own; returns status, stdout and stderr."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("GATEWAY_REDIS_URL", f"unix://{valkey}")
    with Redis(unix_socket_path=str(valkey)) as client:
        client.flushall()
        client.set(EPOCH, "e1")

    async def make() -> None:
        async with sql.opened(Settings(data_dir=tmp_path)):
            pass

    asyncio.run(make())

    return partial(shell, "people")


def test_a_suspension_from_the_shell(run: Shell, tmp_path: Path) -> None:
    """By name or by id, in words or as JSON; it stands in the log under the writer of the shell."""
    status, out, _ = run("suspend", "--user", "ann", "--until-lifted", "--reason", "rude")
    assert (0, True, True) == (status, ANN in out, "suspended without an end (by_hand)" in out)
    found = json.loads(run("show", ANN, "--json")[1])
    assert (found["user"], found["standing"]["suspended"]) == ("ann", True)
    assert ANN in run("search", "an", "--state", "suspended")[1]
    lifted = json.loads(run("lift", ANN, "--reason", "sorry", "--json")[1])
    assert (lifted["applied"], lifted["person"]["standing"]["suspended"]) == (True, False)
    assert [event["kind"] for event in lifted["person"]["events"]] == ["lift"]
    assert run("search", "--state", "suspended")[1] == "nobody\n"
    [writer] = (tmp_path / "audit").glob("*-cli0")
    records = [decode(row.body) for row in read(writer)]
    who = f"shell:{getpass.getuser()}"
    assert [(one.kind, one.reason, one.by) for one in records if isinstance(one, Person)] == [
        ("suspend", "rude", who),
        ("lift", "sorry", who),
    ]


def test_the_examples_of_the_readme_work_as_they_are_written(run: Shell) -> None:
    """On a fresh install, in their order: those of the section on people, for which nobody need have said anything."""
    _, _, section = (Path(__file__).parents[2] / "README.md").read_text().partition("\n## People\n")
    examples = [
        shlex.split(line)[2:] for line in section.splitlines() if line.startswith("    .venv/bin/gateway people ")
    ]
    assert [one[0] for one in examples] == ["suspend", "search", "lift"]
    for example in examples:
        status, out, complaint = run(*example)
        assert (0, "", True) == (status, complaint, "default/zhang" in out)


def test_what_was_not_done_is_not_told_as_done(run: Shell) -> None:
    """A lift of whoever is not suspended, and what names nobody: both say so, and nobody is known by it afterwards."""
    for action in ("lift", "unban", "unexempt", "show"):
        reason = () if action == "show" else ("--reason", "r")
        status, out, complaint = run(action, "--user", "zoe", *reason)
        assert (1, "", True) == (status, out, "Nobody of the tenant `default` is known as `zoe`." in complaint)
    assert run("search", "zoe")[1] == "nobody\n"
    run("ban", "--user", "zoe", "--tenant", "acme", "--reason", "r")
    assert "of the tenant `acme` somebody is" in run("lift", "--user", "zoe", "--reason", "r")[2]
    status, _, complaint = run("lift", "--user", "zoe", "--tenant", "acme", "--reason", "r")
    assert (1, True) == (status, "is not suspended" in complaint)


def test_the_shell_goes_by_one_name(run: Shell, tmp_path: Path) -> None:
    """In the ban, in the alias, and in every record that the two leave."""
    ban = json.loads(run("ban", "--user", "ann", "--reason", "r", "--json")[1])["person"]["ban"]
    alias = json.loads(run("alias", "annie", "ann", "--reason", "r", "--json")[1])
    [writer] = (tmp_path / "audit").glob("*-cli0")
    records = [decode(row.body) for row in read(writer)]
    named = {one.by for one in records if isinstance(one, Person)}
    named |= {one.admin for one in records if isinstance(one, Admin)}
    assert {ban["made_by"], alias["made_by"], *named} == {f"shell:{getpass.getuser()}"}


def test_a_ban_from_the_shell_is_published(run: Shell, valkey: Path) -> None:
    """The workers' copy is there when the command ends."""
    assert run("ban", "--user", "ann", "--hours", "2", "--reason", "rude")[0] == 0
    with Redis(unix_socket_path=str(valkey)) as client:
        document = client.hget(f"gw:{{{board.PEOPLE}}}", "document")
    assert ANN in json.loads(document or b"")["bans"]
    assert "banned until" in run("search", "ann")[1]
    assert run("unban", ANN, "--reason", "enough")[0] == 0
    assert run("exempt", ANN, "--reason", "red team")[0] == 0
    assert "exempt without an end: red team" in run("show", ANN)[1]
    assert run("unexempt", ANN, "--reason", "over")[0] == 0


def test_aliases_from_the_shell(run: Shell, tmp_path: Path) -> None:
    """One by one, or out of a file; a refused line ends with status 1 and is named."""
    assert run("alias", "annie", "ann", "--reason", "two apps")[0] == 0
    file = tmp_path / "a.csv"
    file.write_text("default,a1,ann\ndefault,a2,annie\n")
    status, out, _ = run("import-aliases", str(file), "--reason", "r")
    assert (1, True, True) == (status, "1 added" in out, "line 2: user: is an alias itself, of `ann`" in out)
    run("suspend", "--user", "ann", "--until-lifted", "--reason", "rude")
    assert f"default/annie  alias of {ANN}  suspended without an end" in run("search", "annie")[1]
    assert run("aliases")[1].count(f"is ann  {ANN}") == 2
    assert "also default/annie" in run("show", "--user", "annie")[1]
    assert run("unalias", person_id("default", "annie"), "--reason", "r")[0] == 0
    assert len(json.loads(run("aliases", "--json")[1])) == 1


@pytest.mark.parametrize(
    ("arguments", "status", "named"),
    [
        (("show", "nobody"), 1, "nobody"),
        (("show",), 1, "id: say an id"),
        (("show", "x", "--user", "y"), 1, "id: say an id"),
        (("lift", "x"), 2, "--reason"),
        (("lift", "x", "--reason", " "), 2, "reason: "),
        (("suspend", "--user", "ann", "--reason", "r"), 1, "hours: "),
        (("suspend", "--user", "ann", "--reason", "r", "--until", "5"), 1, "until: "),
        (("suspend", "--user", "unknown", "--reason", "r", "--hours", "1"), 2, "user: "),
        (("ban", "x", "--reason", "r", "--hours", "0"), 2, "hours: "),
        (("search", "--state", "angry"), 2, "--state"),
        (("search", "--limit", "0"), 2, "limit: "),
        (("alias", "ann", "ann", "--reason", "r"), 1, "alias: "),
        (("unalias", "x", "--reason", "r"), 1, "`x`"),
        (("import-aliases", "/nonexistent", "--reason", "r"), 1, "/nonexistent"),
    ],
)
def test_refusals(run: Shell, arguments: tuple[str, ...], status: int, named: str) -> None:
    """As REST refuses them, naming the field."""
    found, _, complaint = run(*arguments)
    assert (status, True) == (found, named in complaint), complaint


def test_with_the_state_server_away(run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is on record, which is said; a ban is stored, and the workers learn of it later."""
    run("search")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "unix:///nonexistent/socket")
    status, out, _ = run("suspend", "--user", "ann", "--until-lifted", "--reason", "rude")
    assert (0, True) == (status, "as soon as the state server answers" in out)
    status, out, complaint = run("ban", "--user", "ann", "--reason", "rude")
    assert (0, True, True) == (status, "banned" in out, "could not be told" in complaint)


def test_where_no_gateway_was_nothing_is_made(run: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong folder gets no database and no log."""
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "wrong"))
    status, _, complaint = run("search")
    assert (78, True, False) == (
        status,
        "data_dir: no gateway was ever started" in complaint,
        (tmp_path / "wrong").exists(),
    )


def test_what_happened_is_told(run: Shell, tmp_path: Path) -> None:
    """Who, what, until when and why, in the time of Shanghai; on the person's page, too."""
    run("ban", "--user", "ann", "--until", "4000000000", "--reason", "rude\x1b")
    run("unban", ANN, "--reason", "enough")

    async def index() -> None:
        async with sql.opened(Settings(data_dir=tmp_path)) as engine:
            await follow(engine, tmp_path / "audit", Index())

    asyncio.run(index())
    newest, oldest = run("events", "--user", "ann")[1].splitlines()
    assert "ban  until 2096-10-02 15:06:40 +08:00" in oldest
    assert (": rude\ufffd" in oldest, "unban" in newest, ": enough" in newest) == (True, True, True)
    assert newest in run("show", ANN)[1]
    status, out, _ = run("events", ANN, "--limit", "1", "--json")
    page = json.loads(out)
    assert (status, [one["kind"] for one in page["data"]]) == (0, ["unban"])
    assert f"more: --after {page['next']}" in run("events", ANN, "--limit", "1")[1]
    assert "ban  until" in run("events", ANN, "--after", page["next"])[1]
    assert run("events", ANN, "--after", "x")[0] == 2


def test_a_name_does_nothing_to_the_terminal(run: Shell) -> None:
    """Whatever clients call themselves."""
    run("ban", "--user", "a\x1b[31mb\n", "--reason", "r")
    assert "a\ufffd[31mb\ufffd" in run("search", "31mb")[1]
    assert json.loads(run("search", "31mb", "--json")[1])[0]["user"] == "a\x1b[31mb\n"
