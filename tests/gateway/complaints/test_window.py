"""How many a day, with and without the state server."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from gateway.complaints import window
from gateway.complaints.window import Daily, Window
from gateway.problems import Problem


def test_a_window_lets_so_many_pass() -> None:
    """Two within ten seconds; then one for each that is over."""
    counted = Window(2, 10)
    assert [0, 0] == [counted.take(0), counted.take(4)]
    assert 5 == counted.take(5)
    assert [0, 4] == [counted.take(10), counted.take(10)]


async def test_a_day_is_counted_for_all_workers(redis: "Redis") -> None:
    """Two workers let three pass together, then say when the day is over; each name has its own."""
    workers = [Daily(redis, "appeals", 3, "user") for _ in range(2)]
    for number in range(3):
        await workers[number % 2].take("a", "b")
    with pytest.raises(Problem) as caught:
        await workers[0].take("a", "b")
    assert (429, "user", "rate_limit_error") == (caught.value.status, caught.value.param, caught.value.kind)
    assert 86_000 < (caught.value.retry_after or 0) <= 86_402
    await workers[0].take("ab")
    [key] = [name for name in await redis.keys("gw:day:*") if await redis.get(name) == b"1"]
    assert 0 < await redis.ttl(key) <= 86_400


async def test_without_redis_a_worker_lets_some_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks: nobody can be told apart for long, and the log stays bounded."""
    monkeypatch.setattr(window, "LOCAL_MOST", 2)
    lost: Redis = Redis.from_url(f"unix://{tmp_path}/nobody.sock")
    daily = Daily(lost, "complaints", 1, "user")
    await daily.take("a")
    await daily.take("a")
    with pytest.raises(Problem) as caught:
        await daily.take("b")
    assert 429 == caught.value.status
    await lost.aclose()
