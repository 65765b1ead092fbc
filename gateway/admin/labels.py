"""`/admin/labels`: what staff's decisions teach a classifier."""

from collections.abc import AsyncIterator
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from gateway.admin.keywords import After, Limit, page
from gateway.admin.review import review
from gateway.complaints.labels import Labels

router = APIRouter(prefix="/admin/labels", tags=["labels"])


@router.get("")
async def list_labels(
    request: Request, limit: Limit = 100, after: After = 0, label: Literal["harmful", "harmless"] | None = None
) -> dict[str, Any]:
    """List labels in the order of their making."""
    return page(await review(request).labels.page(limit + 1, after, label), limit, "number")


@router.get("/export")
async def export(request: Request) -> StreamingResponse:
    """Write all labels as JSON lines."""
    headers = {"content-disposition": 'attachment; filename="labels.jsonl"'}
    return StreamingResponse(_lines(review(request).labels), media_type="application/x-ndjson", headers=headers)


async def _lines(labels: Labels) -> AsyncIterator[bytes]:
    async for part in labels.every():
        yield b"".join(msgspec.json.encode(one) + b"\n" for one in part)
