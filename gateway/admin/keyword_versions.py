"""`/admin/keywords/versions`, `/rollback`, `/releases`, and trials: `/test`, `/impact`, `/coverage`, `/calibrate`."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.audit import audit, searching
from gateway.admin.audit_services import READ_TEXTS
from gateway.admin.keys import IdempotencyKey
from gateway.admin.keywords import After, AnyVersion, Limit, keywords, page, repeatable
from gateway.admin.recorder import asking
from gateway.keyword_changes import Edit
from gateway.keyword_fields import LARGEST_ID
from gateway.keyword_impact import MOST_TURNS
from gateway.keyword_impact import impact as over_turns
from gateway.keyword_trials import DRAFT, LIVE
from gateway.keyword_versions import LONGEST_CANARY_MINUTES, UnknownVersion, differences
from gateway.problems import Problem, invalid
from gateway.reasons import Reason
from keywords.entry import Direction

router = APIRouter(prefix="/admin/keywords", tags=["keywords"])

N = Annotated[int, Path(ge=1, le=LARGEST_ID)]
Texts = Annotated[list[Annotated[str, Field(max_length=100_000)]], Field(min_length=1, max_length=100_000)]
Asked = Literal["in", "out"]


class Strict(BaseModel):
    """A body without unknown fields."""

    model_config = ConfigDict(extra="forbid")


class NewVersion(Strict):
    """A version to be frozen."""

    note: Reason


class Publication(Strict):
    """How a version goes live."""

    why: Reason
    canary_minutes: Annotated[int, Field(ge=0, le=LONGEST_CANARY_MINUTES)] = Field(
        0, description="How long it is only counted beside the live one, before it goes live by itself."
    )


class Rollback(Strict):
    """Why to go back."""

    why: Reason


class Trial(Strict):
    """One text to try."""

    text: Annotated[str, Field(max_length=100_000)]
    direction: Asked = "in"
    version: AnyVersion = LIVE


class ImpactTrial(Strict):
    """Many texts to try; none: the stored harmless ones."""

    texts: Texts | None = None
    direction: Asked = "in"
    version: AnyVersion = DRAFT


class Calibration(Strict):
    """Harmless texts to measure on; none: the stored ones."""

    texts: Texts | None = None
    inducing: Texts | None = Field(None, description="Texts that ask for harm: words frequent in them are judged.")
    apply: bool = Field(False, description="Take the proposals.")
    mine: Annotated[str, Field(max_length=8)] | None = Field(
        None, description="Enter, as `judge` under this risk, phrases that inducing texts have and harmless ones lack."
    )
    include_decided: bool = Field(
        False, description="Also change entries whose action a person, or the starter words, chose."
    )
    force: Reason | None = Field(
        None, description="Why fewer texts count than before, or than imported entries need to act; kept in note."
    )


@router.post("/versions", status_code=201)
async def freeze(request: Request, response: Response, new: NewVersion, key: IdempotencyKey = None) -> dict[str, Any]:
    """Freeze the draft as the next version. Nothing changes for anybody until it is published."""

    async def work() -> dict[str, Any]:
        found = keywords(request)
        return await found.versions.freeze(await found.store.entries(), new.note, request.state.admin)

    answer: dict[str, Any] = await repeatable(request, response, key, ["keywords.freeze", new.note], work)
    return answer


@router.get("/versions")
async def list_versions(request: Request, limit: Limit = 100, after: After = 0) -> dict[str, Any]:
    """List the versions, and which one is live."""
    versions = keywords(request).versions
    found = await versions.standing()
    listed = page(await versions.page(limit + 1, after), limit, "n")
    return {**listed, "live": found.live, "canary": found.canary}


@router.get("/versions/{n}")
async def show_version(request: Request, n: N) -> dict[str, Any]:
    """Show one version; its entries are in `/export?version=n`."""
    return await keywords(request).versions.get(n)


@router.get("/versions/{n}/diff")
async def diff(
    request: Request,
    n: Annotated[AnyVersion, Path()],
    against: Annotated[AnyVersion, Query()],
    limit: Limit = 100,
    after: After = 0,
) -> dict[str, Any]:
    """List what *n*, a version or the draft, has otherwise than *against*: added, removed, changed."""
    trials = keywords(request).trials
    new = await trials.entries(n)
    try:
        old = await trials.entries(against)
    except UnknownVersion as error:
        raise Problem(404, str(error), param="against", code="not_found") from None
    found = differences(old, new)
    rest = [difference.document() for difference in found if difference.id > after][: limit + 1]
    return {**page(rest, limit, "id"), "n": n, "against": against, "differences": len(found)}


@router.post("/versions/{n}/publish")
async def publish(
    request: Request, response: Response, n: N, how: Publication, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Have a version live in all workers, at once or as a canary first."""

    async def work() -> dict[str, Any]:
        release = await keywords(request).versions.publish(n, how.why, request.state.admin, how.canary_minutes)
        keywords(request).poke()
        return release

    asked = ["keywords.publish", n, how.model_dump()]
    answer: dict[str, Any] = await repeatable(request, response, key, asked, work)
    return answer


@router.post("/rollback")
async def roll_back(request: Request, response: Response, how: Rollback, key: IdempotencyKey = None) -> dict[str, Any]:
    """End a canary, or go back to the version that was live before."""

    async def work() -> dict[str, Any]:
        release = await keywords(request).versions.rollback(how.why, request.state.admin)
        keywords(request).poke()
        return release

    answer: dict[str, Any] = await repeatable(request, response, key, ["keywords.rollback", how.why], work)
    return answer


@router.get("/releases")
async def list_releases(request: Request, limit: Limit = 100, after: After = 0) -> dict[str, Any]:
    """List what was published and rolled back, by whom, why, and when it was live in the workers."""
    return page(await keywords(request).versions.releases(limit + 1, after), limit, "number")


@router.post("/test")
async def test(request: Request, trial: Trial) -> dict[str, Any]:
    """Return everything that a version finds in one text, and what follows."""
    return await keywords(request).trials.test(trial.text, Direction(trial.direction), trial.version)


@router.post("/impact")
async def impact(
    request: Request,
    trial: ImpactTrial,
    source: Annotated[Literal["given", "audit"], Query(description="`audit`: what people really said.")] = "given",
    last: Annotated[int, Query(ge=1, le=MOST_TURNS, description="Of so many turns.")] = 1_000,
) -> dict[str, Any]:
    """Return what a version, or the draft, does with many texts, or with the kept words of the last turns."""
    if source == "audit":
        if trial.texts is not None:
            raise invalid("`texts` and `source=audit` are two different sources.", "texts")
        await audit(request).record(asking(request), READ_TEXTS, what="keywords.impact", last=last)
        with searching():
            search, trials = audit(request).search, keywords(request).trials
            return await over_turns(trials, search, trial.version, last, Direction(trial.direction))
    return await keywords(request).trials.impact(trial.version, trial.texts, Direction(trial.direction))


@router.get("/coverage", response_model=None)
async def coverage(
    request: Request,
    form: Annotated[Literal["json", "markdown"], Query(alias="format")] = "json",
    version: Annotated[AnyVersion, Query()] = LIVE,
) -> dict[str, Any] | Response:
    """Return the report of clause 8.1."""
    report = await keywords(request).trials.coverage(version)
    if form == "markdown":
        return Response(report.as_markdown(), media_type="text/markdown; charset=utf-8")
    return report.as_json()


@router.post("/calibrate")
async def calibrate(
    request: Request, response: Response, how: Calibration, key: IdempotencyKey = None
) -> dict[str, Any]:
    """Measure each entry of the draft on harmless texts, store that, and propose an action for each."""

    async def work() -> dict[str, Any]:
        return await keywords(request).trials.calibrate(
            how.texts,
            how.inducing,
            apply=how.apply,
            mine=how.mine,
            include_decided=how.include_decided,
            edit=Edit(request.state.admin, how.force or ""),
        )

    asked = ["keywords.calibrate", how.model_dump()]
    answer: dict[str, Any] = await repeatable(request, response, key, asked, work)
    return answer
