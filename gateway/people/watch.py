"""Who is of note, as one worker knows it: told of every change, so that nobody in good standing costs a round trip.

People with violations in a row, and people who are suspended, stand in one hash of Redis. A worker reads it once, then
follows what is announced; each change has a number, and a number that is missing has the hash read again.
"""

import asyncio
import logging
import time

from redis.exceptions import RedisError

from gateway.people.ledger import CHANNEL, Incomplete, Ledger, Stamped, unpacked
from gateway.state.redis import lived_with

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""Between two looks at the number of the last change."""
SILENT_SECONDS = 1.0
"""Without an answer for so long what is known here may be old, and a turn asks Redis itself."""
UNDERWAY_SECONDS = 0.02
"""For what is announced to arrive, before all is read again."""
ASK_SECONDS = 0.25
"""For Redis to answer a turn's question."""


class Watch:
    """The people of note."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.known: dict[str, Stamped] = {}
        self._seq = -1
        """The last change that is known with all before it; -1: none yet."""
        self._polled = -1
        self._heard = -SILENT_SECONDS
        self._asked = -SILENT_SECONDS

    @property
    def fresh(self) -> bool:
        """Whether what is known here is what Redis knows, but for the last second."""
        return time.monotonic() - self._heard < SILENT_SECONDS

    async def find(self, person: str) -> Stamped | None:
        """Return a person's standing: from here while that is fresh, else from Redis, else what was last known.

        None: the person is in good standing, or was, or is not known.
        """
        known = self.known.get(person)
        if not self.fresh and time.monotonic() - self._asked > SILENT_SECONDS:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    known = await self.ledger.look(person)
                self.take(person, known)
            except (RedisError, OSError, Incomplete):  # TimeoutError is an OSError
                self._asked = time.monotonic()  # or every turn would wait while Redis is away
        return known

    def take(self, person: str, found: Stamped) -> None:
        """Know of a change; an older one than is known already changes nothing."""
        known = self.known.get(person)
        if known is not None and known.seq > found.seq:
            return
        if found.state.row > 0 or found.state.suspended(time.time_ns() // 1_000_000):
            self.known[person] = found
        else:
            self.known.pop(person, None)

    async def run(self) -> None:
        """Follow the changes until cancelled, through any loss of Redis."""
        await asyncio.gather(self._listen(), self._poll())

    async def _listen(self) -> None:
        while True:
            with lived_with("changes of standings cannot be followed", Incomplete):
                async with self.ledger.redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(CHANNEL)
                    async for message in channel.listen():
                        self._hear(message["data"])
            await asyncio.sleep(POLL_SECONDS)

    def _hear(self, message: bytes) -> None:
        person, _, packed = message.partition(b" ")
        found = unpacked(packed)
        self.take(person.decode(), found)
        if found.seq == self._seq + 1:
            self._seq = found.seq

    async def _poll(self) -> None:
        while True:
            with lived_with("standings cannot be read", Incomplete):
                asked = time.monotonic()
                async with asyncio.timeout(SILENT_SECONDS):
                    await self._catch_up()
                self._heard = asked
            await asyncio.sleep(POLL_SECONDS)

    async def _catch_up(self) -> None:
        """See to it that every change up to now is known."""
        seq = await self.ledger.sequence()
        if seq < self._polled:  # the state server has lost its count, and has begun anew
            self.known, self._seq = {}, -1
        elif self._seq < seq:
            await asyncio.sleep(UNDERWAY_SECONDS)
        self._polled = seq
        if self._seq < seq:
            found = await self.ledger.notable()
            newer = {person: known for person, known in self.known.items() if known.seq > seq}
            self.known = {**found, **newer}
            self._seq = seq
