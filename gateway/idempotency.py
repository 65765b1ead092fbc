"""`Idempotency-Key`: a repeated POST does its work once."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.problems import Problem, invalid

log = logging.getLogger(__name__)

HOURS_24 = 24 * 3600
LONGEST = 255
RUNNING = b"running"
RUNNING_SECONDS = 60
"""For the first request to end; after it a repeat is tried anew."""
STATE_SECONDS = 5.0
"""For the state server to answer."""
UNKEPT = (
    "Idempotency-Key: the state server cannot keep it now. Nothing was done: repeat the request later or without it."
)


async def once(
    redis: "Redis", who: str, key: str | None, request: Any, work: Callable[[], Awaitable[tuple[Any, Any]]]
) -> tuple[Any, bool]:
    """Run *work* unless *who* has sent *key* within 24 h; return its answer, and whether it is a repeated one.

    *work* returns (answer, what a repeat is answered): the second is stored, so it must hold no secret. Raises a 409
    `Problem` where the same key comes with another *request*, or while the first one runs; a 503, before anything is
    done, where the state server cannot keep the key.
    """
    if key is None:
        return (await work())[0], False
    if not 1 <= len(key) <= LONGEST:
        raise invalid(f"Idempotency-Key: 1 to {LONGEST} characters.", "Idempotency-Key")
    asked = sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()
    name = f"gw:idempotency:{sha256(msgspec.json.encode([who, key])).hexdigest()}"
    try:
        async with asyncio.timeout(STATE_SECONDS):
            if not await redis.set(name, RUNNING, nx=True, ex=RUNNING_SECONDS):
                return _repeated(await redis.get(name), asked), True
    except (RedisError, OSError):  # TimeoutError is an OSError
        raise Problem(503, UNKEPT, kind="server_error", param="Idempotency-Key", code="state_unavailable") from None
    try:
        answer, stored = await work()
    except BaseException:
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(STATE_SECONDS):
                await redis.delete(name)
        raise
    try:
        async with asyncio.timeout(STATE_SECONDS):
            await redis.set(name, msgspec.json.encode({"request": asked, "answer": stored}), ex=HOURS_24)
    except (RedisError, OSError) as error:  # it is done, and its answer may hold a secret that is shown once
        log.warning("a repeat of a request cannot be told from a new one: %r", error)
    return answer, False


def _repeated(stored: Any, asked: str) -> Any:
    if stored is None or stored == RUNNING:
        raise Problem(
            409, "A request with this Idempotency-Key is under way.", param="Idempotency-Key", code="conflict"
        )
    document = msgspec.json.decode(stored)
    if document["request"] != asked:
        text = "This Idempotency-Key was used for another request."
        raise Problem(409, text, param="Idempotency-Key", code="conflict")
    return document["answer"]
