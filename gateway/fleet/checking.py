"""What is wrong with a deployment that is to be added or changed, by its fields."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from backends.deployment import Deployment
from gateway import checks
from gateway.settings import Settings
from gateway.settings_words import complaints

_INDEX = re.compile(r"deployments\[(\d+)\]")
Complaint = tuple[str, str]
"""A field of a deployment, and what is wrong with it."""


class DeploymentRefused(Exception):
    """It cannot be; nothing was changed. *complaints* name the fields."""

    def __init__(self, complaints: Sequence[Complaint]) -> None:
        super().__init__(" ".join(f"`{field}`: {text}." for field, text in complaints))
        self.complaints = complaints


def parsed(spec: Mapping[str, Any]) -> Deployment:
    """Return the deployment that *spec* says, by the rules of the settings file. Raises `DeploymentRefused`."""
    try:
        return Deployment.model_validate(dict(spec))
    except ValidationError as error:
        found = [line.partition(": ") for line in complaints(error, Deployment)]
        raise DeploymentRefused([(field, text) for field, _, text in found]) from None


def about_last(settings: Settings, deployments: Sequence[Deployment]) -> list[Complaint]:
    """Return what is wrong with the last one, on this machine and beside the others, which it calls by their models.

    May ask nvidia-smi, which takes seconds: not for an event loop.
    """
    own = f"deployments[{len(deployments) - 1}]."

    def named(text: str) -> str:
        return _INDEX.sub(lambda found: f"`{deployments[int(found[1])].model}`", text)

    found, _ = checks.of_deployments(settings, deployments)
    return [(one.key.removeprefix(own), named(one.message)) for one in found if one.key.startswith(own)]


def names_in_use(file: Iterable[Deployment], added: Iterable[Deployment]) -> list[str]:
    """Return a complaint for each name in the settings that a deployment has which was added by REST."""
    taken = {name.rstrip("/"): one.model for one in added for name in _names(one)}
    return [
        f"deployments[{i}]: `{name}` is also a name of `{taken[name.rstrip('/')]}`, which was added by REST"
        for i, one in enumerate(file)
        for name in _names(one)
        if name.rstrip("/") in taken
    ]


def _names(deployment: Deployment) -> tuple[str, ...]:
    return (*deployment.all_names, *deployment.adapter_models)
