"""Letting go of something large, a little at a time."""

import asyncio
import gc
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

SLICE = 200
"""Objects that are looked at, or let go of, in one go; a container of more is a large one."""
BUCKETS = 256
CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


async def crumble(held: list[Any], package: str) -> None:
    """Let go of what only *held* holds: containers, and objects whose classes are in *package*. The list is emptied.

    Freeing a library of 100 000 entries in one go would hold the event loop for a tenth of a second. So everything in
    it is first held one by one, and then released one by one: what stands above its large containers, these, and what
    is in them. Nothing is changed: what somebody else still uses stays whole.
    """
    walk = _Walk(package)
    await walk.through(held)
    inside: list[Any] = []
    await walk.into_large(inside)
    for released, size in ((held, 1), (walk.large, 1), (inside, SLICE), (walk.seen, 1)):
        released.reverse()
        while released:
            del released[-size:]
            await asyncio.sleep(0)


class _Walk:
    """What was come across: *large* containers, and the ids of *seen* objects."""

    def __init__(self, package: str) -> None:
        self.package = f"{package}."
        self.large: list[Any] = []
        self.seen: list[set[int]] = [set() for _ in range(BUCKETS)]  # one large set would hold the loop as it grows
        self._at: dict[int, int] = {}

    async def through(self, queue: list[Any]) -> None:
        """Append to *queue* what its objects hold, and what these hold, all but what is in large containers."""
        at = self._at.get(id(queue), 0)
        while at < len(queue):
            if not isinstance(queue[at], str):
                self.hold(gc.get_referents(queue[at]), queue)
            at += 1
            if at % SLICE == 0:
                await asyncio.sleep(0)
        self._at[id(queue)] = at

    async def into_large(self, queue: list[Any]) -> None:
        """Append to *queue* what is in the large containers, and what that holds."""
        for container in self.large:  # grows meanwhile
            for things in _slices(container):
                self.hold(things, queue)
                await asyncio.sleep(0)
            await self.through(queue)

    def hold(self, things: list[Any], queue: list[Any]) -> None:
        """Append to *queue*, or to the large ones, what of *things* belongs to the whole and is new."""
        for thing in things:
            kind = type(thing)
            if kind is str:
                queue.append(thing)
            elif kind in CONTAINERS or kind.__module__.startswith(self.package):
                bucket = self.seen[(id(thing) >> 4) % BUCKETS]
                if id(thing) not in bucket:
                    bucket.add(id(thing))
                    (self.large if kind in CONTAINERS and len(thing) > SLICE else queue).append(thing)


def _slices(container: Any) -> Iterator[list[Any]]:
    inner = iter(container)
    if isinstance(container, dict):
        inner = chain(inner, container.values())
    while some := list(islice(inner, SLICE)):
        yield some
