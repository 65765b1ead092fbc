"""`/admin/keys`: client keys."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response

from gateway.admin.services import AdminServices
from gateway.admin_store import AdminKeys, UnknownAdmin
from gateway.idempotency import once
from gateway.key_fields import KeyChanges, NewKey, Rotation
from gateway.key_store import KeyStore, UnknownKey
from gateway.problems import invalid

router = APIRouter(prefix="/admin/keys", tags=["keys"])

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key")]


def services(request: Request) -> AdminServices:
    """Return the services of the application."""
    found: AdminServices = request.app.state.services
    return found


async def answer_once(request: Request, response: Response, key: str | None, asked: Any, work: Any) -> Any:
    """Do *work* once for an Idempotency-Key, as `once` says; tell the client of a repeat."""
    answer, repeated = await once(services(request).redis, request.state.admin, key, asked, work)
    if repeated:
        response.headers["Idempotent-Replayed"] = "true"
    return answer


async def secret_once(
    request: Request, response: Response, key: str | None, asked: Any, make: Callable[[], Awaitable[tuple[Any, str]]]
) -> dict[str, Any]:
    """Answer with the record and the secret that *make* returns; a repeat of the request gets the record alone."""

    async def work() -> tuple[Any, Any]:
        record, secret = await make()
        return {**record, "secret": secret}, record

    answer: dict[str, Any] = await answer_once(request, response, key, asked, work)
    return answer


async def listed(store: KeyStore | AdminKeys, limit: int, after: str | None) -> dict[str, Any]:
    """Return a page of those who hold a secret, and its cursor. Raises `Problem` for one that is none."""
    try:
        found = await store.list(limit + 1, after)
    except (UnknownKey, UnknownAdmin) as error:
        raise invalid(f"`after`: {error}", "after") from None
    return {"data": found[:limit], "next": found[limit - 1]["id"] if len(found) > limit else None}


@router.post("", status_code=201)
async def create(request: Request, response: Response, fields: NewKey, key: IdempotencyKey = None) -> dict[str, Any]:
    """Make a key. Its secret is in this answer and nowhere else."""
    make = partial(services(request).keys.create, fields.model_dump(exclude_none=True))
    return await secret_once(request, response, key, ["create", fields.model_dump()], make)


@router.get("")
async def list_keys(
    request: Request, limit: Annotated[int, Query(ge=1, le=1000)] = 100, after: str | None = None
) -> dict[str, Any]:
    """List keys in the order of their making."""
    return await listed(services(request).keys, limit, after)


@router.get("/{key_id}")
async def show(request: Request, key_id: str) -> dict[str, Any]:
    """Show one key."""
    return await services(request).keys.get(key_id)


@router.patch("/{key_id}")
async def change(request: Request, key_id: str, fields: KeyChanges) -> dict[str, Any]:
    """Change a key."""
    return await services(request).keys.change(key_id, fields.model_dump(exclude_unset=True))


@router.post("/{key_id}/rotate")
async def rotate(
    request: Request,
    response: Response,
    key_id: str,
    rotation: Annotated[Rotation, Body()] = Rotation(grace_seconds=0),  # noqa: B008 - immutable in use
    key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Give a key a new secret, which is in this answer and nowhere else."""
    make = partial(services(request).keys.rotate, key_id, rotation.grace_seconds)
    return await secret_once(request, response, key, ["rotate", key_id, rotation.model_dump()], make)


@router.post("/{key_id}/disable")
async def disable(request: Request, key_id: str) -> dict[str, Any]:
    """Refuse a key from now on."""
    return await services(request).keys.disable(key_id)


@router.post("/{key_id}/enable")
async def enable(request: Request, key_id: str) -> dict[str, Any]:
    """Accept a disabled key again."""
    return await services(request).keys.enable(key_id)
