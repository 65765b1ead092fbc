"""Which deployments a machine should run: those of the settings file, and what was added or changed by REST. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from backends.deployment import Deployment
from backends.difference import changed_fields
from gateway.fleet.group import id_of
from gateway.fleet.store import Row
from gateway.settings_words import complaints

Origin = Literal["file", "rest"]


class Entry(NamedTuple):
    """A deployment that should run, and where it comes from."""

    deployment: Deployment
    origin: Origin
    base: Deployment | None = None
    """What the settings file says, where it was changed by REST."""

    @property
    def id(self) -> str:
        """Its id in URLs."""
        return id_of(self.deployment.model)

    def changes(self) -> list[str]:
        """Return the fields in which it is not what the settings file says."""
        return [] if self.base is None else sorted(changed_fields(self.base, self.deployment))


class Unusable(NamedTuple):
    """A stored deployment that cannot run, and why."""

    row: Row
    why: str


class Wanted(NamedTuple):
    """What a machine should run."""

    entries: tuple[Entry, ...]
    unusable: tuple[Unusable, ...] = ()
    dropped: tuple[Row, ...] = ()
    """Changes by REST to what the settings file has changed, or dropped, since: the file counts."""


def wanted(file: Sequence[Deployment], rows: Sequence[Row]) -> Wanted:
    """Return what *file*, of the settings, and *rows*, of the database, want together."""
    changed, dropped, unusable, added = _overlays(file, rows), [], [], []
    for row in rows:
        if row.base is not None:
            if row.id not in changed:
                dropped.append(row)
            continue
        try:
            added.append(Entry(Deployment.model_validate(row.spec), "rest"))
        except ValidationError as error:
            unusable.append(Unusable(row, "; ".join(complaints(error, Deployment))))
    entries = [changed.get(id_of(deployment.model)) or Entry(deployment, "file") for deployment in file]
    return Wanted((*entries, *added), tuple(unusable), tuple(dropped))


def _overlays(file: Sequence[Deployment], rows: Sequence[Row]) -> dict[str, Entry]:
    """Return what was changed by REST, by id, where the settings file still says what it said then."""
    said = {id_of(deployment.model): deployment for deployment in file}
    found = {}
    for row in rows:
        if row.base is None or row.id not in said:
            continue
        try:
            base, spec = Deployment.model_validate(row.base), Deployment.model_validate(row.spec)
        except ValidationError:
            continue
        if not changed_fields(base, said[row.id]):
            found[row.id] = Entry(spec, "file", said[row.id])
    return found


def spec_of(deployment: Deployment) -> dict[str, Any]:
    """Return a deployment as the settings file would say it, with its secrets: what is left out is the default."""
    spec = deployment.model_dump(mode="json", exclude_unset=True)
    if deployment.api_key is not None:
        spec["api_key"] = deployment.api_key.get_secret_value()
    return spec


def merged(before: Deployment, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what *before* becomes with *changes*; a field that is null goes back to its default."""
    spec = {**spec_of(before), **changes}
    return {name: value for name, value in spec.items() if value is not None}
