"""What the control process makes of the audit log: signed heads, the index, standings, queues of staff, webhooks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.admin.audit_services import AuditServices
from gateway.audit.errors import AuditUnavailable
from gateway.audit.expiry import Expiry
from gateway.audit.follower import Follower
from gateway.audit.heads import HEADS, Exporter, Signer, signer
from gateway.audit.index import Index
from gateway.audit.retention import Retention
from gateway.audit.search import Search
from gateway.audit.verification import Verification
from gateway.audit.verify import verify
from gateway.audit.writer import Writer, closed, open_writer
from gateway.complaints.contents import Contents
from gateway.complaints.labels import finding
from gateway.metrics import AuditMetrics
from gateway.people import register
from gateway.people.elsewhere import Counted, others_of
from gateway.people.endings import Endings
from gateway.people.journal import Journal
from gateway.people.ledger import Ledger
from gateway.people.rebuild import Rebuilder
from gateway.people.seen import Seen, name_of
from gateway.people.services import PeopleServices
from gateway.reviewing import Reviewing, reviewing
from gateway.settings import Settings
from gateway.state import board
from gateway.tasks import running


@dataclass(frozen=True, slots=True)
class Books:
    """What the admin API works on beside keys and keywords."""

    writer: Writer
    """Of this process."""
    audit: AuditServices
    people: PeopleServices
    staff: Reviewing


@contextlib.asynccontextmanager
async def kept(
    settings: Settings, engine: AsyncEngine, redis: "Redis", publisher: board.Publisher
) -> AsyncIterator[Books]:
    """Within the block, sign the heads of the audit log, keep it to its age, and bring index and standings in line.

    Raises `AuditUnavailable`.
    """
    root, metrics = settings.data_dir / "audit", AuditMetrics()
    writer = open_writer(root, "control", power=settings.audit.durability == "power")
    exporter: Exporter | None = None
    try:
        signing = signer(root, settings.audit.secret, make=True)
        if signing is None:
            raise AuditUnavailable("there is no key to sign its heads with")
        ledger, counted = Ledger(redis, settings.strikes.rule()), settings.strikes.enabled
        people = PeopleServices.over(engine, ledger, writer, lambda: publisher.refresh(board.PEOPLE), counted=counted)
        await publisher.follow(board.PEOPLE, people.register)
        uphold, find = people.measures.uphold, finding(engine)
        staff = reviewing(settings, engine, redis, chain=writer, uphold=uphold, find_turn=find, names=name_of)
        books = Books(writer, searched(settings, engine, writer, signing), people, staff)
        exporter = Exporter(root, signing, settings.audit.heads_copy, tell=metrics.heads_failed.set)
        follower = Follower(engine, root, (Index(), Seen(), Counted(), *staff.sinks), metrics)
        work = [
            exporter.run(),
            Retention(root, settings.audit.retention_days, signing, writer).run(),
            follower.run(),
            Contents(redis, find, lambda: follower.caught_up).run(),
            Expiry(engine, settings.audit.retention_days).run(),
            staff.run(),
            Endings(engine, writer).run(),
        ]
        if counted:
            work.append(Rebuilder(ledger, root, others_of(engine, root), Journal(writer)).run())
        async with contextlib.AsyncExitStack() as stack:
            for one in work:
                await stack.enter_async_context(running(asyncio.create_task(one)))
            yield books
    finally:
        await closed(writer)
        if exporter is not None:
            await asyncio.to_thread(exporter.last)


def searched(settings: Settings, engine: AsyncEngine, writer: Writer, signing: Signer) -> AuditServices:
    """Return what the routes of the audit log work on."""
    root = settings.data_dir / "audit"
    heads: tuple[Path, ...] = (root / HEADS, *filter(None, [settings.audit.heads_copy]))

    async def ids_of(person: str) -> list[str]:
        async with engine.connect() as connection:
            return await register.ids_of(connection, person)

    verification = Verification(lambda: verify(root, signing, heads))
    return AuditServices(Search(engine), writer, verification, ids_of, settings.labels.producer)
