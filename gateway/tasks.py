"""Tasks that run beside a block and end with it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from typing import Any

AGAIN_SECONDS = 0.5
"""Until a task that goes on is cancelled once more: redis-py may swallow a cancellation while it disconnects."""


async def ended(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """End *tasks*, whatever they make of being cancelled; what they raise is theirs. None may take long to end.

    Cancelled itself, it first goes on to their end: else one that goes on would be nobody's any more.
    """
    tasks = list(tasks)
    left = {task for task in tasks if not task.done()}
    cancelled: asyncio.CancelledError | None = None
    while left:
        for task in left:
            task.cancel()
        try:
            await asyncio.wait(left, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
        left = {task for task in left if not task.done()}
    await asyncio.gather(*tasks, return_exceptions=True)
    if cancelled is not None:
        raise cancelled


def goes_on() -> bool:
    """Return whether nobody has cancelled the current task, also where a library has swallowed that."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()


async def together(*works: Coroutine[Any, Any, None]) -> None:
    """Run *works* beside each other until cancelled, or until one raises, which is raised; none of them is left.

    `asyncio.TaskGroup` cancels once: one that went on would be waited for without an end.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        await ended(tasks)


@contextlib.asynccontextmanager
async def running(task: "asyncio.Task[Any]") -> AsyncIterator[None]:
    """Run *task* beside the block, and end it with the block."""
    try:
        yield
    finally:
        await ended([task])
