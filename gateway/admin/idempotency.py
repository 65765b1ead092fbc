"""`Idempotency-Key`: a repeated POST does its work once."""

from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import msgspec
from redis.asyncio import Redis

from gateway.problems import Problem, invalid

HOURS_24 = 24 * 3600
LONGEST = 255
RUNNING = b"running"
RUNNING_SECONDS = 60
"""For the first request to end; after it a repeat is tried anew."""


async def once(
    redis: "Redis", admin: str, key: str | None, request: Any, work: Callable[[], Awaitable[tuple[Any, Any]]]
) -> tuple[Any, bool]:
    """Run *work* unless *admin* has sent *key* within 24 h; return its answer, and whether it is a repeated one.

    *work* returns (answer, what a repeat is answered): the second is stored, so it must hold no secret. Raises a 409
    `Problem` where the same key comes with another *request*, or while the first one runs.
    """
    if key is None:
        return (await work())[0], False
    if not 1 <= len(key) <= LONGEST:
        raise invalid(f"Idempotency-Key: 1 to {LONGEST} characters.", "Idempotency-Key")
    asked = sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()
    name = f"gw:idempotency:{sha256(msgspec.json.encode([admin, key])).hexdigest()}"
    if not await redis.set(name, RUNNING, nx=True, ex=RUNNING_SECONDS):
        return _repeated(await redis.get(name), asked), True
    try:
        answer, stored = await work()
    except BaseException:
        await redis.delete(name)
        raise
    await redis.set(name, msgspec.json.encode({"request": asked, "answer": stored}), ex=HOURS_24)
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
