"""`/admin/webhooks/deliveries`: what was to be told to whom, and what came of it."""

from typing import Any, Literal

from fastapi import APIRouter, Request

from gateway.admin.keywords import After, Id, Limit, page
from gateway.admin.review import refusals, review
from gateway.keys import now

router = APIRouter(prefix="/admin/webhooks", tags=["webhooks"])


@router.get("/deliveries")
async def list_deliveries(
    request: Request,
    limit: Limit = 100,
    after: After = 0,
    status: Literal["pending", "delivered", "failed"] | None = None,
) -> dict[str, Any]:
    """List deliveries, the newest first."""
    return page(await review(request).outbox.page(limit + 1, after, status), limit, "id")


@router.post("/deliveries/{delivery_id}/retry")
async def retry(request: Request, delivery_id: Id) -> dict[str, Any]:
    """Try anew what was given up."""
    with refusals():
        found = await review(request).outbox.retry(delivery_id, now())
    review(request).deliver()
    return found
