"""JSON that an engine sent, where all of it is needed."""

from typing import Any

import msgspec

from backends.errors import EngineBroken


def decoded(data: bytes) -> Any:
    """Return the document in *data*. Raises `EngineBroken` for whatever makes it unreadable, its depth included."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise EngineBroken("The engine sent JSON that cannot be read.") from error
