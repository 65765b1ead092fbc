"""JSON that an engine sent, where all of it is needed."""

from typing import Any

import jiter
import msgspec

from backends.errors import EngineBroken


def decoded(data: bytes) -> Any:
    """Return the document in *data*. Raises `EngineBroken` for whatever makes it unreadable, its depth included."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise EngineBroken("The engine sent JSON that cannot be read.") from error


def unambiguous(data: bytes) -> Any:
    """Return the document in *data*, whatever its numbers. Raises `EngineBroken`, also for a name that stands twice."""
    try:
        return jiter.from_json(data, catch_duplicate_keys=True)
    except ValueError as error:
        raise EngineBroken("The engine sent JSON that cannot be read, or has a name twice.") from error
