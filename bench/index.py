"""How fast the audit log comes into its index, and how fast turns are found in it.

    python bench/index.py [--turns 100000] [--texts full|none] [--rate 300] [--postgres]

Writes a log of so many turns by 2 000 people into a directory of its own, has the follower read it, asks the questions
that admins ask, then goes on writing --rate turns a second and reports how far behind the index is.
"""

import argparse
import asyncio
import contextlib
import random
import statistics
import sys
import tempfile
import time
from bisect import insort
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from prometheus_client import CollectorRegistry

from gateway.audit.entries import Accepted, AnyRecord, Decision, Finished, Found, Text, encode
from gateway.audit.follower import Follower
from gateway.audit.index import Index
from gateway.audit.search import Filter, Search
from gateway.audit.writer import Writer, open_writer
from gateway.metrics import AuditMetrics
from gateway.settings import Settings
from gateway.state import sql
from tests import postgres

CHARACTERS = [chr(0x4E00 + i) for i in range(3000)]
WEIGHTS = [1 / (i + 10) for i in range(3000)]
"""About as uneven as the characters of real texts."""
PEOPLE = 2_000
WORDS, ANSWER = 60, 400
"""Characters of a question and of an answer."""
VIOLATIONS = 0.01
RARE = "齉龘"
"""Stands in one text of a thousand."""
ASKED = 30
LOAD_SECONDS, SETTLING_SECONDS = 20.0, 3.0


def text(chooser: random.Random, length: int, *, kept: bool) -> Text:
    """Return a text of frequent and rare characters."""
    made = "".join(chooser.choices(CHARACTERS, WEIGHTS, k=length))
    if chooser.random() < 0.001:
        made = made[:10] + RARE + made[10:]
    return Text(length, "0" * 64, made if kept else None)


def turn(chooser: random.Random, number: int, at: int, *, kept: bool) -> tuple[AnyRecord, AnyRecord]:
    """Return the two records of a turn; one of a hundred is refused."""
    bad = chooser.random() < VIOLATIONS
    person = f"{chooser.randrange(PEOPLE):024x}"
    name = f"{number:024x}"
    found = Decision("refuse", "A1a", (Found("keywords.in", str(chooser.randrange(1, 10_000)), 3, 5),)) if bad else None
    words = text(chooser, WORDS, kept=kept or bad)
    begin = Accepted(
        at=at,
        id=name,
        route="chat",
        key="key_0123456789",
        tenant="default",
        person=person,
        user=person,
        address="10.0.0.1",
        model="Qwen3-14B-5e5",
        replica="Qwen3-14B-5e5#0",
        stream=True,
        library="12",
        policy="0123456789abcdef",
        words=words,
        verdict=found,
    )
    end = Finished(
        at=at + 900,
        id=name,
        outcome="refused" if bad else "ok",
        finish_reason="stop",
        prompt_tokens=800,
        completion_tokens=300,
        first_token_ms=120.5,
        total_ms=900.1,
        answer=text(chooser, ANSWER, kept=kept),
    )
    return begin, end


def fill(writer: Writer, turns: int, *, kept: bool) -> None:
    """Write a log of *turns* over the last thirty days, as they overlap: ends come some turns later."""
    chooser, waiting = random.Random(1), []  # noqa: S311 - texts
    begin = time.time_ns() // 1_000_000 - 30 * 86_400_000
    for i in range(turns):
        first, last = turn(chooser, i, begin + i * (30 * 86_400_000 // turns), kept=kept)
        waiting.append(encode(last))
        bodies = [encode(first)] if len(waiting) <= 20 else [encode(first), waiting.pop(0)]
        writer.append(*bodies)
    writer.append(*waiting)
    writer.sync()


async def asked(search: Search) -> None:
    """Print how long each question takes: the median and the worst, of *ASKED* different ones."""
    chooser = random.Random(2)  # noqa: S311 - texts

    def pair() -> str:
        return "".join(chooser.choices(CHARACTERS[:300], k=2))

    questions = {
        "newest page of 100": Filter,
        "one person": lambda: Filter(people=(f"{chooser.randrange(PEOPLE):024x}",)),
        "refused": lambda: Filter(verdict="refuse"),
        "one entry": lambda: Filter(entry=chooser.randrange(1, 10_000)),
        "two rare characters": lambda: Filter(text=RARE),
        "two frequent characters": lambda: Filter(text=pair()),
        "four characters, in no text": lambda: Filter(text=pair() + pair()),
    }
    for name, question in questions.items():
        took, rows = [], 0
        for _ in range(ASKED):
            began = time.perf_counter()
            rows += len((await search.page(question(), 100)).turns)
            took.append((time.perf_counter() - began) * 1000)
        print(f"  {name}: median {statistics.median(took):.1f} ms, worst {max(took):.1f} ms, {rows / ASKED:.0f} turns")


async def loaded(follower: Follower, writer: Writer, registry: CollectorRegistry, rate: int, *, kept: bool) -> None:
    """Write *rate* turns a second and print how old the oldest record was that each look found."""
    chooser, lags = random.Random(3), []  # noqa: S311 - texts
    following = asyncio.create_task(follower.run())
    began, written = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - began) < LOAD_SECONDS:
        while written < elapsed * rate:
            first, last = turn(chooser, 10**9 + written, time.time_ns() // 1_000_000, kept=kept)
            writer.append(encode(first), encode(last))
            written += 1
        if elapsed > SETTLING_SECONDS:
            lags.append(registry.get_sample_value("gateway_audit_index_lag_seconds") or 0.0)
        await asyncio.sleep(0.02)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    print(f"  lag at {rate} turns/s: median {statistics.median(lags):.2f} s, worst {max(lags):.2f} s")


async def ticks(gaps: list[float]) -> None:
    """Note for how long, in milliseconds, the event loop let nobody else run, in order of length."""
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        insort(gaps, (time.perf_counter() - began - 0.001) * 1000)


async def measure(settings: Settings, arguments: argparse.Namespace) -> None:
    """Fill, follow, ask, load."""
    kept = arguments.texts == "full"
    registry = CollectorRegistry()
    writer = open_writer(settings.data_dir / "audit", "w")
    fill(writer, arguments.turns, kept=kept)
    async with sql.opened(settings) as engine:
        follower = Follower(engine, settings.data_dir / "audit", [Index()], AuditMetrics(registry))
        gaps: list[float] = []
        watching = asyncio.create_task(ticks(gaps))
        began, cpu = time.perf_counter(), time.process_time()
        while await follower.step():
            pass
        watching.cancel()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        records = writer.head.seq
        print(f"  {records} records in {took:.1f} s: {records / took:.0f}/s; CPU {cpu / records * 1e6:.0f} µs a record")
        print(f"  event loop held: 99th percentile {gaps[len(gaps) * 99 // 100]:.0f} ms, worst {gaps[-1]:.0f} ms")
        await asked(Search(engine))
        await loaded(follower, writer, registry, arguments.rate, kept=kept)
    writer.close()


def main() -> None:
    """Measure on SQLite, or on a PostgreSQL that is made for it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=100_000)
    parser.add_argument("--texts", choices=["full", "none"], default="full")
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--postgres", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, _url(on_postgres=arguments.postgres) as url:
        print(f"{'PostgreSQL' if url else 'SQLite'}, {arguments.turns} turns, texts {arguments.texts}")
        asyncio.run(measure(Settings(data_dir=Path(directory), database_url=url), arguments))


@contextlib.contextmanager
def _url(*, on_postgres: bool) -> Iterator[str | None]:
    if not on_postgres:
        yield None
        return
    with postgres.running() as url:
        yield postgres.create(url, "bench")


if __name__ == "__main__":
    main()
