"""From a request as it arrived to its turn: key, body, the path, and the end whatever it is."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from gateway.audit.record import Turn
from gateway.keys import NOBODY, KeyRing
from gateway.problems import Problem
from gateway.relay import moderations, replies, wire
from gateway.relay import turn as path
from gateway.relay.message import HttpReply, Incoming
from gateway.relay.stages import Stages
from gateway.relay.wire import Route
from policies.utterance import BETWEEN, Utterance


class Parts(Protocol):
    """What is looked up anew for each request, since it is exchanged while requests run."""

    ring: KeyRing
    stages: Stages

    @property
    def has_library(self) -> bool:
        """Whether there is a keyword library to judge by."""


class Relay:
    """Answers the POST routes of `/v1`."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def answer(self, route: Route, incoming: Incoming, reply: HttpReply) -> None:
        """Answer one request. A client that leaves cancels all that is done for it."""

        async def work(turn: Turn, stages: Stages) -> None:
            request = wire.read(route, incoming.body, remote_images=turn.caller.allows_remote_images)
            turn.asked_model, turn.stream = request.model, request.stream
            user = incoming.user.decode("utf-8", "replace") if incoming.user is not None else None
            await path.run(turn, request, user, stages, reply)

        await self._turn(route.name, incoming, reply, work)

    async def moderate(self, incoming: Incoming, reply: HttpReply) -> None:
        """Say what the input policy says of each text; a turn like the others, that needs no engine."""

        async def work(turn: Turn, stages: Stages) -> None:
            turn.model = moderations.MODEL
            texts = moderations.read(incoming.body)
            turn.utterance = Utterance(BETWEEN.join(texts))
            if stages.limiter.holds(turn.caller):
                await stages.limiter.admit(turn, 0, stream=False)
            found, turn.verdict = await moderations.answer(texts, stages.policy, turn.id)
            body = msgspec.json.encode(found)
            await stages.audit.accepted(turn)
            await stages.finished(turn)
            reply.start(200, [*replies.JSON_HEADERS, *replies.headers_of(turn)], len(body))
            reply.finish(body)

        await self._turn(moderations.ROUTE, incoming, reply, work)

    async def _turn(
        self, name: str, incoming: Incoming, reply: HttpReply, work: Callable[[Turn, Stages], Awaitable[None]]
    ) -> None:
        """Do *work* for whoever has a key, and count the turn, however it ends."""
        turn = Turn(NOBODY, name, time.time(), address=reply.address)
        stages = self.parts.stages
        failure: BaseException | None = None
        try:
            turn.caller = self.parts.ring.caller(incoming.authorization, turn.started)
            self.check_ready()
            await work(turn, stages)
        except asyncio.CancelledError as error:
            stopping = Problem(503, "The gateway is stopping.", kind="server_error", code="stopping", retry_after=5)
            failure = error if reply.client_gone else stopping
        except Exception as error:  # noqa: BLE001 - `close` tells the client and the log
            failure = error
        await path.close(turn, stages, reply, failure)

    def check_ready(self) -> None:
        """Raise a 503 `Problem` while there is nothing to judge by: nothing passes unguarded."""
        if not self.parts.has_library:
            text = "The keyword library is not loaded yet."
            raise Problem(503, text, kind="server_error", code="starting", retry_after=1)
