"""Who is next where requests wait for a replica: a bounded queue, fair among people. Pure: moments are arguments.

Start-time fair queueing (Goyal, Vin and Cheng, 1996). Each request has a start tag, counted in tokens: the end of its
person's request before it, or what the queue has come to, whichever is later. The smallest is next. So whoever sends
a hundred requests at once stands behind themselves, not before others; and who asks for long answers has fewer of them.
What the queue has come to is the start of the one served last and, beyond the paper, at least the tokens served by the
number of people who wait: else people who keep coming, each with one request, would hold up the second one of others.
"""

import heapq
from collections import OrderedDict
from collections.abc import Collection
from math import ceil
from typing import NamedTuple

from backends.load import Ask

SHORTEST_RETRY, LONGEST_RETRY = 1, 60
"""Seconds after which somebody who was turned away is told to come again."""
PACE_WEIGHT = 0.1
"""Of the newest pause between two that were served, in the mean of them."""
SPARE = 64
"""Entries of those who have left that are kept among those who wait, before they are cleared away."""


class Full(Exception):
    """There is no place left for this request."""


class Place:
    """One request that waits."""

    __slots__ = ("ask", "deadline", "flow", "number", "start", "waits", "without")

    def __init__(self, ask: Ask, flow: "Flow", number: int, deadline: float) -> None:
        self.ask = ask
        self.without: Collection[str] = ()
        """Replicas that have failed it already."""
        self.flow = flow
        self.number = number
        self.deadline = deadline
        self.start = flow.begin(ask.tokens)
        self.waits = True

    def __lt__(self, other: "Place") -> bool:
        """Order by start tag; of equals, the older one first."""
        return (self.start, self.number) < (other.start, other.number)


class Flow:
    """The requests of one person at one priority."""

    __slots__ = ("end", "level", "places")

    def __init__(self, level: "Level") -> None:
        self.level = level
        self.end = 0.0
        """Where their last request ends, in tokens."""
        self.places: list[Place] = []
        """Those that wait, oldest first."""

    def begin(self, tokens: int) -> float:
        """Return the start tag of their next request, of *tokens*."""
        start = max(self.level.time, self.end)
        self.end = start + tokens
        return start


class Level:
    """All who wait at one priority."""

    __slots__ = ("flows", "heap", "most", "people", "time", "waiting")

    def __init__(self, most: int) -> None:
        self.heap: list[Place] = []
        self.flows: dict[str, Flow] = {}
        self.waiting = 0
        self.people = 0
        """Who wait."""
        self.time = 0.0
        """What it has come to, in tokens."""
        self.most = most
        """People who are known before those with nothing to come are forgotten."""

    def flow(self, person: str) -> Flow:
        """Return the requests of *person*."""
        found = self.flows.get(person)
        if found is None:
            found = self.flows[person] = Flow(self)
        return found

    def add(self, place: Place) -> None:
        """Let *place* wait."""
        self.people += not place.flow.places
        place.flow.places.append(place)
        heapq.heappush(self.heap, place)
        self.waiting += 1

    def remove(self, place: Place) -> None:
        """Let *place* wait no longer; it may stand anywhere."""
        place.waits = False
        place.flow.places.remove(place)
        self.people -= not place.flow.places
        self.waiting -= 1
        self._tidy()

    def first(self) -> Place | None:
        """Return who is next."""
        while self.heap and not self.heap[0].waits:
            heapq.heappop(self.heap)
        return self.heap[0] if self.heap else None

    def _tidy(self) -> None:
        """Forget those who have left, and people who have nothing to make up for."""
        if not self.waiting:
            self.heap.clear()
            self.flows.clear()
            self.time = 0.0
            return
        if len(self.heap) > 2 * self.waiting + SPARE:
            self.heap = [place for place in self.heap if place.waits]
            heapq.heapify(self.heap)
        if len(self.flows) > self.most:
            self.flows = {name: flow for name, flow in self.flows.items() if flow.places or flow.end > self.time}
            self.most = max(self.most, 2 * len(self.flows))


class Entered(NamedTuple):
    """A place in the queue, and who had to leave it for that."""

    place: Place
    pushed_out: Place | None


class FairQueue:
    """Those who wait for a replica of one model: at most *most*, each for at most *seconds*.

    Higher priorities go first, always. Where all places are taken, a newcomer takes that of somebody less urgent, or
    the last one of the person who has the most, where that is at least two more than the newcomer has.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self.most = most
        self.seconds = seconds
        self._levels: dict[int, Level] = {}
        self._ages: OrderedDict[Place, None] = OrderedDict()
        self._number = 0
        self._pace = 0.0
        self._served_at: float | None = None

    def __len__(self) -> int:
        return len(self._ages)

    def enter(self, ask: Ask, now: float) -> Entered:
        """Take a place. Raises `Full`."""
        pushed_out = self._dispensable(ask) if len(self) >= self.most else None
        if pushed_out is not None:
            self.leave(pushed_out)
        level = self._levels.get(ask.priority)
        if level is None:
            level = self._levels[ask.priority] = Level(2 * self.most)
            self._levels = dict(sorted(self._levels.items()))
        self._number += 1
        flow = level.flow(ask.person)
        place = Place(ask, flow, self._number, now + self.seconds)
        level.add(place)
        self._ages[place] = None
        return Entered(place, pushed_out)

    def first(self) -> Place | None:
        """Return who is next, without taking them out."""
        for level in self._levels.values():
            if (place := level.first()) is not None:
                return place
        return None

    def serve(self, place: Place, now: float) -> None:
        """Take out *place*, the `first` one, whose turn has come."""
        level = place.flow.level
        level.time = max(place.start, level.time + place.ask.tokens / level.people)
        if self._served_at is not None:
            self._pace += PACE_WEIGHT * (now - self._served_at - self._pace)
        self._served_at = now
        self._remove(place)

    def leave(self, place: Place) -> None:
        """Take out *place*, wherever it stands; nothing where it is out already."""
        if not place.waits:
            return
        if place is place.flow.places[-1]:
            place.flow.end = place.start  # it cost nothing
        self._remove(place)

    def due(self) -> float | None:
        """Return the moment at which the first one has waited too long; None: nobody waits."""
        return next(iter(self._ages)).deadline if self._ages else None

    def expire(self, now: float) -> list[Place]:
        """Take out and return all who have waited too long."""
        late: list[Place] = []
        while self._ages and (oldest := next(iter(self._ages))).deadline <= now:
            self.leave(oldest)
            late.append(oldest)
        return late

    def retry_after(self) -> int:
        """Return after how many seconds all who wait now will probably be served."""
        return min(max(ceil(self._pace * (len(self) + 1)), SHORTEST_RETRY), LONGEST_RETRY)

    def _dispensable(self, ask: Ask) -> Place:
        """Return whose place *ask* may take. Raises `Full`."""
        last = [flow.places[-1] for level in self._levels.values() for flow in level.flows.values() if flow.places]
        worst = max(last, key=lambda place: (place.ask.priority, len(place.flow.places), place.number), default=None)
        if worst is None or worst.ask.priority < ask.priority:
            raise Full
        if worst.ask.priority == ask.priority:
            level = self._levels[ask.priority]
            own = level.flows[ask.person].places if ask.person in level.flows else ()
            if len(worst.flow.places) < len(own) + 2:
                raise Full
        return worst

    def _remove(self, place: Place) -> None:
        del self._ages[place]
        place.flow.level.remove(place)
        if not self._ages:
            self._served_at = None
