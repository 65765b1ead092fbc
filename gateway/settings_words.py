"""What is wrong with the settings, in words for the operator."""

from collections.abc import Iterable, Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.settings_file import nearest

WORDS = {
    "missing": "is missing",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "too_short": "has too few items",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
"""In place of pydantic's words where those speak of Python, by its kind of error."""
NAMES_ITS_FIELD = {"deployment", "settings"}
"""Kinds of our own errors that begin with the field: they were found by looking at several."""


def complaints(error: ValidationError, root: type[BaseModel]) -> list[str]:
    """Return one line for each wrong setting, which begins with its name."""
    found = error.errors(include_input=False)
    return [_line(item, root) for item in found if not _follows(item, found)]


def _follows(item: ErrorDetails, found: Iterable[ErrorDetails]) -> bool:
    """Return whether *item* only says that a list is too short, of which another one says that an item is wrong.

    pydantic leaves wrong items out before it counts.
    """
    path = item["loc"]
    within = (other["loc"] for other in found if len(other["loc"]) > len(path))
    return item["type"] == "too_short" and any(other[: len(path)] == path for other in within)


def _line(item: ErrorDetails, root: type[BaseModel]) -> str:
    path = dotted(item["loc"])
    if item["type"] in NAMES_ITS_FIELD:
        return f"{path}.{item['msg']}".lstrip(".")
    if item["type"] == "extra_forbidden":
        return f"{path}: there is no such setting{nearest(str(item['loc'][-1]), _names(root, item['loc'][:-1]))}"
    return f"{path}: {WORDS.get(item['type'], item['msg'])}"


def dotted(location: Iterable[int | str]) -> str:
    """Return ``deployments[0].port`` for ``("deployments", 0, "port")``."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _names(model: type[BaseModel], location: Iterable[int | str]) -> Iterable[str]:
    """Return the names that could stand at *location*."""
    for part in location:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part)
        inner = next(_models(field.annotation), None) if field is not None else None
        if inner is None:
            return ()
        model = inner
    return model.model_fields


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models inside a type such as ``tuple[Deployment, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
