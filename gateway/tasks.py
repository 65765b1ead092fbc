"""Tasks that run beside a block and end with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


@contextlib.asynccontextmanager
async def running(task: "asyncio.Task[None]") -> AsyncIterator[None]:
    """Run *task* beside the block, and end it with the block."""
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
