"""`/admin/admins`: who may use this API, and as what."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from gateway.admin.keys import IdempotencyKey, answer_once, services
from gateway.admin_fields import AdminChanges, NewAdmin
from gateway.admin_store import UnknownAdmin
from gateway.problems import invalid

router = APIRouter(prefix="/admin/admins", tags=["admins"])


@router.post("", status_code=201)
async def create(request: Request, response: Response, fields: NewAdmin, key: IdempotencyKey = None) -> dict[str, Any]:
    """Make an admin. The secret is in this answer and nowhere else."""

    async def work() -> tuple[Any, Any]:
        record, secret = await services(request).admins.create(fields.model_dump(), request.state.admin)
        return {**record, "secret": secret}, record

    asked = ["admins.create", fields.model_dump(mode="json")]
    answer: dict[str, Any] = await answer_once(request, response, key, asked, work)
    return answer


@router.get("")
async def list_admins(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100, after: str | None = None
) -> dict[str, Any]:
    """List admins in the order of their making. `last_used` is exact to an hour."""
    try:
        found = await services(request).admins.list(limit + 1, after)
    except UnknownAdmin as error:
        raise invalid(f"`after`: {error}", "after") from None
    return {"data": found[:limit], "next": found[limit - 1]["id"] if len(found) > limit else None}


@router.get("/{admin_id}")
async def show(request: Request, admin_id: str) -> dict[str, Any]:
    """Show one admin."""
    return await services(request).admins.get(admin_id)


@router.patch("/{admin_id}")
async def change(request: Request, admin_id: str, fields: AdminChanges) -> dict[str, Any]:
    """Change name, role or expiry; what is absent stays. The last lasting admin keeps role and endlessness."""
    return await services(request).admins.change(admin_id, fields.model_dump(exclude_unset=True))


@router.post("/{admin_id}/rotate")
async def rotate(request: Request, response: Response, admin_id: str, key: IdempotencyKey = None) -> dict[str, Any]:
    """Give an admin a new secret, which is in this answer and nowhere else; the old one ends at once."""

    async def work() -> tuple[Any, Any]:
        record, secret = await services(request).admins.rotate(admin_id)
        return {**record, "secret": secret}, record

    answer: dict[str, Any] = await answer_once(request, response, key, ["admins.rotate", admin_id], work)
    return answer


@router.post("/{admin_id}/disable")
async def disable(request: Request, admin_id: str) -> dict[str, Any]:
    """Let an admin in no more; not the last one."""
    return await services(request).admins.disable(admin_id)


@router.post("/{admin_id}/enable")
async def enable(request: Request, admin_id: str) -> dict[str, Any]:
    """Let a disabled admin in again."""
    return await services(request).admins.enable(admin_id)
