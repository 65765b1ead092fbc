"""The settings read again while the gateway runs."""

import contextlib
import os
from collections.abc import Iterator, Mapping

from pydantic import BaseModel

from backends.deployment import Deployment
from gateway import embedded
from gateway.settings import Settings, load


def deployments_of(settings: Settings) -> tuple[Deployment, ...]:
    """Return those that *settings* mean; where none are said, the embedded ones. Raises FileNotFoundError."""
    return settings.deployments if settings.deployments is not None else embedded.deployments()


def read_again(environment: Mapping[str, str]) -> Settings:
    """Read the settings as at the start, by the names of *environment*, which the process no longer has.

    Raises `SettingsInvalid`. Nothing else may run meanwhile: an engine that is started inherits the environment.
    """
    with _restored(environment):
        return load()


@contextlib.contextmanager
def _restored(environment: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(environment)
    try:
        yield
    finally:
        for name in environment:
            os.environ.pop(name, None)


def needing_restart(before: Settings, after: Settings) -> list[str]:
    """Return the names of settings that differ and that a running gateway does not take up: all but `deployments`."""
    return [name for name in _differing(before, after) if name.partition(".")[0] not in {"deployments", "config"}]


def _differing(before: BaseModel, after: BaseModel, prefix: str = "") -> Iterator[str]:
    for name in type(before).model_fields:
        one, other = getattr(before, name), getattr(after, name)
        if isinstance(one, BaseModel) and isinstance(other, BaseModel):
            yield from _differing(one, other, f"{prefix}{name}.")
        elif one != other:
            yield f"{prefix}{name}"
