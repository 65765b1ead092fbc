"""Messages reach their receivers, whatever those do."""

import asyncio
import base64
import hmac
import json
import logging
import sys
import time
from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.review_metrics import ReviewMetrics
from gateway.settings import Settings
from gateway.state import sql
from gateway.tasks import ended
from gateway.webhooks import deliverer as module
from gateway.webhooks.deliverer import Deliverer
from gateway.webhooks.outbox import CLAIM_SECONDS, Outbox
from gateway.webhooks.rules import Webhook
from tests.gateway.webhooks.conftest import SECRET, Receiver, message, queue


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    async with sql.opened(Settings(data_dir=tmp_path)) as opened:
        yield opened


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as made:
        yield made


def deliverer(engine: AsyncEngine, clock: Clock, *hooks: Webhook) -> Deliverer:
    return Deliverer(engine, hooks, ReviewMetrics(), clock)


def verified(headers: dict[str, str], body: bytes) -> bool:
    """Check a signature as a receiver does, by the scheme's own words."""
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    made = base64.b64encode(hmac.new(key, signed, sha256).digest()).decode()
    return headers["webhook-signature"] == f"v1,{made}"


async def test_a_receiver_that_fails_twice_gets_it_at_the_third_try(
    engine: AsyncEngine, hook: Webhook, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    """The same id and body each time, a new timestamp, a signature that fits."""
    await queue(engine, hook, message(990, user="张三"), now=1_000)
    clock = Clock()
    delivering = deliverer(engine, clock, hook)
    receiver.script = [500, 429]
    tries = []
    for seconds in (0, 3, 3, 15, 10):
        clock.now += seconds
        tries.append(await delivering.step(hook, client))
    assert [1, 0, 1, 0, 1] == tries
    assert 3 == len(receiver.got)
    assert all(verified(*one) for one in receiver.got)
    assert {"evt_990"} == {headers["webhook-id"] for headers, _ in receiver.got}
    assert ["1000", "1006", "1031"] == [headers["webhook-timestamp"] for headers, _ in receiver.got]
    told = json.loads(receiver.got[2][1])
    assert (told["id"], told["type"], told["user"], told["until"]) == ("evt_990", "person.suspended", "张三", 87_390)
    [row] = await Outbox(engine).page(9, 0)
    assert (row["status"], row["attempts"], row["finished_at"], row["last_error"]) == ("delivered", 3, 1_031, "")


async def test_a_receiver_that_hangs_is_left(
    engine: AsyncEngine, hook: Webhook, receiver: Receiver, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In time; it is tried again."""
    monkeypatch.setattr(module, "ATTEMPT_SECONDS", 0.2)
    await queue(engine, hook, message(1), now=1_000)
    receiver.script = [None]
    began = time.monotonic()
    clock = Clock()
    assert 1 == await deliverer(engine, clock, hook).step(hook, client)
    assert time.monotonic() - began < 5
    [row] = await Outbox(engine).page(9, 0)
    assert (row["status"], row["last_error"]) == ("pending", "no answer within 0.2 s")
    assert 1_004 <= row["next_at"] <= 1_006


async def test_one_that_hangs_holds_up_no_other(engine: AsyncEngine, hook: Webhook, receiver: Receiver) -> None:
    """Each receiver has a task of its own."""
    hanging = Receiver()
    hanging.script = [None] * 9
    server = await asyncio.start_server(hanging.serve, "127.0.0.1", 0)
    hanging.port = server.sockets[0].getsockname()[1]
    stuck = Webhook(url=hanging.url, secret=SECRET)  # type: ignore[arg-type]
    for one in (stuck, hook):
        await queue(engine, one, *(message(n, f"p{n}") for n in range(6)), now=1_000)
    task = asyncio.create_task(deliverer(engine, Clock(), stuck, hook).run())
    async with asyncio.timeout(8):
        while len(receiver.got) < 6:
            await asyncio.sleep(0.01)
    assert module.AT_ONCE == len(hanging.got)
    await ended([task])
    server.close()


@pytest.mark.parametrize("status", [301, 307, 400, 410, 503])
async def test_only_success_is_success(
    engine: AsyncEngine, hook: Webhook, receiver: Receiver, client: httpx.AsyncClient, status: int
) -> None:
    """A redirect is not followed: it would take the message elsewhere."""
    await queue(engine, hook, message(1), now=1_000)
    receiver.script = [status]
    await deliverer(engine, Clock(), hook).step(hook, client)
    [row] = await Outbox(engine).page(9, 0)
    assert ("pending", f"status {status}", 1) == (row["status"], row["last_error"], len(receiver.got))


async def test_a_receiver_that_is_away_is_given_up_in_the_end(
    engine: AsyncEngine, client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    """After three days; the URL, which may hold a secret, is in no row and no line of the log."""
    clock = Clock()
    away = Webhook(url="http://127.0.0.1:9/hook?token=secret-of-the-url", secret=SECRET)  # type: ignore[arg-type]
    await queue(engine, away, message(1), now=1_000)
    delivering, tries = deliverer(engine, clock, away), 0
    with caplog.at_level(logging.WARNING):
        while (await Outbox(engine).counts(away.id))[0]:
            tries += await delivering.step(away, client)
            clock.now += 3_600
    assert 10 <= tries <= 25
    [row] = await Outbox(engine).page(9, 0)
    assert (row["status"], row["attempts"], row["last_error"]) == ("failed", tries, "ConnectError")
    assert 2.5 < (clock.now - 1_000) / 86_400 < 3.2
    await delivering.count()
    labels = {"receiver": "http://127.0.0.1:9"}
    registry = delivering.metrics.registry
    names = ("gateway_webhooks_pending", "gateway_webhooks_failed")
    assert [0, 1] == [registry.get_sample_value(name, labels) for name in names]
    assert "secret-of-the-url" not in caplog.text + str(row)


async def test_a_process_that_is_killed_while_it_delivers(
    engine: AsyncEngine, hook: Webhook, receiver: Receiver, client: httpx.AsyncClient
) -> None:
    """Another takes the message up a minute later: it arrives at least once, with the same id."""
    await queue(engine, hook, message(1), now=1_000)
    clock = Clock()
    receiver.script = [None]
    killed = asyncio.create_task(deliverer(engine, clock, hook).step(hook, client))
    async with asyncio.timeout(30):
        await receiver.arrived.wait()
    killed.cancel()
    await asyncio.gather(killed, return_exceptions=True)
    other = deliverer(engine, clock, hook)
    assert 0 == await other.step(hook, client)
    clock.now += CLAIM_SECONDS + 1
    assert 1 == await other.step(hook, client)
    assert ["evt_1", "evt_1"] == [headers["webhook-id"] for headers, _ in receiver.got]
    assert ["delivered"] == [row["status"] for row in await Outbox(engine).page(9, 0)]


KILLED = """
import asyncio, sys
from pathlib import Path
from gateway.review_metrics import ReviewMetrics
from gateway.settings import Settings
from gateway.state import sql
from gateway.webhooks.deliverer import Deliverer
from tests.gateway.webhooks.conftest import SECRET, message, queue
from gateway.webhooks.rules import Webhook

async def main():
    hook = Webhook(url=sys.argv[2], secret=SECRET)
    async with sql.opened(Settings(data_dir=Path(sys.argv[1]))) as engine:
        await queue(engine, hook, message(int(sys.argv[3])), now=int(sys.argv[3]))
        await Deliverer(engine, [hook], ReviewMetrics()).run()

asyncio.run(main())
"""


async def test_kill_9_between_the_claim_and_the_answer(
    engine: AsyncEngine, hook: Webhook, receiver: Receiver, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    """A real process, killed while its receiver hangs: the next one has the message, in time."""
    receiver.script = [None]
    now = int(time.time())
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), receiver.url, str(now)]
    process = await asyncio.create_subprocess_exec(*arguments)
    try:
        async with asyncio.timeout(30):
            await receiver.arrived.wait()
    finally:
        process.kill()
        await process.wait()
    clock = Clock()
    clock.now = time.time()
    assert 0 == await deliverer(engine, clock, hook).step(hook, client)
    clock.now += CLAIM_SECONDS + 1
    assert 1 == await deliverer(engine, clock, hook).step(hook, client)
    [row] = await Outbox(engine).page(9, 0)
    assert ("delivered", 2) == (row["status"], row["attempts"])
    assert 1 == len({headers["webhook-id"] for headers, _ in receiver.got})


async def test_a_poke_is_heard_at_once(
    engine: AsyncEngine, hook: Webhook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was queued leaves without waiting for the next look."""
    monkeypatch.setattr(module, "LOOK_SECONDS", 60.0)
    delivering = deliverer(engine, Clock(), hook)
    task = asyncio.create_task(delivering.run())
    await asyncio.sleep(0.2)
    await queue(engine, hook, message(1), now=1_000)
    delivering.poke()
    async with asyncio.timeout(30):
        await receiver.arrived.wait()
    await ended([task])
