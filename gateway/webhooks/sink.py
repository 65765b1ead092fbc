"""From the log to the outbox: what happened to people, for each receiver that wants to know of it."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.sinks import Heard
from gateway.webhooks import outbox
from gateway.webhooks.backoff import GIVE_UP_SECONDS
from gateway.webhooks.events import Message, Names, message
from gateway.webhooks.rules import Webhook

log = logging.getLogger(__name__)


class OutboxSink:
    """A `gateway.audit.sinks.Sink`: a message is in the outbox if, and only if, its record was read."""

    def __init__(
        self,
        hooks: Sequence[Webhook],
        *,
        names: Names,
        poke: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """*poke* is called when there is something to deliver."""
        self.hooks = hooks
        self._names = names
        self._poke = poke
        self._clock = clock

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        """Queue what is to be told of the next records of a writer.

        What is older than a delivery lives is news to nobody: it is there when an old log is read for the first time.
        """
        if not self.hooks:
            return
        now = int(self._clock())
        messages = [found for one in heard if (found := message(one)) is not None]
        fresh = [one for one in messages if one.at > now - GIVE_UP_SECONDS]
        if len(fresh) < len(messages):
            log.warning("webhooks: %d events are too old to be told of", len(messages) - len(fresh))
        if not fresh:
            return
        named = [await self._named(connection, one) for one in fresh]
        for hook in self.hooks:
            await outbox.put(connection, hook, [one for one in named if one.event in hook.events], now)
        self._poke()

    async def _named(self, connection: AsyncConnection, one: Message) -> Message:
        if one.user or (found := await self._names(connection, one.person)) is None:
            return one
        return replace(one, tenant=found[0], user=found[1])
