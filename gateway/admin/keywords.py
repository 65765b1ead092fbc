"""`/admin/keywords/entries`, `/import`, `/export`: the draft of the keyword library."""

import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from typing import IO, Annotated, Any, cast

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import PlainValidator

from gateway.admin.keys import IdempotencyKey, services
from gateway.idempotency import once
from gateway.keyword_bulk import remove_source
from gateway.keyword_changes import Edit
from gateway.keyword_fields import LARGEST_ID, Changes, EntryChanges, File, NewEntry, Removal, Search, faults_of
from gateway.keyword_files import MOST_BYTES, Format, take_in, written
from gateway.keyword_services import KeywordServices
from gateway.keyword_store import EntryInvalid, TermTaken, UnknownEntry
from gateway.keyword_trials import DRAFT, LIVE, Version
from gateway.keyword_versions import NotNow, UnknownVersion
from gateway.problems import Problem, invalid
from keywords.entry import Entry

log = logging.getLogger(__name__)
router = APIRouter(prefix="/admin/keywords", tags=["keywords"])

IMPORT_PATH = "/admin/keywords/import"
ANY_FILE = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""What the documentation page asks for: the body is read as it comes."""
TOO_LARGE = f"The file has more than {MOST_BYTES >> 20} MB: split it by lines."
SPOOLED = 1 << 20
"""Bytes of a body that are written in one go."""
Id = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Most = Annotated[int | None, Query(ge=1, le=LARGEST_ID, description="The first so many, by id; none: all.")]
After = Annotated[int, Query(ge=0, le=LARGEST_ID, description="The last id of the page before.")]


def _version(value: object) -> Version:
    text = str(value)
    if text in {DRAFT, LIVE}:
        return cast("Version", text)
    if text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= LARGEST_ID:
        return int(text)
    raise ValueError("must be `draft`, `live` or the number of a version")


AnyVersion = Annotated[Version, PlainValidator(_version, json_schema_input_type=Version)]


def problem(error: Exception) -> Problem:
    """Return one of the library's refusals as the client reads it."""
    found = faults_of(error)
    field, reason = found[0]
    match error:
        case TermTaken() | NotNow():
            return Problem(409, reason, param=field, code="conflict")
        case UnknownEntry() | UnknownVersion():
            return Problem(404, reason, param=field, code="not_found")
    return invalid(" ".join(f"`{field}`: {reason}." for field, reason in found), field)


def keywords(request: Request) -> KeywordServices:
    """Return what the routes of the keyword library work on."""
    return services(request).keywords


async def repeatable(
    request: Request, response: Response, key: str | None, asked: Any, work: Callable[[], Awaitable[Any]]
) -> Any:
    """Do *work* once for an Idempotency-Key; return its answer, which holds no secret."""

    async def both() -> tuple[Any, Any]:
        answer = await work()
        return answer, answer

    answer, repeated = await once(services(request).redis, request.state.admin, key, asked, both)
    if repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return answer


def page(found: list[dict[str, Any]], limit: int, name: str) -> dict[str, Any]:
    """Return the first *limit* of what was found, and the cursor behind them."""
    return {"data": found[:limit], "next": found[limit - 1][name] if len(found) > limit else None}


@router.get("/entries")
async def list_entries(request: Request, search: Annotated[Search, Query()]) -> dict[str, Any]:
    """List and search the entries of the draft."""
    found = await keywords(request).store.page(search.limit + 1, search.after, search.filter())
    return page(found, search.limit, "id")


@router.post("/entries", status_code=201)
async def create(request: Request, response: Response, fields: NewEntry, key: IdempotencyKey = None) -> dict[str, Any]:
    """Enter a term by hand; it may block at once. The answer says what it would have hit."""
    entry = Entry(id=0, **{**fields.values(), "added_by": request.state.admin})

    async def work() -> dict[str, Any]:
        record = await keywords(request).store.create(entry)
        return await _with_findings(request, record, entry)

    asked = ["keywords.create", fields.model_dump(mode="json")]
    answer: dict[str, Any] = await repeatable(request, response, key, asked, work)
    return answer


async def _with_findings(request: Request, record: dict[str, Any], entry: Entry) -> dict[str, Any]:
    """Return *record* with what speaks against its entry."""
    return {**record, **await keywords(request).trials.first_look(replace(entry, id=record["id"]))}


@router.delete("/entries")
async def delete_source(request: Request, which: Annotated[Removal, Query()]) -> dict[str, Any]:
    """Take all entries of one source out of the draft; frozen versions keep them."""
    edit = Edit(request.state.admin, which.why or "")
    found = await remove_source(keywords(request).store, which.source, edit, dry=which.dry_run)
    if found["removed"]:
        log.info("%s removed %d keyword entries of a source: %s", request.state.admin, found["entries"], which.why)
    return {**found, "why": which.why}


@router.get("/entries/{entry_id}")
async def show(request: Request, entry_id: Id) -> dict[str, Any]:
    """Show one entry."""
    return await keywords(request).store.get(entry_id)


@router.patch("/entries/{entry_id}")
async def change(request: Request, entry_id: Id, fields: EntryChanges) -> dict[str, Any]:
    """Change an entry. An imported one judges or blocks only once it was measured, or with `force`."""
    values = fields.values()
    force = values.pop("force", None)
    record = await keywords(request).store.change(entry_id, values, force, by=request.state.admin)
    return await _with_findings(request, record, await keywords(request).store.entry(entry_id))


@router.delete("/entries/{entry_id}")
async def delete(request: Request, entry_id: Id) -> dict[str, Any]:
    """Take an entry out of the draft; frozen versions keep it."""
    await keywords(request).store.delete(entry_id, by=request.state.admin)
    return {"id": entry_id, "deleted": True}


@router.get("/changes")
async def list_changes(request: Request, which: Annotated[Changes, Query()]) -> dict[str, Any]:
    """List what was done to the draft, the newest first: by whom, when, from what to what, why."""
    found = await keywords(request).changed(which, which.limit + 1)
    return page(found, which.limit, "number")


@router.post("/import", openapi_extra=ANY_FILE)
async def import_file(
    request: Request, response: Response, file: Annotated[File, Query()], key: IdempotencyKey = None
) -> dict[str, Any]:
    """Enter a word list (text, csv, xlsx or JSON lines); its entries only observe until they are measured."""
    with tempfile.TemporaryFile() as body:
        digest = await _spool(request, body)

        async def work() -> dict[str, Any]:
            return await take_in(keywords(request).store, body, **file.model_dump(), by=request.state.admin)

        asked = ["keywords.import", file.model_dump(), digest]
        answer: dict[str, Any] = await repeatable(request, response, key, asked, work)
        return answer


async def _spool(request: Request, file: IO[bytes]) -> str:
    """Write the body into *file*, some of it at a time and never on the event loop; return its digest."""
    size, digest, waiting = 0, sha256(), bytearray()

    def write(data: bytes) -> None:
        file.write(data)
        digest.update(data)

    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            raise invalid(TOO_LARGE, "body", "body_too_large")
        waiting += part
        if len(waiting) >= SPOOLED:
            await asyncio.to_thread(write, bytes(waiting))
            waiting.clear()
    if not size:
        raise EntryInvalid("body", "the body is empty: send the file as it is")
    await asyncio.to_thread(write, bytes(waiting))
    return digest.hexdigest()


@router.get("/export")
async def export(
    request: Request,
    form: Annotated[Format, Query(alias="format")] = "csv",
    version: Annotated[AnyVersion, Query()] = DRAFT,
    limit: Most = None,
) -> StreamingResponse:
    """Write the draft or a version as a file that `/import` takes: csv or JSON lines."""
    entries = (await keywords(request).trials.entries(version))[:limit]
    media = "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson"
    headers = {"content-disposition": f'attachment; filename="keywords-{version}.{form}"'}
    return StreamingResponse(written(entries, form), media_type=media, headers=headers)
