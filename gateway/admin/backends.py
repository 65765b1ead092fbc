"""`/admin/backends`: deployments and their replicas; `/admin/reload`: the settings file again."""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from backends.deployment import Deployment
from backends.plan import document
from gateway.admin.keys import IdempotencyKey, answer_once, services
from gateway.admin.roles import Role
from gateway.fleet import log_reader, view
from gateway.fleet.checking import DeploymentRefused
from gateway.fleet.deployments import Deployments, NotByRest, Taken
from gateway.fleet.fleet import UnknownDeployment
from gateway.fleet.group import Group, UnknownReplica
from gateway.fleet.member import Member
from gateway.problems import Problem
from gateway.settings import SettingsInvalid

router = APIRouter(prefix="/admin", tags=["backends"])

REFUSALS = (UnknownDeployment, UnknownReplica, DeploymentRefused, Taken, NotByRest, SettingsInvalid)
"""What deployments raise."""
ACCEPTED = 202
"""It has begun; how far it is, is in the state."""
MOST_FOLLOWERS = 20
"""Logs that are followed at once."""

Number = Annotated[int, Path(ge=0, le=1023, description="The replica's number.")]
Order = Literal["start", "stop", "drain", "restart"]


class Within(BaseModel):
    """How long running answers have before they break off."""

    model_config = ConfigDict(extra="forbid")

    seconds: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        None, description="For running answers to end; none: as long as they take."
    )


class Where(BaseModel):
    """Which part of a log."""

    model_config = ConfigDict(extra="forbid")

    offset: Annotated[int, Field(ge=0)] | None = Field(None, description="In bytes; none: the end of the log.")
    follow: bool = Field(False, description="Whether to send what is written from now on, as server-sent events.")


_followers = 0
PATIENT = Within(seconds=None)
Patience = Annotated[Within, Body()]


def _schema(*, every: bool) -> dict[str, Any]:
    """Return how the body of a deployment is documented: the fields of the settings file."""
    schema = Deployment.model_json_schema(ref_template="#/components/schemas/{model}")
    definitions = schema.pop("$defs", {})
    for field in schema["properties"].values():
        reference = field.pop("$ref", None)
        if reference is not None:
            field.update(definitions[reference.rpartition("/")[2]])
    if not every:
        schema.pop("required", None)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def problem(error: Exception) -> Problem:
    """Return one of `REFUSALS` as the client reads it."""
    match error:
        case DeploymentRefused():
            return Problem(400, str(error), param=error.complaints[0][0], code="deployment_invalid")
        case SettingsInvalid():
            return Problem(400, str(error), code="settings_invalid")
        case Taken():
            return Problem(409, str(error), param="model", code="conflict")
        case NotByRest():
            return Problem(409, str(error), param="id", code="in_settings")
    return Problem(404, str(error), param="id", code="not_found")


def deployments(request: Request) -> Deployments:
    """Return what the routes for deployments work on."""
    return cast("Deployments", services(request).deployments)


@router.get("/backends")
async def list_backends(request: Request) -> dict[str, Any]:
    """List deployments: where they come from, their state, what they have to do, their last error."""
    return {"data": await view.summaries(deployments(request)), "next": None}


@router.post("/backends", status_code=ACCEPTED, openapi_extra=_schema(every=True))
async def add(
    request: Request,
    response: Response,
    fields: Annotated[dict[str, Any], Body()],
    key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Add a deployment, as the settings file would say it; it is checked, and then starts."""
    found = deployments(request)

    async def work() -> tuple[Any, Any]:
        entry = await found.add(fields, request.state.admin)
        shown = await _summary(found, entry.id)
        return shown, shown

    answer: dict[str, Any] = await answer_once(request, response, key, ["add", fields], work)
    return answer


@router.get("/backends/plan")
async def plan(request: Request) -> dict[str, Any]:
    """Tell what would be started if the settings file were read now: command lines, with what is wrong beside each.

    400 `settings_invalid` where the file itself is wrong; `gateway backends plan` shows the rest of it even then.
    """
    found = await deployments(request).plan()
    wrong = bool(found.problems) or any(one.problems for one in found.deployments)
    return {"ok": not wrong, "deployments": document(found.deployments), "problems": found.problems}


@router.get("/backends/{deployment_id}")
async def show(request: Request, deployment_id: str) -> dict[str, Any]:
    """Show a deployment with each replica: state, process, command, load, what its engine says, its last error.

    The ends of logs are there for moderators: an engine may write people's words.
    """
    return await view.details(deployments(request), deployment_id, logs=Role(request.state.role).may(Role.MODERATOR))


@router.patch("/backends/{deployment_id}", status_code=ACCEPTED, openapi_extra=_schema(every=False))
async def change(request: Request, deployment_id: str, fields: Annotated[dict[str, Any], Body()]) -> dict[str, Any]:
    """Change a deployment; null takes a field back to its default.

    `replicas`, `aliases`, `routing` and `max_in_flight` count while the engines go on; anything else has each replica
    drained and started anew, one after the other. Of one that the settings file has, the change is kept for as long as
    the file says what it says now.
    """
    found = deployments(request)
    entry = await found.change(deployment_id, fields, request.state.admin)
    return await _summary(found, entry.id)


@router.delete("/backends/{deployment_id}", status_code=ACCEPTED)
async def remove(
    request: Request,
    deployment_id: str,
    seconds: Annotated[float | None, Query(ge=0, le=86_400)] = None,
) -> dict[str, Any]:
    """Remove a deployment that was added here, once its last answer has ended, or after so many `seconds`."""
    await deployments(request).remove(deployment_id, seconds)
    return {"id": deployment_id, "removed": True}


@router.post("/backends/{deployment_id}/{order}", status_code=ACCEPTED)
async def order_all(request: Request, deployment_id: str, order: Order, within: Patience = PATIENT) -> dict[str, Any]:
    """Start, stop, drain or restart the replicas of a deployment.

    `drain` lets running answers end, and then stops; `stop` breaks them off; `restart` drains and starts one after the
    other. It holds until the gateway starts again, or the next order.
    """
    found = deployments(request)
    _order(_group(found, deployment_id, order), order, within.seconds)
    return await _summary(found, deployment_id)


@router.post("/backends/{deployment_id}/replicas/{n}/{order}", status_code=ACCEPTED)
async def order_one(
    request: Request,
    deployment_id: str,
    n: Number,
    order: Order,
    within: Patience = PATIENT,
) -> dict[str, Any]:
    """Start, stop, drain or restart one replica."""
    found = deployments(request)
    _order(_group(found, deployment_id, order).member(n), order, within.seconds)
    return await _summary(found, deployment_id)


@router.get("/backends/{deployment_id}/replicas/{n}/log", response_class=Response)
async def log(
    request: Request,
    deployment_id: str,
    n: Number,
    where: Annotated[Where, Query()],
    last: Annotated[str | None, Header(alias="Last-Event-ID", pattern=r"^\d{1,18}$")] = None,
) -> Response:
    """Return an engine's log from `offset` on, 256 KiB at most; none: its end. `X-Next-Offset` says where to go on.

    With `follow` each line is a server-sent event, whose id is the offset behind it, for an hour at most.
    """
    file = view.log_file(deployments(request), deployment_id, n)
    if where.follow:
        if _followers >= MOST_FOLLOWERS:
            text = f"{MOST_FOLLOWERS} logs are followed already."
            raise Problem(429, text, kind="rate_limit_error", code="too_many_followers", retry_after=10)
        events = log_reader.followed(file, int(last) if last is not None else where.offset)
        return StreamingResponse(
            _counted(events), media_type="text/event-stream", headers={"cache-control": "no-store"}
        )
    found = log_reader.part(file, where.offset)
    headers = {"x-offset": str(found.begin), "x-next-offset": str(found.end), "x-log-size": str(found.size)}
    return Response(found.data, media_type="text/plain; charset=utf-8", headers=headers)


@router.post("/reload")
async def reload(request: Request) -> dict[str, Any]:
    """Read the settings file again, and carry out what has changed of `deployments`; say what needs a restart.

    400 `settings_invalid` where something in it is wrong: then nothing was changed.
    """
    return await deployments(request).reload()


async def _summary(found: Deployments, id_: str) -> dict[str, Any]:
    return next(one for one in await view.summaries(found) if one["id"] == id_)


async def _counted(events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass on what one follower gets, and count it among them for so long."""
    global _followers  # noqa: PLW0603 - of this process
    _followers += 1
    try:
        async for event in events:
            yield event
    finally:
        _followers -= 1


def _group(found: Deployments, id_: str, order: Order) -> Group:
    """Return the deployment that *order* is for; one that is on its way out can only be hurried."""
    if order in {"start", "restart"}:
        found.entry(id_)
    return found.fleet.group(id_)


def _order(whom: Group | Member, order: Order, seconds: float | None) -> None:
    match order:
        case "start":
            whom.start()
        case "stop":
            whom.stop()
        case "drain":
            whom.drain(seconds)
        case "restart":
            whom.restart(seconds=seconds)
