"""`/admin/admins`: who may use this API, and as what."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from gateway.admin.keys import IdempotencyKey, listed, secret_once, services
from gateway.admin_fields import AdminChanges, NewAdmin

router = APIRouter(prefix="/admin/admins", tags=["admins"])


@router.post("", status_code=201)
async def create(request: Request, response: Response, fields: NewAdmin, key: IdempotencyKey = None) -> dict[str, Any]:
    """Make an admin. The secret is in this answer and nowhere else."""
    make = partial(services(request).admins.create, fields.model_dump(), request.state.admin)
    return await secret_once(request, response, key, ["admins.create", fields.model_dump(mode="json")], make)


@router.get("")
async def list_admins(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100, after: str | None = None
) -> dict[str, Any]:
    """List admins in the order of their making. `last_used` is exact to an hour."""
    return await listed(services(request).admins, limit, after)


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
    make = partial(services(request).admins.rotate, admin_id)
    return await secret_once(request, response, key, ["admins.rotate", admin_id], make)


@router.post("/{admin_id}/disable")
async def disable(request: Request, admin_id: str) -> dict[str, Any]:
    """Let an admin in no more; not the last one."""
    return await services(request).admins.disable(admin_id)


@router.post("/{admin_id}/enable")
async def enable(request: Request, admin_id: str) -> dict[str, Any]:
    """Let a disabled admin in again."""
    return await services(request).admins.enable(admin_id)
