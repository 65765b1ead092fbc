"""Brings messages to their receivers: a task for each, so that one that hangs holds up no other."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Sequence

import httpx
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.review_metrics import ReviewMetrics
from gateway.tasks import together
from gateway.webhooks.backoff import delay
from gateway.webhooks.outbox import Claimed, Outbox
from gateway.webhooks.rules import Webhook
from gateway.webhooks.signature import headers

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
ATTEMPT_SECONDS = 10.0
"""For a receiver to answer, from connecting to its status."""
AT_ONCE = 4
"""Messages that are under way to one receiver."""
FORGET_SECONDS = 3_600.0
COUNT_SECONDS = 15.0


class Deliverer:
    """Runs in the control process; several on one database share the work."""

    def __init__(
        self,
        engine: AsyncEngine,
        hooks: Sequence[Webhook],
        metrics: ReviewMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.outbox = Outbox(engine)
        self.hooks = hooks
        self.metrics = metrics
        self._clock = clock
        self._poked = {hook.id: asyncio.Event() for hook in hooks}
        self._said = ""

    def poke(self) -> None:
        """Look now."""
        for event in self._poked.values():
            event.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        # No proxies, cookies or credentials of the environment; a redirect would take the message elsewhere.
        async with httpx.AsyncClient(timeout=ATTEMPT_SECONDS, trust_env=False, follow_redirects=False) as client:
            await together(self._keep(), *(self._serve(hook, client) for hook in self.hooks))

    async def step(self, hook: Webhook, client: httpx.AsyncClient) -> int:
        """Make one attempt at each of a few messages that are due; return how many. Raises `SQLAlchemyError`."""
        due = await self.outbox.claim(hook.id, AT_ONCE, int(self._clock()))
        ends = await asyncio.gather(*(self._deliver(hook, client, one) for one in due), return_exceptions=True)
        for end in ends:  # raised now that none of them is under way
            if isinstance(end, BaseException):
                raise end
        return len(due)

    async def _serve(self, hook: Webhook, client: httpx.AsyncClient) -> None:
        poked = self._poked[hook.id]
        while True:
            made = 0
            try:
                made = await self.step(hook, client)
                self._said = ""
            except (SQLAlchemyError, OSError) as error:
                self._say(error)
            except Exception:
                log.exception("webhooks: %s cannot be served", hook.host)
            if made < AT_ONCE:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await poked.wait()
                poked.clear()

    async def _deliver(self, hook: Webhook, client: httpx.AsyncClient, one: Claimed) -> None:
        error = await self._attempt(hook, client, one)
        now = self._clock()
        if error is None:
            await self.outbox.delivered(one, int(now))
            return
        log.warning("webhooks: %s did not take %s (attempt %d): %s", hook.host, one.event_id, one.attempts, error)
        later = int(now + delay(one.attempts, random.random()))  # noqa: S311 - it spreads attempts, and guards nothing
        await self.outbox.failed(one, error, int(now), later)

    async def _attempt(self, hook: Webhook, client: httpx.AsyncClient, one: Claimed) -> str | None:
        """Send a message once; return why the receiver does not have it, or None: it does.

        Only the status is read. Errors are named without the URL, which may hold a secret.
        """
        signed = headers(hook.secret.get_secret_value(), one.event_id, int(self._clock()), one.body)
        try:
            async with (
                asyncio.timeout(ATTEMPT_SECONDS),
                client.stream("POST", hook.url, content=one.body, headers=signed) as response,
            ):
                status = response.status_code
        except TimeoutError:
            return f"no answer within {ATTEMPT_SECONDS:g} s"
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return type(error).__name__
        return None if 200 <= status < 300 else f"status {status}"

    async def _keep(self) -> None:
        """Count, and forget, until cancelled."""
        forgot = float("-inf")
        while True:
            try:
                await self.count()
                if time.monotonic() - forgot > FORGET_SECONDS:
                    now = int(self._clock())
                    await self.outbox.forget(now)
                    await self.outbox.abandon([hook.id for hook in self.hooks], now)
                    forgot = time.monotonic()
            except (SQLAlchemyError, OSError) as error:
                self._say(error)
            except Exception:
                log.exception("webhooks: the outbox cannot be kept")
            await asyncio.sleep(COUNT_SECONDS)

    def _say(self, error: Exception) -> None:
        """Say once what keeps the outbox from being read."""
        if self._said != (said := type(error).__name__):
            log.warning("webhooks: the outbox cannot be read now: %r", error)
        self._said = said

    async def count(self) -> None:
        """Set the metrics. Receivers of one host are told apart by nothing that is secret, so they are one."""
        found: dict[str, tuple[int, int]] = {}
        for hook in self.hooks:
            pending, failed = await self.outbox.counts(hook.id)
            before = found.get(hook.host, (0, 0))
            found[hook.host] = (before[0] + pending, before[1] + failed)
        for host, numbers in found.items():
            self.metrics.webhooks(host, *numbers)
