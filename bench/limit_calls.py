"""Measure one call for a turn's rate limits alone: CPU of the worker and of Valkey, with redis-py's way beside it.

python bench/limit_calls.py
"""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from redis.asyncio import Redis

from gateway.limits.meter import SCRIPT, Meter
from gateway.serve import _answers
from gateway.state.redis import embedded_binary, embedded_command
from policies.rates import Charge

CALLS = 4_000
CALLERS = (1, 8, 64)
MANY = 10**9
CHARGES = [
    Charge(f"gw:{{limits:acme}}:{what}:{whose}", MANY, amount)
    for whose in ("key:k", "person:p")
    for what, amount in (("requests", 1), ("tokens", 600))
]


async def measure(redis: Redis, callers: int, call: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Return µs of CPU a call, of this process and of the server."""

    async def caller() -> None:
        for _ in range(CALLS // callers):
            await call()

    await call()
    before, began = await server_seconds(redis), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    mine = time.process_time() - began
    return mine / CALLS * 1e6, (await server_seconds(redis) - before) / CALLS * 1e6


async def server_seconds(redis: Redis) -> float:
    """Return the CPU time that the server has used."""
    used = await redis.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


async def run(socket: Path) -> None:
    """Print a table."""
    redis: Redis = Redis.from_url(f"unix://{socket}", health_check_interval=15, socket_timeout=5)
    meter, script = Meter(redis), redis.register_script(SCRIPT)
    span = meter.span
    arguments = ["take", "", span.window, span.step, span.place]
    arguments += [part for one in CHARGES for part in (one.limit, one.amount, one.place)]
    ways: dict[str, Callable[[], Awaitable[object]]] = {
        "redis-py, four limits": lambda: script([one.key for one in CHARGES], arguments),
        "four limits": lambda: meter.take(CHARGES),
        "one limit": lambda: meter.take(CHARGES[:1]),
    }
    print("| a call | callers | worker CPU µs | Valkey CPU µs |\n|---|---:|---:|---:|")
    for name, call in ways.items():
        for callers in CALLERS:
            worker, server = await measure(redis, callers, call)
            print(f"| {name} | {callers} | {worker:.0f} | {server:.0f} |", flush=True)
    await meter.close()
    await redis.aclose()


def main() -> None:
    """Run it on a Valkey of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        socket = Path(name) / "valkey.sock"
        with subprocess.Popen(embedded_command(embedded_binary(), Path(name), socket)) as server:
            while not _answers(socket):
                time.sleep(0.02)
            uvloop.run(run(socket))
            server.terminate()


if __name__ == "__main__":
    main()
