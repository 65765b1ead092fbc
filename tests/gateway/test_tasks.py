"""What runs beside something else ends with it, whatever it makes of being told to."""

import asyncio
import contextlib

import pytest

from gateway import tasks
from gateway.tasks import ended, goes_on, running, together


class Stubborn:
    """Swallows so many cancellations before it ends, as a library's own clean-up may."""

    def __init__(self, swallows: int) -> None:
        self.left = swallows

    async def run(self) -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                if not self.left:
                    raise
                self.left -= 1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_SECONDS", 0.01)


async def test_one_that_swallows_a_cancellation_ends_all_the_same() -> None:
    task = asyncio.create_task(Stubborn(3).run())
    async with running(task):
        await asyncio.sleep(0)
    assert task.cancelled()


async def test_who_is_told_to_end_while_it_ends_others_still_ends_them() -> None:
    """And is cancelled after that."""
    stubborn = asyncio.create_task(Stubborn(5).run())
    await asyncio.sleep(0)
    ending = asyncio.create_task(ended([stubborn]))
    for _ in range(3):
        await asyncio.sleep(0)
        ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert stubborn.cancelled()


async def test_what_runs_together_ends_together() -> None:
    """Though each swallows what one cancellation of the whole brings it."""
    works = [Stubborn(2), Stubborn(0)]
    task = asyncio.create_task(together(*(work.run() for work in works)))
    await asyncio.sleep(0.01)
    await ended([task])
    assert task.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_error_of_one_ends_the_others() -> None:
    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together(Stubborn(1).run(), fails())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_swallowed_cancellation_is_seen() -> None:
    """A loop that asks ends, though a library has taken the one word of its end."""

    async def loops() -> int:
        rounds = 0
        while goes_on():
            rounds += 1
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        return rounds

    task = asyncio.create_task(loops())
    await asyncio.sleep(0)
    task.cancel()
    assert await asyncio.wait_for(task, 5) == 1
