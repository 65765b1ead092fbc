"""`/admin/people`: who they are, where they stand, and what is done about it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.admin.audit_fields import PastQuery
from gateway.admin.keys import IdempotencyKey, services
from gateway.admin.keywords import page, repeatable
from gateway.people.aliases import UnknownAlias
from gateway.people.errors import MeasureRefused, StandingsAway, UnknownPerson
from gateway.people.fields import Because, Named, Placement, Search, Suspension, WhichTable
from gateway.people.measures import Done
from gateway.people.services import PeopleServices
from gateway.problems import Problem, invalid

router = APIRouter(prefix="/admin/people", tags=["people"])

REFUSALS = (UnknownPerson, UnknownAlias, MeasureRefused, StandingsAway)
"""What the measures raise."""
ACCEPTED = 202
"""On record, and not applied yet: the state server is away."""


def problem(error: Exception) -> Problem:
    """Return one of `REFUSALS` as the client reads it."""
    match error:
        case MeasureRefused(conflict=False):
            return invalid(f"`{error.field}`: {error}.", error.field)
        case MeasureRefused():
            return Problem(409, f"`{error.field}`: {error}.", param=error.field, code="conflict")
        case StandingsAway():
            return Problem(503, str(error), kind="server_error", code="state_unavailable", retry_after=1)
    return Problem(404, str(error), param="id", code="not_found")


def people(request: Request) -> PeopleServices:
    """Return what the routes for people work on."""
    return cast("PeopleServices", services(request).people)


@router.get("")
async def list_people(request: Request, search: Annotated[Search, Query()]) -> dict[str, Any]:
    """List and search people; those who are suspended, have violations in a row, are banned or exempt."""
    found = await people(request).roster.page(search.wanted(), search.limit + 1, search.after)
    return page(found, search.limit, "id")


@router.post("/lookup")
async def look_up(request: Request, named: Named) -> dict[str, Any]:
    """Tell the id of somebody by name, also of somebody who has never been seen."""
    own = await people(request).measures.look_up(named.tenant, named.user)
    return {"id": await people(request).measures.main(own), "own_id": own}


@router.get("/export")
async def export(request: Request, which: Annotated[WhichTable, Query()]) -> StreamingResponse:
    """Write people as a table for a spreadsheet."""
    rows = people(request).roster.table(which.wanted())
    first = await anext(rows)  # what fails, fails before the answer has begun

    async def parts() -> AsyncIterator[bytes]:
        yield first
        async for part in rows:
            yield part

    headers = {"content-disposition": f'attachment; filename="people.{which.format}"'}
    return StreamingResponse(parts(), media_type="text/csv; charset=utf-8", headers=headers)


@router.get("/{person_id}")
async def show(request: Request, person_id: str) -> dict[str, Any]:
    """Show one person: names, standing, ban, exemption, and what happened to them lately."""
    return await people(request).roster.show(await people(request).measures.main(person_id))


@router.get("/{person_id}/events")
async def list_events(request: Request, person_id: str, query: Annotated[PastQuery, Query()]) -> dict[str, Any]:
    """List what happened to a person: suspensions, lifts, bans, exemptions, aliases; the newest first."""
    person = await people(request).measures.main(person_id)
    found, after = await people(request).roster.past.page(person, query.limit, query.after)
    return {"person": person, "data": found, "next": None if after is None else str(after)}


@dataclass(frozen=True, slots=True)
class Measuring:
    """What every route here that does something about a person is given."""

    request: Request
    response: Response
    key: IdempotencyKey = None

    async def done(
        self, person_id: str, asked: Because, measure: Callable[..., Awaitable[Done]], *end: int | None
    ) -> dict[str, Any]:
        """Do *measure* once, of what has an *end* until then; answer with the person as they stand then.

        202 where it comes later.
        """
        request = self.request

        async def told() -> dict[str, Any]:
            done = await measure(person_id, *end, asked.reason, request.state.admin)
            shown = await people(request).roster.show(done.person, done)
            return {"measure": done.id, "applied": done.applied, "person": shown}

        once = ["people", request.url.path.rpartition("/")[2], person_id, asked.model_dump(mode="json")]
        answer: dict[str, Any] = await repeatable(request, self.response, self.key, once, told)
        if not answer["applied"]:
            self.response.status_code = ACCEPTED
        return answer


About = Annotated[Measuring, Depends()]


@router.post("/{person_id}/suspend")
async def suspend(about: About, person_id: str, asked: Suspension) -> dict[str, Any]:
    """Suspend a person for so many `hours`, `until` then, or `until_lifted`."""
    return await about.done(person_id, asked, people(about.request).measures.suspend, asked.end_ms())


@router.post("/{person_id}/lift")
async def lift(about: About, person_id: str, asked: Because) -> dict[str, Any]:
    """End a suspension; violations in a row and of the day begin anew."""
    return await about.done(person_id, asked, people(about.request).measures.lift)


@router.post("/{person_id}/ban")
async def ban(about: About, person_id: str, asked: Placement) -> dict[str, Any]:
    """Ban a person for so many `hours`, `until` then, or without an end."""
    return await about.done(person_id, asked, people(about.request).measures.ban, asked.end())


@router.post("/{person_id}/unban")
async def unban(about: About, person_id: str, asked: Because) -> dict[str, Any]:
    """End a ban."""
    return await about.done(person_id, asked, people(about.request).measures.unban)


@router.post("/{person_id}/exempt")
async def exempt(about: About, person_id: str, asked: Placement) -> dict[str, Any]:
    """Never strike nor suspend a person, for so many `hours`, `until` then, or without an end."""
    return await about.done(person_id, asked, people(about.request).measures.exempt, asked.end())


@router.post("/{person_id}/unexempt")
async def unexempt(about: About, person_id: str, asked: Because) -> dict[str, Any]:
    """End an exemption."""
    return await about.done(person_id, asked, people(about.request).measures.unexempt)
