"""What staff's routes work on."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.admin.recorder import By
from gateway.audit.entries import encode
from gateway.audit.log import Chain
from gateway.complaints.decisions import Decisions, Uphold
from gateway.complaints.labels import FindTurn, Labels
from gateway.complaints.store import Cases, Decided, UnknownCase
from gateway.problems import Problem
from gateway.webhooks.outbox import NotFailed, Outbox, UnknownDelivery


@dataclass(frozen=True, slots=True)
class Review:
    """Made once by the control process; *chain* is its writer of the audit log."""

    appeals: Cases
    complaints: Cases
    decisions: Decisions
    labels: Labels
    outbox: Outbox
    chain: Chain
    deliver: Callable[[], None]
    """Has what is due in the outbox delivered now."""

    @classmethod
    def over(  # noqa: PLR0913 - its collaborators, all by name
        cls,
        engine: AsyncEngine,
        *,
        uphold: Uphold,
        chain: Chain,
        find_turn: FindTurn,
        changed: Callable[[], None] = lambda: None,
        deliver: Callable[[], None] = lambda: None,
    ) -> "Review":
        """Return it over one database."""
        return cls(
            appeals=Cases(engine, "appeals"),
            complaints=Cases(engine, "complaints"),
            decisions=Decisions(engine, uphold, find_turn, changed),
            labels=Labels(engine),
            outbox=Outbox(engine),
            chain=chain,
            deliver=deliver,
        )

    async def read(self, by: By, what: str, **details: Any) -> None:
        """Put on record that somebody reads what people wrote, before it is shown. Raises `AuditUnavailable`."""
        await self.chain.durable(self.chain.append(encode(by.about_to(what, "", details))))


def review(request: Request) -> Review:
    """Return what the routes of the application work on."""
    found: Review = request.app.state.review
    return found


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn what the queues refuse into what the client reads."""
    try:
        yield
    except (UnknownCase, UnknownDelivery) as error:
        raise Problem(404, str(error), param="id", code="not_found") from None
    except (Decided, NotFailed) as error:
        raise Problem(409, str(error), param="id", code="conflict") from None
