"""`/docs`: the page that shows and tries every route, without anything from the internet."""

import importlib.util
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse

from gateway.admin.roles import needed
from gateway.admin.routes import HTTP_METHODS
from gateway.problems import Problem

DESCRIPTION = """\
Everything about the gateway that people decide. Press *Authorize* and enter an admin key.

Roles: `viewer` reads, all but the words of people; `moderator` also looks after people, appeals, complaints and the \
draft of the keyword library; `admin` may do everything. Each route says which it needs. Whatever changes something is \
in the audit log before it is done.

Lists take `limit` and `after` (the `next` of the page before). A POST with `Idempotency-Key` is done once in 24 hours \
however often it comes. Errors are `{"error": {"message", "type", "param", "code", "src"}}`; `param` names the field."""

ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
PACKAGE = "fastapi_offline"
"""Carries Swagger UI (Apache-2.0) as files; its code is not used."""
NO_ICON = "data:,"

ERROR = {
    "title": "Error",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "src"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string", "examples": ["invalid_request_error"]},
                "param": {"type": ["string", "null"], "description": "The field that is wrong."},
                "code": {"type": ["string", "null"], "examples": ["invalid_value"]},
                "src": {"type": "string", "enum": ["gateway"]},
            },
        }
    },
}
"""The one error shape as a JSON schema."""

router = APIRouter(include_in_schema=False)


@router.get("/docs")
async def page() -> HTMLResponse:
    """Return the page."""
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Safety Gateway admin",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url=NO_ICON,
        swagger_ui_parameters={"persistAuthorization": False, "docExpansion": "none", "filter": True},
    )


@router.get("/docs/{name}")
async def asset(name: str) -> FileResponse:
    """Return one of the page's two files."""
    if name not in ASSETS:
        raise Problem(404, f"There is no GET /docs/{name}.", code="route_not_found")
    return FileResponse(_folder() / name, media_type=ASSETS[name], headers={"cache-control": "max-age=3600"})


def name_roles(document: dict[str, Any]) -> None:
    """Say in each operation of an OpenAPI document which role it needs."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method not in HTTP_METHODS:
                continue
            role = needed(method.upper(), path)
            said = f"Role: `{role}`."
            if said not in operation.get("description", ""):  # FastAPI keeps the document
                operation["description"] = f"{operation.get('description', '')}\n\n{said}".strip()


def shape_errors(document: dict[str, Any]) -> None:
    """Say in each operation of an OpenAPI document what its errors look like, in place of FastAPI's own shape."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Error"] = ERROR
    for item in document["paths"].values():
        for method in HTTP_METHODS & item.keys():
            responses = item[method]["responses"]
            responses.pop("422", None)
            responses["4XX"] = {
                "description": "Nothing was done.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            }


def _folder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise Problem(503, f"The page needs `pip install {PACKAGE}`.", kind="server_error", code="page_unavailable")
    return Path(found.origin).parent / "static"
