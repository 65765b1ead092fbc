"""Reports over a real socket."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from backends.endpoint import Endpoint, ReplicaState
from backends.errors import NoReplica
from backends.pool import Pool
from backends.traffic import Reports
from backends.upstream import Upstream
from gateway import reports as module
from gateway.reports import heard, report, reports_path
from gateway.state.redis import SOCKET_PATH_LIMIT
from gateway.tasks import running
from tests.backends.running import eventually


def endpoint(state: str = "ready", *, wakes: bool = False) -> Endpoint:
    return Endpoint(
        replica="m#0",
        model="m",
        engine="vllm",
        served_name="m",
        host="127.0.0.1",
        port=1,
        state=ReplicaState(state),
        since=float(len(state)),
        wakes=wakes,
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
