"""`/admin/appeals`: people who were refused or suspended, and ask staff to look again."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from gateway.admin.keys import IdempotencyKey
from gateway.admin.keywords import Limit, page, repeatable
from gateway.admin.review import refusals, review
from gateway.complaints.fields import Reject, Uphold
from gateway.complaints.rules import LONGEST_CONTENT_ID
from gateway.complaints.store import Cases, Filter, UnknownCase, shown
from gateway.keys import now
from gateway.problems import invalid

router = APIRouter(prefix="/admin/appeals", tags=["appeals"])

After = Annotated[str | None, Query(max_length=64, description="The id that `next` of the page before says.")]


async def listed(cases: Cases, limit: int, after: str | None, wanted: Filter) -> dict[str, Any]:
    """Return a page of a queue."""
    try:
        return page(await cases.page(limit + 1, after, wanted, now()), limit, "id")
    except UnknownCase as error:
        raise invalid(f"`after`: {error}", "after") from None


async def with_turn(request: Request, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a case with where its turn stands in the log; none: nobody knows it."""
    find = review(request).decisions.find_turn
    turn = await find(row["content_id"]) if row["content_id"] else None
    return {**shown(row, now()), "records": list(turn.records) if turn is not None else []}


@router.get("")
async def list_appeals(  # noqa: PLR0913, PLR0917 - parameters of a query
    request: Request,
    limit: Limit = 100,
    after: After = None,
    status: Literal["open", "upheld", "rejected"] | None = None,
    overdue: bool | None = None,
    person: Annotated[str | None, Query(max_length=64)] = None,
    content_id: Annotated[str | None, Query(max_length=LONGEST_CONTENT_ID)] = None,
) -> dict[str, Any]:
    """List appeals, the oldest due first."""
    wanted = Filter(status=status, overdue=overdue, person=person, content_id=content_id)
    return await listed(review(request).appeals, limit, after, wanted)


@router.get("/{appeal_id}")
async def show(request: Request, appeal_id: str) -> dict[str, Any]:
    """Show one appeal, and where the turn that it speaks of is in the log."""
    with refusals():
        return await with_turn(request, await review(request).appeals.row(appeal_id))


@router.post("/{appeal_id}/uphold")
async def uphold(
    request: Request, response: Response, appeal_id: str, decision: Uphold, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Grant an appeal: the person's standing and level are restored. An appeal is decided once."""

    async def work() -> dict[str, Any]:
        with refusals():
            row = await review(request).decisions.uphold(appeal_id, decision.reason, request.state.admin)
        return shown(row, now())

    asked = ["appeals.uphold", appeal_id, decision.model_dump()]
    answer: dict[str, Any] = await repeatable(request, response, key, asked, work)
    return answer


@router.post("/{appeal_id}/reject")
async def reject(
    request: Request, response: Response, appeal_id: str, decision: Reject, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Refuse an appeal. An appeal is decided once."""

    async def work() -> dict[str, Any]:
        with refusals():
            row = await review(request).decisions.reject(appeal_id, decision.reason, request.state.admin, decision.risk)
        return shown(row, now())

    asked = ["appeals.reject", appeal_id, decision.model_dump()]
    answer: dict[str, Any] = await repeatable(request, response, key, asked, work)
    return answer
