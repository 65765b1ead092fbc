"""Tasks that run beside a block and end with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

AGAIN_SECONDS = 0.5
"""Until a task that goes on is cancelled once more: redis-py may swallow a cancellation while it disconnects."""


async def ended(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """End *tasks*, whatever they make of being cancelled; what they raise is theirs. None may take long to end."""
    tasks = list(tasks)
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def running(task: "asyncio.Task[Any]") -> AsyncIterator[None]:
    """Run *task* beside the block, and end it with the block."""
    try:
        yield
    finally:
        await ended([task])
