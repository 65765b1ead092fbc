"""One check of the log at a time."""

import asyncio
import threading

from gateway.audit.verification import Verification
from gateway.audit.verify import Report


async def test_a_long_check_is_joined_and_left() -> None:
    """Whoever asks meanwhile gets no second one; nobody waits for ever."""
    go, runs = threading.Event(), []

    def check() -> Report:
        runs.append(1)
        go.wait(10)
        return Report()

    one = Verification(check, clock=lambda: 5.0)
    first = await one.start(0.05)
    assert first == {"running": True, "began": 5000, "ended": None, "error": None, "report": None}
    await one.start(0.01)
    go.set()
    last = await one.start(10)
    assert len(runs) == 1
    assert (last["running"], last["ended"], last["report"]["ok"]) == (False, 5000, True)
    assert one.state() == last


async def test_who_leaves_ends_nothing() -> None:
    """The check goes on, and the next one joins it."""
    go = threading.Event()

    def check() -> Report:
        go.wait(10)
        return Report()

    one = Verification(check)
    asking = asyncio.create_task(one.start())
    await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert one.state()["running"]
    go.set()
    assert (await one.start())["report"]["ok"]


async def test_a_failure_is_told() -> None:
    """And the next one is a new one."""

    def check() -> Report:
        raise PermissionError(13, "no permission")

    found = await Verification(check).start()
    assert (found["running"], found["error"], found["report"]) == (
        *(False, "the log cannot be read: no permission", None),
    )
