"""Processes killed in the middle of streams: nothing that a client saw the end of is lost, no strike lost or doubled.

`GATEWAY_TEST_KILLS` (how often each is killed) and `GATEWAY_TEST_STREAMS` (how many run then); `make test-kills` has
the full numbers.
"""

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.people.directory import person_id
from gateway.people.ledger import Incomplete, Ledger
from gateway.people.recorded import Events
from gateway.people.replay import replayed
from gateway.people.rules import Strikes
from gateway.state.redis import socket_path
from tests import tiny_gguf
from tests.e2e.conftest import CLIENT_KEY, Stack, again, publish_word, shell, start, stop, wait_until_ready

WORD = "紫色大象"
KILLS = int(os.environ.get("GATEWAY_TEST_KILLS", "2"))
STREAMS = int(os.environ.get("GATEWAY_TEST_STREAMS", "100"))
ONE_IN = 5
"""Streams of which one asks for what is refused."""
LONGEST_SECONDS = 60.0
SETTLED_SECONDS = 40.0
"""For what was killed to be found in the log: a turn without an end is waited for some looks."""
ID = re.compile(rb"x-content-id: ([0-9a-f]+)\r\n")


@dataclass
class Seen:
    """What the clients saw, over all storms."""

    ended: set[str] = field(default_factory=set)
    """Content ids of the answers whose end came."""
    refused: set[str] = field(default_factory=set)
    """People who read a refusal to its end."""
    asked: set[str] = field(default_factory=set)
    """People who asked for what is refused, whatever they read."""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Stack]:
    model = tiny_gguf.write(tmp_path / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(model), "max_model_len": 512, "parallel": 4}
    stack = start(tmp_path, {"deployments": [deployment]}, GATEWAY_WORKERS="2")
    publish_word(stack, WORD)
    yield stack
    stop(stack)


async def stream(stack: Stack, user: str, text: str, seen: Seen) -> None:
    """Stream one answer on a connection of its own, and note what was seen of it."""
    body = {"model": "tiny", "stream": True, "max_tokens": 20, "user": user}
    body["messages"] = [{"role": "user", "content": text}]
    data = json.dumps(body).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
    head += f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
    answer = b""
    with contextlib.suppress(ConnectionError):  # the worker was killed
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                writer.write(head.encode() + data)
                while piece := await reader.read(1 << 16):
                    answer += piece
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    if b"data: [DONE]" in answer and (named := ID.search(answer)) is not None:
        seen.ended.add(named[1].decode())
        if b"content_filter" in answer:
            seen.refused.add(user)


async def storm(stack: Stack, number: int, kill: Callable[[], None], seen: Seen) -> None:
    """Run all streams at once, and kill in the middle of them. Everybody is somebody else, and asks something else."""
    tasks = []
    for n in range(STREAMS):
        user, bad = f"storm-{number}-{n}", n % ONE_IN == 0
        text = f"怎样偷走{WORD}，第{number}之{n}次" if bad else "你好"
        if bad:
            seen.asked.add(user)
        tasks.append(asyncio.create_task(stream(stack, user, text, seen)))
    await asyncio.sleep(random.uniform(0.05, 0.6))  # noqa: S311 - any moment will do
    kill()
    await asyncio.gather(*tasks)


def children(pid: int, part: str) -> list[int]:
    """Return the direct children of *pid* whose command line names *part*."""
    tasks = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(task) for task in tasks if part in Path(f"/proc/{task}/cmdline").read_text()]


def killing(stack: Stack, part: str) -> None:
    """Kill a child of the gateway, or with no *part* the gateway itself, whose children die with it."""
    pid = children(stack.process.pid, part)[0] if part else stack.process.pid
    os.kill(pid, signal.SIGKILL)


async def standings(stack: Stack) -> dict[str, tuple[int, int]]:
    """Return row and day of everybody on record, as Redis has them, and as a replay of the log gives them."""
    data = Path(stack.environment["GATEWAY_DATA_DIR"])
    events = Events(data / "audit")
    await asyncio.to_thread(events.read)
    found = {}
    async with contextlib.aclosing(Redis.from_url(f"unix://{socket_path(data)}")) as redis:
        ledger = Ledger(redis, Strikes().rule())
        for person, said in events.people.items():
            counted = await ledger.look(person)
            assert counted.state.row == replayed(said, ledger.rule).state.row
            found[person] = counted.state.row, counted.state.today
    return found


async def settled(stack: Stack, seen: Seen) -> dict[str, tuple[int, int]]:
    """Return everybody's row and day once the standings are what the log gives."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        try:
            found = await standings(stack)
            assert {person_id("default", user) for user in seen.refused} <= found.keys()
        except (AssertionError, OSError, RedisError, Incomplete):
            if time.monotonic() > deadline:
                raise
        else:
            return found
        await asyncio.sleep(0.5)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", ["gateway.worker", "valkey-server", ""], ids=["worker", "valkey", "gateway"])
def test_kills_lose_nothing(gateway: Stack, part: str) -> None:
    """Every end that was seen has both records, each violation on record is one strike, the chain verifies."""
    seen = Seen()
    for number in range(KILLS):
        asyncio.run(storm(gateway, number, lambda: killing(gateway, part), seen))
        if not part:
            gateway.process.wait(60)
            again(gateway)
        wait_until_ready(gateway, LONGEST_SECONDS)
        while part and not children(gateway.process.pid, part):  # `pytest-timeout` bounds it
            time.sleep(0.1)
    counted = asyncio.run(settled(gateway, seen))
    assert seen.ended
    assert seen.refused
    assert set(counted.values()) <= {(1, 1)}
    assert counted.keys() <= {person_id("default", user) for user in seen.asked}
    verified = shell(gateway, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    folder = Path(gateway.environment["GATEWAY_DATA_DIR"]) / "audit"
    log = b"".join(path.read_bytes() for path in folder.glob("*-w*/*.seg*"))
    assert not [one for one in seen.ended if log.count(f'"id":"{one}"'.encode()) < 2]
