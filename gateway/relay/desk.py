"""Where appeals and complaints are handed in: put on record, and their tables are made from the record.

A worker speaks no SQL. What it has answered with 201 is in the log, and whatever is killed then, staff will see it.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.audit.entries import AnyRecord, Appeal, Complaint, Found, encode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import Chain
from gateway.complaints import contents
from gateway.complaints.published import Board, Case, Status
from gateway.complaints.rules import HOUR_SECONDS, MOST_OF_A_KEY
from gateway.complaints.window import Daily
from gateway.idempotency import once
from gateway.keys import Caller
from gateway.people.directory import Directory
from gateway.problems import Problem, invalid
from gateway.relay import identity, letters, screening
from gateway.relay.identity import Person
from gateway.relay.letters import AppealLetter, ComplaintLetter, Letter
from gateway.relay.message import Incoming
from gateway.relay.stages import Stages
from gateway.settings import Settings
from keywords.entry import Direction
from policies import keyword_policy

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 1.0
"""For Redis to learn of a new case; else the control process tells it later."""
AWAY = "What has become of it cannot be read now."

Received = tuple[dict[str, object], bool]
"""What the client is told, and whether it was told so before."""


class Parts(Protocol):
    """What the desk needs of a worker."""

    settings: Settings
    redis: "Redis"
    chain: Chain | None
    stages: Stages
    directory: Directory


class Desk:
    """Takes appeals and complaints, and says what has become of them."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        redis, settings = parts.redis, parts.settings
        self.boards: dict[Case, Board] = {case: Board(redis, case) for case in ("appeals", "complaints")}
        self._daily = {
            "appeals": Daily(redis, "appeals of one person", settings.appeals.per_day, "user"),
            "complaints": Daily(redis, "complaints of one person", settings.complaints.per_day, "user"),
        }
        self._of_key = {case: Daily(redis, f"{case} by one key", MOST_OF_A_KEY) for case in self._daily}

    async def appeal(self, caller: Caller, incoming: Incoming) -> Received:
        """Take an appeal. Raises `Problem` and `AuditUnavailable`: then there is none."""
        letter, body = letters.read(incoming.body, AppealLetter)
        if not letter.text.strip():
            raise invalid("`text` is empty: say why.", "text")
        content = letters.content_id(letter.content_id)
        person = _person(caller, letter, incoming)
        if person is None:
            raise invalid("`user` is missing: an appeal is somebody's.", "user")

        async def work() -> dict[str, object]:
            who = self.parts.directory.id_of(person)
            await self._count("appeals", caller, who)
            record = Appeal(
                **self._common("apl", caller, incoming, self.parts.settings.appeals.due_hours),
                person=who,
                user=person.id,
                text=letter.text,
                content_id=content,
                found=await self._found(letter.text),
            )
            told = await self._taken("appeals", record)
            return {**told, **await self._content(content)} if content else told

        return await self._once(caller, incoming, ["appeals", body], work)

    async def complain(self, caller: Caller, incoming: Incoming) -> Received:
        """Take a complaint. Raises `Problem` and `AuditUnavailable`: then there is none."""
        letter, body = letters.read(incoming.body, ComplaintLetter)
        content = letters.content_id(letter.content_id)
        if not content:
            raise invalid("`content_id` is empty: the header X-Content-Id of the answer says it.", "content_id")
        person = _person(caller, letter, incoming)

        async def work() -> dict[str, object]:
            who = self.parts.directory.id_of(person) if person is not None else ""
            await self._count("complaints", caller, caller.key_id, who)
            record = Complaint(
                **self._common("cmp", caller, incoming, self.parts.settings.complaints.due_hours),
                person=who,
                user=person.id if person is not None else "",
                content_id=content,
                kind=letter.kind.value,
                text=letter.text or "",
                contact=letter.contact or "",
                found=await self._found(letter.text or ""),
            )
            return {**await self._taken("complaints", record), **await self._content(content)}

        return await self._once(caller, incoming, ["complaints", body], work)

    async def show(self, case: Case, case_id: str, caller: Caller) -> dict[str, object]:
        """Return what has become of a case of the caller's tenant. Raises `Problem`."""
        try:
            status = await self.boards[case].read(case_id, caller.tenant)
        except (RedisError, OSError):  # TimeoutError is an OSError
            raise Problem(503, AWAY, kind="server_error", code="state_unavailable", retry_after=5) from None
        if status is None:
            raise Problem(404, f"There is no `{case_id[:64]}` among the {case}.", param="id", code="not_found")
        return status.document()

    async def _count(self, case: Case, caller: Caller, *who: str) -> None:
        """Count a case that is about to be put on record. Raises a 429 `Problem`, and `AuditUnavailable`."""
        self._check_log()
        await self._daily[case].take(*who)
        await self._of_key[case].take(caller.key_id)

    def _check_log(self) -> None:
        """Raise `AuditUnavailable` before anything is counted that could not be put on record."""
        if self.parts.chain is None or self.parts.chain.trouble is not None:
            raise AuditUnavailable("nothing can be put on record")

    @staticmethod
    def _common(prefix: str, caller: Caller, incoming: Incoming, due_hours: float) -> dict[str, Any]:
        at = time.time_ns() // 1_000_000
        return {
            "at": at,
            "id": f"{prefix}_{secrets.token_hex(12)}",
            "key": caller.key_id,
            "tenant": caller.tenant,
            "due": at + int(due_hours * HOUR_SECONDS * 1_000),
            "address": incoming.address,
        }

    async def _found(self, text: str) -> tuple[Found, ...]:
        """Return what the keyword library notices: a complaint quotes bad words, so nobody is refused or struck."""
        hits = await screening.observed(self.parts.stages.policy, [text], Direction.IN) if text else []
        evidence = keyword_policy.evidence(keyword_policy.ranked(hits), keyword_policy.CONTEXT)
        return tuple(Found(one.stage, one.what, one.start, one.end) for one in evidence)

    async def _taken(self, case: Case, record: Appeal | Complaint) -> dict[str, object]:
        """Put a case on record, then have the workers know of it."""
        await self._write(record)
        status = Status(record.id, record.tenant, record.at // 1_000, record.due // 1_000)
        with contextlib.suppress(RedisError, OSError):
            async with asyncio.timeout(PUBLISH_SECONDS):
                await self.boards[case].publish(status)
        return {"id": status.id, "received_at": status.received_at, "due_at": status.due_at}

    async def _content(self, content_id: str) -> dict[str, object]:
        """Return what the client is told of the content: a case is taken whatever it names."""
        return {"content_on_record": await contents.on_record(self.parts.redis, content_id)}

    async def _write(self, record: AnyRecord) -> None:
        self._check_log()
        chain = self.parts.chain
        if chain is not None:
            await chain.durable(chain.append(encode(record)))

    async def _once(
        self, caller: Caller, incoming: Incoming, asked: Any, work: Callable[[], Awaitable[dict[str, object]]]
    ) -> Received:
        async def both() -> tuple[Any, Any]:
            answer = await work()
            return answer, answer

        key = incoming.once.decode("latin-1") if incoming.once is not None else None
        return await once(self.parts.redis, f"client {caller.key_id}", key, asked, both)


def _person(caller: Caller, letter: Letter, incoming: Incoming) -> Person | None:
    header = incoming.user.decode("utf-8", "replace") if incoming.user is not None else None
    return identity.named_by(caller, letter.named, header)
