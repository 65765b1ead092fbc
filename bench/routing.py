"""Simulate routing in virtual time: what each policy makes of pools that no machine here has.

python bench/routing.py

The policies, the loads and what is measured of a replica's speed are the gateway's own; engines and people are made up.
It prints the tables of docs/routing.md.
"""

import heapq
import statistics
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import ceil, log
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backends.endpoint import Endpoint
from backends.load import Ask, Load
from backends.routing import BOUND, POLICIES, Policy, Routing

LIMIT = 1024
"""`max_tokens` of every request: a client's limit says nothing of the answer that comes."""
MEAN_ANSWER, SPREAD, LONGEST = 300, 1.2, 8192
"""Tokens of an answer, log-normal: the longest hundredth has an eighth of all tokens."""
PREFILL = 20
"""Tokens of a prompt that take as long as one of an answer."""
REQUESTS = 20_000
WARM_UP = 2_000
"""Requests before what is counted: by then the speeds are known."""


@dataclass(order=True)
class Job:
    """One request."""

    arrival: float
    number: int
    answer: int = field(compare=False)
    prompt: int = field(compare=False)
    chat: str = field(default="", compare=False)
    """Which conversation it is a turn of."""
    started: float = field(default=0.0, compare=False)
    ended: float = field(default=0.0, compare=False)

    @property
    def work(self) -> float:
        """In tokens of an answer."""
        return self.answer + self.prompt / PREFILL

    @property
    def ask(self) -> Ask:
        """What the gateway would say of it."""
        return Ask(self.prompt + LIMIT, key=self.chat)


@dataclass
class Engine:
    """A replica with slots: what finds none waits there, first come, first served."""

    load: Load
    slots: int
    speed: float
    """Tokens a second of each slot."""
    free: int = 0
    waiting: deque[Job] = field(default_factory=deque)
    backlog: list[float] = field(default_factory=list)
    """When each slot will be free of all that is known to come: what only an oracle knows."""

    def __post_init__(self) -> None:
        self.free = self.slots
        self.backlog = [0.0] * self.slots

    def end_of(self, job: Job) -> float:
        """Return when *job* would be done here."""
        return max(job.arrival, min(self.backlog)) + job.work / self.speed


Choice = Callable[[Sequence[Engine], Job], Engine]


def by_policy(policy: Policy) -> Choice:
    """Choose as the gateway does."""
    numbers = count()

    def choose(engines: Sequence[Engine], job: Job) -> Engine:
        load = policy([engine.load for engine in engines], job.ask, next(numbers))
        return next(engine for engine in engines if engine.load is load)

    return choose


def oracle(engines: Sequence[Engine], job: Job) -> Engine:
    """Choose the engine that will be done first, knowing the length of every answer."""
    return min(engines, key=lambda engine: engine.end_of(job))


def pool(*speeds: float, slots: int) -> list[Engine]:
    """Return engines of these speeds, of which nothing is known yet."""
    return [
        Engine(
            Load(Endpoint(replica=f"r{i}", model="m", engine="vllm", served_name="m", host="h", port=1), 10**9),
            slots,
            speed,
        )
        for i, speed in enumerate(speeds)
    ]


def run(engines: Sequence[Engine], jobs: Iterator[Job], choose: Choice) -> Iterator[tuple[Job, Engine]]:
    """Play *jobs*, which come in the order of their arrival; yield each as it is sent, with the engine it is sent to.

    What is still to happen to a job that was yielded happens when the next ones are asked for.
    """
    ends: list[tuple[float, Job, Engine]] = []
    for job in jobs:
        while ends and ends[0][0] <= job.arrival:
            _end(ends)
        engine = choose(engines, job)
        slot = min(range(engine.slots), key=engine.backlog.__getitem__)
        engine.backlog[slot] = engine.end_of(job)
        engine.load.requests += 1
        engine.load.tokens += job.ask.tokens
        engine.waiting.append(job)
        _begin(engine, job.arrival, ends)
        yield job, engine
    while ends:
        _end(ends)


def _begin(engine: Engine, now: float, ends: list[tuple[float, Job, Engine]]) -> None:
    if engine.free and engine.waiting:
        job = engine.waiting.popleft()
        engine.free -= 1
        job.started, job.ended = now, now + job.work / engine.speed
        heapq.heappush(ends, (job.ended, job, engine))


def _end(ends: list[tuple[float, Job, Engine]]) -> None:
    now, job, engine = heapq.heappop(ends)
    engine.load.requests -= 1
    engine.load.tokens -= job.ask.tokens
    engine.load.measured(job.answer, now - job.arrival)
    engine.free += 1
    _begin(engine, now, ends)


def lengths(draw: Random) -> tuple[int, int]:
    """Return tokens of an answer and of its prompt."""
    middle = log(MEAN_ANSWER) - SPREAD**2 / 2
    answer = max(1, min(LONGEST, round(draw.lognormvariate(middle, SPREAD))))
    return answer, max(1, min(LONGEST, round(draw.lognormvariate(6.0, 1.0))))


def strangers(capacity: float, load: float, seed: int) -> Iterator[Job]:
    """Yield requests of people who never come again, at *load* of *capacity* (tokens a second)."""
    draw = Random(seed)  # noqa: S311 - a simulation
    mean = statistics.fmean(Job(0, 0, *lengths(draw)).work for _ in range(50_000))
    now = 0.0
    for number in range(REQUESTS):
        now += draw.expovariate(load * capacity / mean)
        yield Job(now, number, *lengths(draw))


@dataclass(frozen=True)
class Waits:
    """Seconds in the queue of an engine, and until the answer was complete."""

    p50: float
    p99: float
    total_p50: float
    total_p99: float


def waits(speeds: Sequence[float], slots: int, choose: Choice, load: float = 0.7, seed: int = 1) -> Waits:
    """Return how long requests wait in a pool of engines with *speeds* and *slots* each."""
    engines = pool(*speeds, slots=slots)
    jobs = [job for job, _ in run(engines, strangers(sum(speeds) * slots, load, seed), choose)][WARM_UP:]
    queued = statistics.quantiles((job.started - job.arrival for job in jobs), n=100)
    total = statistics.quantiles((job.ended - job.arrival for job in jobs), n=100)
    return Waits(queued[49], queued[98], total[49], total[98])


def conversations(seed: int, chats_per_s: float, minutes: float) -> Iterator[Job]:
    """Yield the turns of conversations: six each on average, half a minute of thought between two."""
    draw = Random(seed)  # noqa: S311
    numbers, chats = count(), count()
    coming: list[Job] = [Job(0.0, next(numbers), *lengths(draw), chat=str(next(chats)))]
    newest = coming[0]
    while coming and coming[0].arrival < minutes * 60:
        job = heapq.heappop(coming)
        if job is newest:
            newest = Job(
                job.arrival + draw.expovariate(chats_per_s), next(numbers), *lengths(draw), chat=str(next(chats))
            )
            heapq.heappush(coming, newest)
        yield job
        if draw.random() < 5 / 6:
            later = max(job.ended, job.arrival) + draw.expovariate(1 / 30)
            heapq.heappush(coming, Job(later, next(numbers), *lengths(draw), chat=job.chat))


@dataclass(frozen=True)
class Stays:
    """What becomes of conversations."""

    kept: float
    """Share of the follow-up turns that came to the replica of the turn before."""
    fullest: float
    """Load of the busiest replica, over time, by the mean of all."""
    over_bound: int
    """Times that a request was given to a replica which then had more than 1.25 times the mean, in whole requests."""


def stays(choose: Choice, replicas: int = 8, seed: int = 1) -> Stays:
    """Return what becomes of conversations in a pool of equal vLLM replicas, some sixty requests at once on each."""
    engines = pool(*[30.0] * replicas, slots=512)
    last: dict[str, Engine] = {}
    follow_ups = kept = over = turns = 0
    shares = [0.0] * replicas
    for job, engine in run(engines, conversations(seed, chats_per_s=6.5, minutes=12), choose):
        requests = [one.load.requests for one in engines]
        over += engine.load.requests > ceil(BOUND * sum(requests) / replicas)
        if (before := last.get(job.chat)) is not None:
            follow_ups += 1
            kept += before is engine
        last[job.chat] = engine
        turns += 1
        for i, number in enumerate(requests):
            shares[i] += number / (sum(requests) / replicas)
    return Stays(kept / follow_ups, max(shares) / turns, over)


def unbounded(engines: Sequence[Engine], job: Job) -> Engine:
    """Choose by the key alone: what affinity would be without its bound."""
    return engines[hash_of(job.chat) % len(engines)]


def hash_of(chat: str) -> int:
    """Return a number for a conversation."""
    return Random(chat).getrandbits(32)  # noqa: S311


MIXED = (50.0, 10.0)
"""Tokens a second of a slot: a fast replica and one a fifth as fast."""
EQUAL = (30.0, 30.0, 30.0, 30.0)
SLOTS = 8


def policies() -> dict[str, Choice]:
    """Return all choices by the names of the tables; those of the gateway begin anew each time."""
    return {**{f"`{name.value}`": by_policy(POLICIES[name]) for name in Routing}, "oracle": oracle}


def waits_table(speeds: Sequence[float]) -> str:
    """Return what strangers wait for, policy by policy."""
    rows = ["| | queueing p50 s | p99 s | whole answer p50 s | p99 s |", "|---|---:|---:|---:|---:|"]
    for name, choose in policies().items():
        if "affinity" in name:  # strangers have no conversation to keep
            continue
        found = waits(speeds, SLOTS, choose)
        rows.append(f"| {name} | {found.p50:.2f} | {found.p99:.1f} | {found.total_p50:.1f} | {found.total_p99:.0f} |")
    return "\n".join(rows)


def stays_table() -> str:
    """Return what becomes of conversations, policy by policy."""
    rows = [
        "| | follow-up turns on their replica | busiest replica by the mean | given beyond 1.25 times the mean |",
        "|---|---:|---:|---:|",
    ]
    choices = {**policies(), "the key alone, without a bound": unbounded}
    del choices["oracle"]
    for name, choose in choices.items():
        found = stays(choose)
        rows.append(f"| {name} | {found.kept:.1%} | {found.fullest:.2f} | {found.over_bound} |")
    return "\n".join(rows)


def main() -> None:
    """Print the tables."""
    print(f"Two replicas, one five times as fast as the other, 70 % load:\n\n{waits_table(MIXED)}\n")
    print(f"Four equal replicas, 70 % load:\n\n{waits_table(EQUAL)}\n")
    print(f"Conversations on eight equal replicas:\n\n{stays_table()}")


if __name__ == "__main__":
    main()
