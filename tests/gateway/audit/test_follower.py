"""From the log into a real database: each record once, whatever goes wrong between."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.audit import follower
from gateway.audit.entries import Accepted, Admin, AnyRecord, Finished, Text, encode
from gateway.audit.follower import Follower, Moved, Unreadable
from gateway.audit.heads import Signer
from gateway.audit.index import Index
from gateway.audit.retention import drop
from gateway.audit.segments import segment, segments
from gateway.audit.sinks import Heard, Sink
from gateway.audit.tables import audit_cursors, audit_events, audit_turns
from gateway.audit.writer import Writer, open_writer
from gateway.metrics import AuditMetrics
from gateway.settings import Settings

Opened = Callable[..., Writer]
NOW = time.time_ns() // 1_000_000


def accepted(name: str, at: int = NOW) -> Accepted:
    return Accepted(at=at, id=name, route="chat", key="k", person="p", words=Text(2, "aa", "你好"))


def finished(name: str, at: int = NOW) -> Finished:
    return Finished(at=at, id=name, outcome="ok", status=200)


def write(writer: Writer, *records: AnyRecord) -> None:
    """Put records on record and on the disk."""
    writer.append(*map(encode, records))
    writer.sync()


async def rows(engine: AsyncEngine) -> list[tuple[str, str | None]]:
    async with engine.connect() as connection:
        query = select(audit_turns.c.id, audit_turns.c.outcome).order_by(audit_turns.c.number)
        return [(row[0], row[1]) for row in (await connection.execute(query)).all()]


async def caught_up(one: Follower) -> None:
    while await one.step():
        pass


class Failing:
    """A sink that has the database fail, or notes what it is given."""

    def __init__(self) -> None:
        self.away = False
        self.heard: list[Heard] = []

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        if self.away:
            await connection.execute(text("SELECT * FROM nothing_of_that_name"))
        self.heard += heard


async def test_each_record_is_taken_once(engine: AsyncEngine, root: Path, opened: Opened) -> None:
    """Also by a follower that is started anew, and from several writers."""
    one, two = opened(), opened()
    write(one, accepted("a"), finished("a"), accepted("b"))
    write(two, accepted("c"), finished("c"))
    await caught_up(Follower(engine, root, [Index()]))
    assert sorted(await rows(engine)) == [("a", "ok"), ("b", None), ("c", "ok")]
    write(one, finished("b"))
    again = Follower(engine, root, [Index()])
    await caught_up(again)
    await caught_up(again)
    assert sorted(await rows(engine)) == [("a", "ok"), ("b", "ok"), ("c", "ok")]


async def test_what_is_not_safe_on_the_disk_waits(
    engine: AsyncEngine, root: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut must not leave rows that the log has not."""
    writer = opened()
    write(writer, accepted("a"))
    before = follower.settled(writer.slot.directory)
    write(writer, accepted("b"))
    monkeypatch.setattr(follower, "settled", {writer.slot.directory: before}.get)
    await caught_up(Follower(engine, root, [Index()]))
    assert await rows(engine) == [("a", None)]


async def test_parts_are_bounded(
    engine: AsyncEngine, root: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is; over the ends of segments."""
    monkeypatch.setattr(follower, "MOST_RECORDS", 3)
    writer = opened(segment_bytes=1024)
    for i in range(20):
        write(writer, accepted(f"t{i}"))
    assert len(segments(writer.slot.directory)) > 2
    sink = Failing()
    one = Follower(engine, root, [Index(), sink])
    assert await one.step()
    assert len(sink.heard) == 3
    await caught_up(one)
    assert [name for name, _ in await rows(engine)] == [f"t{i}" for i in range(20)]
    assert [heard.seq for heard in sink.heard] == list(range(1, writer.head.seq + 1))


async def test_it_says_whether_it_has_caught_up(
    engine: AsyncEngine, root: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not while there is more to read, nor without a look that ended well."""
    monkeypatch.setattr(follower, "MOST_RECORDS", 1)
    write(opened(), accepted("a"), accepted("b"))
    now, sink = [time.time()], Failing()
    one = Follower(engine, root, [sink], clock=lambda: now[0])
    assert (await one.step(), one.caught_up) == (True, False)
    await caught_up(one)
    assert one.caught_up
    now[0] += follower.STALE_SECONDS
    assert not one.caught_up
    await one.step()
    assert one.caught_up


async def test_a_failing_database_is_told_once_and_caught_up_with(
    engine: AsyncEngine, root: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log goes on meanwhile; what a failed transaction did is not there; the lag shows."""
    monkeypatch.setattr(follower, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(follower, "LOOK_SECONDS", 0.01)
    sink, metrics = Failing(), CollectorRegistry()
    one = Follower(engine, root, [Index(), sink], AuditMetrics(metrics))
    writer = opened()
    writer.sync()
    await caught_up(one)
    sink.away = True
    write(writer, accepted("a", NOW - 60_000))
    running = asyncio.create_task(one.run())
    await asyncio.sleep(0.3)
    assert await rows(engine) == []
    lag = metrics.get_sample_value("gateway_audit_index_lag_seconds")
    assert lag is not None
    assert lag > 59
    assert metrics.get_sample_value("gateway_audit_index_behind_records") == 1
    write(writer, finished("a"))
    sink.away = False
    async with asyncio.timeout(30):
        while len(sink.heard) < 3 or metrics.get_sample_value("gateway_audit_index_lag_seconds"):
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await rows(engine) == [("a", "ok")]
    assert metrics.get_sample_value("gateway_audit_index_behind_records") == 0
    told = [record.getMessage() for record in caplog.records if "the index can" in record.getMessage()]
    assert [("cannot" in line) for line in told] == [True, False]


async def test_two_followers_of_one_log_do_not_double_it(engine: AsyncEngine, root: Path, opened: Opened) -> None:
    """A process that was killed may have committed after its successor has read the cursors."""
    writer = opened()
    write(writer, accepted("a"))
    one, two = Follower(engine, root, [Index()]), Follower(engine, root, [Index()])
    await caught_up(one)
    await caught_up(two)
    write(writer, accepted("b"))
    await caught_up(one)
    with pytest.raises(Moved):
        await two.step()
    await caught_up(two)
    assert await rows(engine) == [("a", None), ("b", None)]


async def test_nodes_share_a_database(engine: AsyncEngine, tmp_path: Path) -> None:
    """Each reads its own log; writers have the name of their node."""
    roots = [tmp_path / name for name in ("n1", "n2")]
    for root in roots:
        writer = open_writer(root, "w")
        write(writer, *(record for i in range(5) for record in (accepted(f"{root.name}-{i}"),)))
        writer.close()
    followers = [Follower(engine, root, [Index()]) for root in roots]
    if engine.dialect.name == "sqlite":
        for one in followers:
            await caught_up(one)
    else:
        await asyncio.gather(*map(caught_up, followers))
    assert len(set(await rows(engine))) == 10
    async with engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(audit_cursors))).scalar() == 2


async def test_it_goes_on_behind_a_record_that_was_changed(engine: AsyncEngine, root: Path, opened: Opened) -> None:
    """It is not believed; the next one is."""
    writer, metrics = opened(), CollectorRegistry()
    write(writer, accepted("a"), accepted("b"), accepted("c"))
    path = segment(writer.slot.directory, 1)
    path.write_bytes(path.read_bytes().replace(b'"id":"b"', b'"id":"x"'))
    await caught_up(Follower(engine, root, [Index()], AuditMetrics(metrics)))
    assert [name for name, _ in await rows(engine)] == ["a", "c"]
    assert metrics.get_sample_value("gateway_audit_index_holes_total") == 1


async def test_it_goes_on_behind_a_segment_that_is_gone(
    engine: AsyncEngine, root: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """The next segment is read; the hole is told once."""
    writer = opened(segment_bytes=1024)
    one = Follower(engine, root, [Index()])
    for i in range(5):
        write(writer, accepted(f"t{i}"))
    await caught_up(one)
    for i in range(5, 30):
        write(writer, accepted(f"t{i}"))
    gone, kept = segments(writer.slot.directory)[2:4]
    segment(writer.slot.directory, gone).unlink()
    await caught_up(one)
    names = [name for name, _ in await rows(engine)]
    assert (names[:5], names[-1]) == ([f"t{i}" for i in range(5)], "t29")
    assert len(names) == len(set(names)) < 30
    assert len([record for record in caplog.records if "hole" in record.getMessage()]) == 1
    assert kept


async def test_an_end_that_was_cut_off_holds_up_nothing(engine: AsyncEngine, root: Path, opened: Opened) -> None:
    """The records that came in its place while nobody looked are a hole; those that follow are read."""
    writer = opened()
    write(writer, accepted("a"), accepted("b"), accepted("c"))
    one = Follower(engine, root, [Index()])
    await caught_up(one)
    writer.close()
    path = segment(writer.slot.directory, 1)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    writer = open_writer(root, "w")
    try:
        write(writer, accepted("d"))
        await caught_up(one)
        write(writer, accepted("e"))
        await caught_up(one)
    finally:
        writer.close()
    assert [name for name, _ in await rows(engine)][-1] == "e"


async def test_a_log_whose_begin_was_dropped_is_read_from_there(
    engine: AsyncEngine, root: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    """That is no hole."""
    writer = opened(segment_bytes=1024)
    for i in range(20):
        write(writer, accepted(f"t{i}"))
    found = drop(writer.slot.directory, time.time() + 60, Signer(b"k" * 32))
    assert found is not None
    await caught_up(Follower(engine, root, [Index()]))
    assert [name for name, _ in await rows(engine)][-1] == "t19"
    assert caplog.records == []


async def test_a_record_of_another_version_is_passed_over(engine: AsyncEngine, root: Path, opened: Opened) -> None:
    """It is counted, and the others are taken."""
    writer, metrics = opened(), CollectorRegistry()
    writer.append(b'{"t":"of tomorrow","at":1}', encode(accepted("a")))
    writer.sync()
    await caught_up(Follower(engine, root, [Index()], AuditMetrics(metrics)))
    assert await rows(engine) == [("a", None)]
    assert metrics.get_sample_value("gateway_audit_index_holes_total") == 1


def test_parts_are_as_long_as_the_database_takes_in_time() -> None:
    """A slow one is not asked for the same again and again."""
    assert follower.suited(2000, 60.0) == 500
    assert follower.suited(100, 60.0) == follower.FEWEST_RECORDS
    assert follower.suited(500, 3.0) == 500
    assert follower.suited(500, 0.1) == 1000
    assert follower.suited(2000, 0.1) == follower.MOST_RECORDS


async def test_a_part_that_takes_too_long_is_tried_shorter(
    engine: AsyncEngine, root: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index comes forward however slow the database is."""
    monkeypatch.setattr(follower, "COMMIT_SECONDS", 0.5)
    monkeypatch.setattr(follower, "SLOW_SECONDS", 0.4)
    monkeypatch.setattr(follower, "FEWEST_RECORDS", 1)
    monkeypatch.setattr(follower, "MOST_RECORDS", 100)

    class Slow:
        async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
            del connection
            await asyncio.sleep(0.01 * len(heard))

    writer = opened()
    write(writer, *(accepted(f"t{i}") for i in range(150)))
    one = Follower(engine, root, [Slow(), Index()])
    with pytest.raises(TimeoutError):
        await one.step()
    assert await rows(engine) == []
    await caught_up(one)
    assert len(await rows(engine)) == 150


async def test_a_writer_that_cannot_be_read_holds_up_no_other(engine: AsyncEngine, root: Path, opened: Opened) -> None:
    """It is told of, and taken up as soon as it can be read."""
    one, two = opened(), opened()
    write(one, accepted("a"))
    write(two, accepted("b"))
    path = segment(one.slot.directory, 1)
    aside = path.rename(path.with_suffix(".aside"))
    path.mkdir()
    following = Follower(engine, root, [Index()])
    with pytest.raises(Unreadable, match=one.slot.name):
        await following.step()
    assert await rows(engine) == [("b", None)]
    path.rmdir()
    aside.rename(path)
    await caught_up(following)
    assert await rows(engine) == [("b", None), ("a", None)]


CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.audit import follower
from gateway.audit.index import Index
from gateway.settings import Settings
from gateway.state import sql
follower.MOST_RECORDS = 7
follower.LOOK_SECONDS = 0.001

async def main():
    settings = Settings(data_dir=Path(sys.argv[1]), database_url=sys.argv[2] or None)
    async with sql.opened(settings) as engine:
        await follower.Follower(engine, settings.data_dir / "audit", [Index()]).run()

asyncio.run(main())
"""


async def test_kills_lose_and_double_nothing(
    engine: AsyncEngine, database: Settings, root: Path, opened: Opened
) -> None:
    """kill -9 at any moment, again and again."""
    writer = opened()
    total = 0
    for pause in (0.0, 0.02, 0.05, 0.1):
        for _ in range(200):
            total += 1
            writer.append(encode(accepted(f"t{total}")), encode(finished(f"t{total}")))
            writer.append(encode(Admin(at=NOW, admin="a", action="x", target=str(total))))
        writer.sync()
        argv = [sys.executable, "-c", CHILD, str(database.data_dir), database.database_url or ""]
        with subprocess.Popen(argv) as child:
            before = len(await rows(engine))
            async with asyncio.timeout(30):
                while len(await rows(engine)) == before:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(pause)
            os.kill(child.pid, signal.SIGKILL)
    await caught_up(Follower(engine, root, [Index()]))
    found = await rows(engine)
    assert sorted(found) == sorted((f"t{i}", "ok") for i in range(1, total + 1))
    async with engine.connect() as connection:
        targets = (await connection.execute(select(audit_events.c.target))).scalars().all()
    assert sorted(targets, key=int) == [str(i) for i in range(1, total + 1)]


def test_a_sink_is_what_the_door_asks_for() -> None:
    """The index fits the port."""
    sink: Sink = Index()
    assert sink


async def test_lost_connections_are_made_anew(
    engine: AsyncEngine, root: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database server that is started again ends them all."""
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite has no connections to lose")
    monkeypatch.setattr(follower, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(follower, "LOOK_SECONDS", 0.01)
    writer, ended = opened(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    running = asyncio.create_task(Follower(engine, root, [Index()]).run())
    other = create_async_engine(engine.url)
    for i in range(5):
        write(writer, accepted(f"t{i}"), finished(f"t{i}"))
        async with other.connect() as connection:
            await connection.execute(text(f"{ended} AND datname = current_database()"))
        await asyncio.sleep(0.05)
    async with asyncio.timeout(20):
        while len(await rows(other)) < 5:
            await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await other.dispose()
    await engine.dispose()
    assert await rows(engine) == [(f"t{i}", "ok") for i in range(5)]
