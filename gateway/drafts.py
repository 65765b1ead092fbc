"""Deployments as far as they can be read, for a plan: what is wrong with one must not hide what it would start."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from backends import preflight
from backends.deployment import DRAFT, Deployment
from backends.errors import DeploymentInvalid
from backends.gpus import DeclaredGpu
from backends.plan import PlannedDeployment, planned
from gateway import checks, embedded
from gateway.settings import Settings, SettingsInvalid, load, unchecked
from gateway.settings_words import complaints

_GPUS: TypeAdapter[tuple[DeclaredGpu, ...] | None] = TypeAdapter(tuple[DeclaredGpu, ...] | None)


class Draft(NamedTuple):
    """One deployment as it is written, and what is wrong with it."""

    deployment: Deployment | str
    """Its name alone, or nothing, where it says too little for a command line."""
    problems: list[DeploymentInvalid]


class Plan(NamedTuple):
    """What would be started, and what is wrong with other settings."""

    deployments: list[PlannedDeployment]
    problems: list[str]


def plan(*, secrets: bool = False) -> Plan:
    """Return what the settings would start, right or wrong. Raises `SettingsInvalid` where they cannot be read.

    May ask nvidia-smi, which takes seconds: not for an event loop.
    """
    try:
        settings = load()
    except SettingsInvalid as error:
        return _of_drafts(error, secrets=secrets)
    return of_settings(settings, secrets=secrets)


def of_settings(settings: Settings, *, secrets: bool = False) -> Plan:
    """Return what valid *settings* would start; what is wrong with them on this machine stands beside it."""
    deployments = settings.deployments if settings.deployments is not None else embedded.deployments()
    problems, remark = checks.of_deployments(settings, deployments)
    return Plan(planned(deployments, problems, remark=remark, secrets=secrets), [])


def drafted(index: int, fields: Any) -> Draft:
    """Read one deployment; fields that are wrong by themselves are left out of it, and named."""
    if not isinstance(fields, dict):
        return Draft("", [DeploymentInvalid(f"deployments[{index}]", "must be a mapping")])
    problems: list[DeploymentInvalid] = []
    deployment: Deployment | None = None
    rest = dict(fields)
    while deployment is None and rest:
        try:
            deployment = Deployment.model_validate(rest, context={DRAFT: True})
        except ValidationError as error:
            problems += [_problem(index, line) for line in complaints(error, Deployment)]
            wrong = {str(item["loc"][0]) for item in error.errors()} & rest.keys()
            if not wrong or wrong & {"model", "engine"}:
                break
            rest = {name: value for name, value in rest.items() if name not in wrong}
    if deployment is None:
        return Draft(str(fields.get("model") or ""), problems)
    said = {problem.key for problem in problems}
    found = [_problem(index, f"{field}: {text}") for field, text in deployment.complaints()]
    return Draft(deployment, problems + [problem for problem in found if problem.key not in said])


def _of_drafts(error: SettingsInvalid, *, secrets: bool) -> Plan:
    """Return the plan of settings that are wrong. Raises *error* where their deployments are no list."""
    written = unchecked()
    raw = written.get("deployments")
    if not isinstance(raw, list):
        raise error
    drafts = [drafted(i, fields) for i, fields in enumerate(raw)]
    others = [line for line in str(error).splitlines() if not line.startswith("deployments[")]
    problems = [problem for draft in drafts for problem in draft.problems]
    found, remark = _examined(drafts, written)
    said = {problem.key for problem in problems}
    problems += [problem for problem in found if problem.key not in said]
    deployments = [draft.deployment for draft in drafts]
    return Plan(planned(deployments, problems, remark=remark, secrets=secrets), others)


def _examined(drafts: Sequence[Draft], written: dict[str, Any]) -> tuple[list[DeploymentInvalid], str | None]:
    """Look at the drafts on this machine, each problem with the number that its deployment has in the settings."""
    numbers = [i for i, draft in enumerate(drafts) if isinstance(draft.deployment, Deployment)]
    readable = [draft.deployment for draft in drafts if isinstance(draft.deployment, Deployment)]
    try:
        declared = _GPUS.validate_python(written.get("gpus"))
    except ValidationError:  # it is named among the others
        declared = None
    folder = Path(str(written.get("data_dir") or "data")).absolute() / "engines"
    machine = preflight.look(readable, folder, declared)
    found = preflight.examine(readable, machine)
    return [_renumbered(problem, numbers) for problem in found], machine.remark


def _renumbered(problem: DeploymentInvalid, numbers: Sequence[int]) -> DeploymentInvalid:
    number, _, field = problem.key.removeprefix("deployments[").partition("]")
    return type(problem)(f"deployments[{numbers[int(number)]}]{field}", problem.message)


def _problem(index: int, line: str) -> DeploymentInvalid:
    field, _, text = line.partition(": ")
    return DeploymentInvalid(f"deployments[{index}].{field}", text)
