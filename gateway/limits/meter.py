"""What is used of each limit, in Redis: the same for all workers and gateways.

All that a worker has to say goes over one connection, in order. What comes while an answer is awaited goes out
together as soon as it is there: the busier the worker, the less one question costs.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from pathlib import Path
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError

from policies.rates import Charge, Grant, Span

SCRIPT = (Path(__file__).parent / "rate.lua").read_text(encoding="utf-8")
SHA = sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()  # the name by which EVALSHA knows a script
AT_ONCE = 256
"""Questions that go out together."""
ANSWER_SECONDS = 0.25
"""For Redis to answer them; its script takes some microseconds each."""
MOST_WAITING = 8_192
"""Questions and notes that may wait; beyond it something is wrong, and each is answered as if Redis were away."""


class Refund(NamedTuple):
    """What is given back, or was used beyond what was taken (a negative *amount*); with a *place*: that place."""

    key: str
    amount: int = 0
    at: int = 0
    """Unix milliseconds at which it was taken."""
    place: str = ""


class Meter:
    """Takes and gives back. Belongs to one event loop."""

    def __init__(self, redis: "Redis", span: Span = Span()) -> None:  # noqa: B008 - it cannot be changed
        self.redis = redis
        self.span = span
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[Any] | None]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._connection: AbstractConnection | None = None

    async def take(self, charges: Sequence[Charge], now: int | None = None) -> Grant:
        """Take all of *charges* or none, on the server's clock or at *now* (Unix ms).

        Raises `RedisError` and OSError. Where the caller is cancelled meanwhile, what was taken is given back.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        arguments = [part for charge in charges for part in (charge.limit, charge.amount, charge.place)]
        self._send("take", [charge.key for charge in charges], arguments, now, future)
        try:
            at, refused, wait, *used = await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(lambda done: self._undo(charges, done))
            raise
        return Grant(at, refused, wait, tuple(used))

    def give(self, refunds: Sequence[Refund], now: int | None = None) -> None:
        """Give back, soon. What Redis does not hear of comes back with the window, a place with its end."""
        arguments = [part for one in refunds for part in (one.amount, one.at, one.place)]
        self._send("give", [one.key for one in refunds], arguments, now)

    def renew(self, places: Sequence[tuple[str, str]], now: int | None = None) -> None:
        """Keep *places*, key and name, for longer, soon."""
        self._send("renew", [key for key, _ in places], [part for _, name in places for part in (0, 0, name)], now)

    async def close(self) -> None:
        """Say what is still to be said, and close the connection."""
        while self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await self._disconnect()

    def _send(
        self,
        what: str,
        keys: list[str],
        arguments: list[Any],
        now: int | None,
        future: "asyncio.Future[Any] | None" = None,
    ) -> None:
        span = self.span
        head = (what, "" if now is None else now, span.window, span.step, span.place)
        if len(self._waiting) >= MOST_WAITING:
            if future is not None:
                future.set_exception(RedisConnectionError("too much waits to be said"))
            return
        self._waiting.append(((len(keys), *keys, *head, *arguments), future))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._talk())

    def _undo(self, charges: Sequence[Charge], done: "asyncio.Future[Any]") -> None:
        """Give back what was taken for somebody who has left."""
        if done.exception() is None and done.result()[1] < 0:
            at = done.result()[0]
            self.give([Refund(one.key, 0 if one.place else one.amount, at, one.place) for one in charges])

    async def _talk(self) -> None:
        """Say what waits, until nothing does."""
        try:
            while self._waiting:
                some = [self._waiting.popleft() for _ in range(min(len(self._waiting), AT_ONCE))]
                try:
                    answers = await self._asked([arguments for arguments, _ in some])
                except (RedisError, OSError) as error:  # TimeoutError is an OSError
                    answers = [error] * len(some)
                    await self._disconnect()
                for (_, future), answer in zip(some, answers, strict=True):
                    _settle(future, answer)
        finally:
            self._task = None

    async def _asked(self, some: list[tuple[Any, ...]]) -> list[Any]:
        """Send *some* and return their answers. Raises `RedisError` and OSError."""
        async with asyncio.timeout(ANSWER_SECONDS):
            if self._connection is None:
                self._connection = await self.redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
            connection = self._connection
            await connection.send_packed_command(b"".join([_packed(arguments) for arguments in some]))
            answers = [await _answer(connection) for _ in some]
            if isinstance(answers[0], NoScriptError):  # a server that is new: then it knows none of them
                await connection.send_packed_command(connection.pack_command("SCRIPT", "LOAD", SCRIPT))
                await _answer(connection)
                return await self._asked(some)
            return answers

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self.redis.connection_pool.release(connection)


def _packed(arguments: tuple[Any, ...]) -> bytes:
    """Return a call of the script in Redis' protocol; the client's own packing takes three times as long."""
    parts = [b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n" % (len(arguments) + 2, SHA.encode())]
    for argument in arguments:
        encoded = str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(encoded), encoded))
    return b"".join(parts)


async def _answer(connection: AbstractConnection) -> Any:
    """Return the next answer; an error of the script's is one."""
    try:
        return await connection.read_response()
    except RedisConnectionError:
        raise
    except RedisError as error:
        return error


def _settle(future: "asyncio.Future[Any] | None", answer: Any) -> None:
    if future is None or future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
        future.exception()  # whoever asked may have left
    else:
        future.set_result(answer)
