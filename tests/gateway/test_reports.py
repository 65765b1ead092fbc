"""Reports over a real socket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from backends.endpoint import Endpoint, ReplicaState
from backends.errors import NoReplica
from backends.load import Ask
from backends.pool import Pool, Waiting
from backends.traffic import Reports
from backends.upstream import Upstream
from gateway import reports as module
from gateway.reports import heard, report, reports_path
from gateway.state.redis import SOCKET_PATH_LIMIT
from gateway.tasks import running
from tests.backends.running import eventually


def endpoint(state: str = "ready", replica: str = "m#0", **fields: Any) -> Endpoint:
    known = {"since": float(len(state)), **fields}
    return Endpoint(
        replica=replica,
        model="m",
        engine="vllm",
        served_name="m",
        host="127.0.0.1",
        port=1,
        state=ReplicaState(state),
        **known,
    )


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    monkeypatch.setattr(module, "REPORT_SECONDS", 0.02)
    made = Pool(Upstream())
    yield made
    made.upstream.close()


async def test_a_drain_is_seen(pool: Pool, tmp_path: Path) -> None:
    """Busy while it may be asked, and while a request runs; not afterwards."""
    path, reports = tmp_path / "s" / "desk.sock", Reports(1)
    pool.update([endpoint()])
    async with heard(path, reports), running(asyncio.create_task(report(path, pool))):
        lease = await pool.lease("m")
        await eventually(lambda: reports.activity("m#0") == (1, 1))
        await eventually(lambda: (reports.silence("m#0") or 0) > 0.05)
        pool.update([endpoint("draining")])
        await asyncio.sleep(0.1)
        assert reports.busy("m#0")
        async with lease:
            pass
        await eventually(lambda: not reports.busy("m#0", float(len("draining"))))
        assert reports.busy("m#0", 1.0)
        assert reports.silence("m#0") is None
    assert reports.busy("m#0")  # nobody reports any more


def lingering(since: float = 1.0, **fields: Any) -> Endpoint:
    """A replica that was ordered to drain."""
    return endpoint("draining", lingers=True, since=since, **fields)


@pytest.fixture
async def workers(tmp_path: Path) -> AsyncIterator[tuple[Reports, list[Pool]]]:
    """What two workers report, each with a replica that is ready."""
    path, reports = tmp_path / "desk.sock", Reports(2)
    pools = [Pool(Upstream(), waiting=Waiting(8, 30.0)) for _ in range(2)]
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(heard(path, reports))
        for pool in pools:
            pool.update([endpoint()])
            await stack.enter_async_context(running(asyncio.create_task(report(path, pool))))
        yield reports, pools
    for pool in pools:
        pool.upstream.close()


async def over(reports: Reports, since: float = 1.0, seconds: float = 0.4) -> bool:
    """Return whether the drain has ended within *seconds*."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while reports.busy("m#0", since):
                await asyncio.sleep(0.02)
            return True
    return False


async def test_a_drain_ends_when_every_worker_has_let_go(workers: tuple[Reports, list[Pool]]) -> None:
    """One that has not heard of it counts as one that still has something there; no report is waited for."""
    reports, pools = workers
    pools[0].update([lingering()])
    assert not await over(reports)
    pools[1].update([lingering()])
    assert await over(reports, seconds=0.3)


async def test_a_running_request_is_waited_for(workers: tuple[Reports, list[Pool]]) -> None:
    reports, pools = workers
    async with await pools[1].lease("m"):
        for pool in pools:
            pool.update([lingering()])
        assert not await over(reports)
        with pytest.raises(NoReplica):
            await pools[1].lease("m")
    assert await over(reports)


async def test_who_waits_already_is_served_by_the_last_replica(workers: tuple[Reports, list[Pool]]) -> None:
    """It drains, nothing else is ready, and nobody is turned away who had come before."""
    reports, pools = workers
    pools[0].update([endpoint(slots=1)])
    first = await pools[0].lease("m", Ask(1, "a"))
    waiting = asyncio.create_task(pools[0].lease("m", Ask(1, "b")))
    await asyncio.sleep(0)
    for pool in pools:
        pool.update([lingering(slots=1)])
    async with first:
        assert not await over(reports)
    async with await waiting as second:
        assert second.endpoint.replica == "m#0"
        assert not await over(reports)
    assert await over(reports)


async def test_nothing_comes_back_to_what_was_let_go(workers: tuple[Reports, list[Pool]]) -> None:
    """Even where the others are lost meanwhile, and somebody waits: the engine may be ending already."""
    reports, pools = workers
    for pool in pools:
        pool.update([lingering(), endpoint(replica="m#1", slots=1)])
    assert await over(reports)
    async with await pools[0].lease("m"):
        waiting = asyncio.create_task(pools[0].lease("m"))
        await asyncio.sleep(0)
        pools[0].update([lingering(), endpoint("starting", "m#1", slots=1)])
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert pools[0].in_flight["m#0"] == 0
    waiting.cancel()


async def test_a_replica_drains_again(workers: tuple[Reports, list[Pool]]) -> None:
    """What was said of a drain before is not taken for the next one."""
    reports, pools = workers
    for pool in pools:
        pool.update([lingering()])
    assert await over(reports)
    for pool in pools:
        pool.update([endpoint()])
    async with await pools[0].lease("m"):
        for pool in pools:
            pool.update([lingering(2.0)])
        assert not await over(reports, 2.0)
    assert await over(reports, 2.0)


async def test_a_model_that_is_wanted_is_said_at_once(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the next report; who waits is served when it is ready, or told when it is not to be."""
    monkeypatch.setattr(module, "REPORT_SECONDS", 60)
    path, reports = tmp_path / "desk.sock", Reports(1)
    pool.update([endpoint("stopped", wakes=True)])
    async with heard(path, reports), running(asyncio.create_task(report(path, pool))):
        await eventually(lambda: not reports.busy("m#0"))
        waiting = [asyncio.create_task(pool.lease("m")) for _ in range(2)]
        await asyncio.wait_for(reports.came.wait(), 5)
        assert reports.wanted() == {"m"}
        pool.update([endpoint("starting", wakes=True)])
        pool.update([endpoint("ready")])
        for lease in await asyncio.gather(*waiting):
            async with lease:
                pass
        pool.update([endpoint("stopped", wakes=True)])
        late = asyncio.create_task(pool.lease("m"))
        await asyncio.sleep(0)
        pool.update([endpoint("failed")])
        with pytest.raises(NoReplica, match="failed"):
            await late


async def test_the_next_control_process_is_found(pool: Pool, tmp_path: Path) -> None:
    """A worker connects again by itself; one that speaks nonsense is cut off."""
    path, reports = tmp_path / "desk.sock", Reports(1)
    pool.update([endpoint("draining")])
    async with running(asyncio.create_task(report(path, pool))):
        for _ in range(2):
            async with heard(path, reports):
                await eventually(lambda: not reports.busy("m#0"))
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(b"{}\n")
                assert await asyncio.wait_for(reader.read(), 5) == b""
                writer.close()
            await eventually(lambda: reports.busy("m#0"))


def test_the_path_is_short(tmp_path: Path) -> None:
    """However long that of the data directory is."""
    for folder in (tmp_path, tmp_path / ("long" * 30)):
        assert len(str(reports_path(folder))) <= SOCKET_PATH_LIMIT
