"""Simulate the queue in virtual time: what one person's burst does to the others.

python bench/waiting.py

The queue is the gateway's own; people, and an engine with slots, are made up. It prints a table of docs/routing.md.
"""

import heapq
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.admission import FairQueue, Full, Place
from backends.load import Ask, Priority

SLOTS, SPEED = 8, 30.0
"""Of the engine: requests at once, and tokens a second of each."""
PEOPLE, LOAD = 20, 0.6
"""Who ask now and then, and what share of the engine they need together."""
MEAN_ANSWER, LIMIT = 300, 1024
BURST, BURST_AT = 150, 300.0
"""Requests that one more person sends at once, and the second at which."""
FELT = 60.0
"""Seconds from the burst on in which what comes is looked at."""
UNTIL = 600.0
PLACES, SECONDS = 256, 50.0
"""As the settings have them without being set."""


@dataclass(order=True)
class Comes:
    """One request."""

    moment: float
    number: int
    person: str
    answer: int

    @property
    def whose(self) -> str:
        """Whether it is one of the burst."""
        return "burst" if self.person == "burst" else "others"

    @property
    def counts(self) -> bool:
        """Whether it comes while the burst is felt."""
        return BURST_AT <= self.moment < BURST_AT + FELT


@dataclass(frozen=True)
class Found:
    """What became of requests."""

    waits: list[float]
    turned_away: int

    def row(self, name: str) -> str:
        """Return a row of the table."""
        p50, p99 = statistics.median(self.waits), statistics.quantiles(self.waits, n=100, method="inclusive")[98]
        return f"| {name} | {len(self.waits)} | {self.turned_away} | {p50:.1f} | {p99:.1f} |"


def coming(seed: int) -> list[Comes]:
    """Return all requests in the order of their moments."""
    draw = Random(seed)  # noqa: S311 - a simulation
    rate = LOAD * SLOTS * SPEED / MEAN_ANSWER
    found, now = [], 0.0
    while (now := now + draw.expovariate(rate)) < UNTIL:
        found.append(Comes(now, len(found), f"p{draw.randrange(PEOPLE)}", 1 + round(draw.expovariate(1 / MEAN_ANSWER))))
    burst = [
        Comes(BURST_AT, len(found) + i, "burst", 1 + round(draw.expovariate(1 / MEAN_ANSWER))) for i in range(BURST)
    ]
    return sorted(found + burst)


class Engine:
    """An engine with slots behind the queue."""

    def __init__(self, *, fair: bool, priority: Priority) -> None:
        self.fair = fair
        self.priority = priority
        self.queue = FairQueue(PLACES, SECONDS)
        self.waiting: dict[Place, Comes] = {}
        self.ends: list[float] = []
        self.waits: dict[str, list[float]] = {"burst": [], "others": []}
        self.away = {"burst": 0, "others": 0}

    def come(self, one: Comes) -> None:
        """Answer *one*, or let it wait."""
        self.pass_until(one.moment)
        if len(self.ends) < SLOTS and not self.queue:
            self._begin(one, one.moment)
            return
        urgency = self.priority if one.whose == "burst" else Priority.NORMAL
        try:
            entered = self.queue.enter(Ask(LIMIT, one.person if self.fair else "", urgency), one.moment)
        except Full:
            self._turn_away(one)
            return
        self.waiting[entered.place] = one
        if entered.pushed_out is not None:
            self._turn_away(self.waiting.pop(entered.pushed_out))

    def pass_until(self, moment: float) -> None:
        """Let answers end, and the next ones begin, up to *moment*."""
        while self.ends and self.ends[0] <= moment:
            now = heapq.heappop(self.ends)
            for place in self.queue.expire(now):
                self._turn_away(self.waiting.pop(place))
            if (first := self.queue.first()) is not None:
                self.queue.serve(first, now)
                self._begin(self.waiting.pop(first), now)

    def _begin(self, one: Comes, now: float) -> None:
        heapq.heappush(self.ends, now + one.answer / SPEED)
        if one.counts:
            self.waits[one.whose].append(now - one.moment)

    def _turn_away(self, one: Comes) -> None:
        self.away[one.whose] += one.counts


def play(requests: list[Comes], *, fair: bool, priority: Priority = Priority.NORMAL) -> dict[str, Found]:
    """Return what becomes of the burst and of the others; *fair*: by person, else first come, first served.

    *priority* is that of the burst.
    """
    engine = Engine(fair=fair, priority=priority)
    for one in requests:
        engine.come(one)
    engine.pass_until(float("inf"))
    return {name: Found(waits, engine.away[name]) for name, waits in engine.waits.items()}


def table(seed: int = 1) -> str:
    """Return what becomes of everybody, by the order of the queue."""
    rows = ["| | answered | turned away | waited p50 s | p99 s |", "|---|---:|---:|---:|---:|"]
    requests = coming(seed)
    ways = {
        "first come, first served": play(requests, fair=False),
        "fair among people": play(requests, fair=True),
        "fair, and the burst's key has `priority: low`": play(requests, fair=True, priority=Priority.LOW),
    }
    for way, found in ways.items():
        rows += [one.row(f"{way}: the {name}") for name, one in found.items()]
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
