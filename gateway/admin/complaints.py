"""`/admin/complaints`: what people say of what they were answered, and what staff say to it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.admin.appeals import After, listed, with_turn
from gateway.admin.keys import IdempotencyKey
from gateway.admin.keywords import Limit, repeatable
from gateway.admin.recorder import asking
from gateway.admin.review import refusals, review
from gateway.complaints.export import Format, written
from gateway.complaints.fields import Answer
from gateway.complaints.rules import LONGEST_CONTENT_ID, Kind
from gateway.complaints.store import Filter, shown
from gateway.keys import now

router = APIRouter(prefix="/admin/complaints", tags=["complaints"])

Status = Literal["open", "answered"]


@router.get("")
async def list_complaints(  # noqa: PLR0913, PLR0917 - parameters of a query
    request: Request,
    limit: Limit = 100,
    after: After = None,
    status: Status | None = None,
    overdue: bool | None = None,
    kind: Kind | None = None,
    person: Annotated[str | None, Query(max_length=64)] = None,
    content_id: Annotated[str | None, Query(max_length=LONGEST_CONTENT_ID)] = None,
) -> dict[str, Any]:
    """List complaints, the oldest due first."""
    wanted = Filter(status=status, overdue=overdue, kind=kind, person=person, content_id=content_id)
    return await listed(review(request).complaints, limit, after, wanted)


@router.get("/export")
async def export(
    request: Request,
    form: Annotated[Format, Query(alias="format")] = "csv",
    status: Status | None = None,
    kind: Kind | None = None,
) -> StreamingResponse:
    """Write complaints as a file, csv or JSON lines; this goes on record."""
    found = review(request)
    await found.read(asking(request), "complaints.export", format=form, status=status or "", kind=kind or "")
    parts = found.complaints.every(Filter(status=status, kind=kind), now())
    media = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
    headers = {"content-disposition": f'attachment; filename="complaints.{form}"'}
    return StreamingResponse(written(parts, form), media_type=media, headers=headers)


@router.get("/{complaint_id}")
async def show(request: Request, complaint_id: str) -> dict[str, Any]:
    """Show one complaint, and where the turn that it speaks of is in the log."""
    with refusals():
        return await with_turn(request, await review(request).complaints.row(complaint_id))


@router.post("/{complaint_id}/answer")
async def answer(
    request: Request, response: Response, complaint_id: str, said: Answer, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Answer a complaint, once. What is decided becomes a label of the content."""

    async def work() -> dict[str, Any]:
        with refusals():
            row = await review(request).decisions.answer(
                complaint_id, said.answer, request.state.admin, founded=said.decision == "founded", risk=said.risk
            )
        return shown(row, now())

    asked = ["complaints.answer", complaint_id, said.model_dump()]
    told: dict[str, Any] = await repeatable(request, response, key, asked, work)
    return told
