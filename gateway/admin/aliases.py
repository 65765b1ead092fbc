"""`/admin/aliases`: names that are one person's."""

from hashlib import sha256
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from gateway.admin.keys import IdempotencyKey
from gateway.admin.keywords import page, repeatable
from gateway.admin.people import people
from gateway.people.alias_files import MOST_BYTES, take_in
from gateway.people.aliases import Row
from gateway.people.fields import Id, NewAlias
from gateway.problems import invalid
from gateway.reasons import Reason

router = APIRouter(prefix="/admin/aliases", tags=["people"])


@router.get("")
async def list_aliases(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[Id, Query(description="The last alias of the page before.")] = "",
    person: Annotated[Id | None, Query(description="Only those of this person.")] = None,
) -> dict[str, Any]:
    """List aliases in the order of their ids."""
    return page(await people(request).aliases.page(limit + 1, after, person), limit, "alias")


@router.post("", status_code=201)
async def add(request: Request, response: Response, asked: NewAlias, key: IdempotencyKey = None) -> dict[str, Any]:
    """Say that a tenant's clients call one of their users by another name, too."""

    async def work() -> dict[str, Any]:
        row = Row(asked.tenant, asked.alias, asked.user)
        found, new = await people(request).aliases.add(row, asked.reason, request.state.admin)
        response.status_code = 201 if new else 200
        return found

    answer: dict[str, Any] = await repeatable(request, response, key, ["aliases.add", asked.model_dump()], work)
    return answer


@router.post("/import")
async def import_file(
    request: Request, response: Response, reason: Annotated[Reason, Query()], key: IdempotencyKey = None
) -> dict[str, Any]:
    """Enter the aliases of a CSV file: tenant, alias, user."""
    data = await _body(request)

    async def work() -> dict[str, Any]:
        return await take_in(people(request).aliases, data, reason, request.state.admin)

    asked = ["aliases.import", reason, sha256(data).hexdigest()]
    answer: dict[str, Any] = await repeatable(request, response, key, asked, work)
    return answer


@router.delete("/{alias}")
async def remove(request: Request, alias: str, reason: Annotated[Reason, Query()]) -> dict[str, Any]:
    """Take an alias away: it is a person of its own again."""
    return await people(request).aliases.remove(alias, reason, request.state.admin)


async def _body(request: Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MOST_BYTES:
            raise invalid(f"The body has more than {MOST_BYTES} bytes.", "body", "body_too_large")
    if not data:
        raise invalid("`body`: the body is empty: send the file as it is.", "body")
    return bytes(data)
