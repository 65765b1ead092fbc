"""`/admin/audit`: turns, events, export and the check of the log; `/admin/people/{id}/history`."""

import contextlib
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from gateway.admin.audit_fields import EventQuery, ExportQuery, HistoryQuery, PageQuery
from gateway.admin.audit_services import EXPORT, READ_TEXTS, AuditServices
from gateway.admin.keys import services
from gateway.admin.keywords import page
from gateway.admin.recorder import asking
from gateway.audit import documents
from gateway.audit.export import MEDIA, lines
from gateway.audit.search import Page, QueryTooShort, SearchTooLong, UnknownName, content_id_of
from gateway.problems import Problem, invalid

router = APIRouter(prefix="/admin", tags=["audit"])

TOO_LONG = "The index did not answer in time: ask for a shorter time, or for more that narrows it down."
NOT_KEPT = "This gateway keeps no audit log."


def audit(request: Request) -> AuditServices:
    """Return what the routes of the audit log work on."""
    found = services(request).audit
    if found is None:
        raise Problem(503, NOT_KEPT, kind="server_error", code="audit_unavailable")
    return found


@contextlib.contextmanager
def searching() -> Iterator[None]:
    """Say what the search refuses as the client reads it."""
    try:
        yield
    except UnknownName:
        raise invalid("`key` is neither the id nor the name of a key.", "key") from None
    except QueryTooShort:
        raise invalid("`text` must have two characters at least.", "text") from None
    except SearchTooLong:
        raise Problem(503, TOO_LONG, kind="server_error", code="search_timeout", retry_after=5) from None


def _page(found: Page, request: Request, *, texts: bool) -> dict[str, Any]:
    producer = audit(request).producer
    turns = [documents.turn(row, texts=texts, producer=producer) for row in found.turns]
    return {"data": turns, "next": None if found.after is None else str(found.after)}


@router.get("/audit")
async def list_turns(request: Request, query: Annotated[PageQuery, Query()]) -> dict[str, Any]:
    """Search the turns, the newest first. A page of a text may be short and not the last: `next` tells."""
    if query.reads:
        await audit(request).record(asking(request), READ_TEXTS, what="search", asked=query.asked())
    search = audit(request).search
    with searching():
        found = await search.page(await query.wanted(search), query.limit, query.after)
    return _page(found, request, texts=query.texts)


@router.get("/audit/events")
async def list_events(request: Request, query: Annotated[EventQuery, Query()]) -> dict[str, Any]:
    """List what admins did and read, and what was done about people, the newest first."""
    services = audit(request)
    with searching():
        found = await services.search.events(await query.wanted(services.ids_of), query.limit + 1, query.after)
    return page(list(map(documents.event, found)), query.limit, "number")


@router.get("/audit/export")
async def export(request: Request, query: Annotated[ExportQuery, Query()]) -> StreamingResponse:
    """Write the turns that fit into a file, the newest first; this goes on record."""
    found = audit(request)
    with searching():
        wanted = await query.wanted(found.search)
    actions = (READ_TEXTS, EXPORT) if query.reads else (EXPORT,)
    await found.record(asking(request), *actions, what="export", asked=query.asked())
    parts = found.search.every(wanted, query.limit)
    headers = {"content-disposition": f'attachment; filename="audit.{query.form}"'}
    content = lines(parts, query.form, texts=query.texts, producer=found.producer)
    return StreamingResponse(content, media_type=MEDIA[query.form], headers=headers)


@router.post("/audit/verify")
async def verify(request: Request) -> dict[str, Any]:
    """Check the whole log, one check at a time; where it takes longer than the answer may, GET has the report."""
    return await audit(request).verification.start()


@router.get("/audit/verify")
async def verified(request: Request) -> dict[str, Any]:
    """Show what the last check found, and whether one runs."""
    return audit(request).verification.state()


@router.get("/audit/{content_id}")
async def show(
    request: Request, content_id: Annotated[str, Path(max_length=200)], *, texts: bool = False
) -> dict[str, Any]:
    """Show one turn; with `texts=true` its texts, where they are kept, and this goes on record."""
    name = content_id_of(content_id)
    if texts:
        await audit(request).record(asking(request), READ_TEXTS, target=name, what="turn")
    with searching():
        row = await audit(request).search.turn(name)
    if row is None:
        text = f"No turn has the content id `{name}`; a new one is found within a second or two."
        raise Problem(404, text, param="id", code="not_found")
    return documents.turn(row, texts=texts, producer=audit(request).producer)


@router.get("/people/{person}/history")
async def history(
    request: Request, person: Annotated[str, Path(max_length=200)], query: Annotated[HistoryQuery, Query()]
) -> dict[str, Any]:
    """List what a person said, under all the names they go by, the newest first."""
    known = services(request).people
    if known is not None:
        person = await known.measures.main(person)
    if query.texts:
        await audit(request).record(asking(request), READ_TEXTS, target=person, what="history")
    ids = await audit(request).ids_of(person)
    with searching():
        found = await audit(request).search.turns_of(ids, query.limit, query.after)
    return {"person": person, "ids": list(ids), **_page(found, request, texts=query.texts)}
