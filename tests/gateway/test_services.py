"""What a worker is before it has heard of anything."""

import asyncio
from pathlib import Path

import httpx

from gateway import worker
from gateway.metrics import Metrics
from gateway.services import Services, open_services
from gateway.settings import Settings
from gateway.state import board
from gateway.state.redis import connect


async def test_a_worker_starts_while_redis_hangs(tmp_path: Path) -> None:
    """It serves at once, says that it is not ready, and calls nobody's key wrong."""
    stopped = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stopped.wait()
        del reader
        writer.close()

    server = await asyncio.start_unix_server(hang, tmp_path / "hangs.sock")
    settings = Settings(data_dir=tmp_path, redis_url=f"unix://{tmp_path}/hangs.sock", deployments=())
    sock = worker.listen("127.0.0.1", 0)
    try:
        async with (
            asyncio.timeout(board.START_SECONDS + 20),
            open_services(settings) as services,
            worker.serving(services, sock),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{sock.getsockname()[1]}") as client,
        ):
            assert 200 == (await client.get("/healthz")).status_code
            assert 503 == (await client.get("/readyz")).status_code
            headers = {"authorization": "Bearer sk-gw-0123456789abcdef"}
            response = await client.get("/v1/models", headers=headers)
            assert (503, "starting", "1") == (
                response.status_code,
                response.json()["error"]["code"],
                response.headers["retry-after"],
            )
            stopped.set()
    finally:
        server.close()


class Chain:
    """A log that cannot be written."""

    trouble: str | None = "the disk is full"
    lag_seconds = 2.5

    def append(self, *bodies: bytes) -> int:
        return len(bodies)

    async def durable(self, seq: int) -> None:
        """Never reached."""


async def test_the_metrics_tell_of_the_log(tmp_path: Path) -> None:
    """Whether it can be written, and how long records wait for the disk."""
    settings = Settings(data_dir=tmp_path, deployments=())
    services = Services(settings, connect(settings), Metrics(), Chain())
    services.flush_metrics()
    found = services.metrics.registry.get_sample_value
    assert (found("gateway_audit_unavailable"), found("gateway_audit_settle_lag_seconds")) == (1.0, 2.5)
    services.upstream.close()
