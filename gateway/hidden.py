"""What may be shown of fields and command lines: what goes by the name of a secret is hidden."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

HIDDEN = "•••"
_SECRET = re.compile(
    r"(?:^|[_-])(?:secret|password|passwd|token|api[_-]?key|authorization|credentials?)$", re.IGNORECASE
)


def is_secret(name: str) -> bool:
    """Return whether what goes by *name* is a secret: a field, a variable, a flag."""
    return _SECRET.search(name) is not None


def argv(words: Iterable[str]) -> list[str]:
    """Return a command line with ``--api-key •••`` for ``--api-key sk-…``."""
    shown: list[str] = []
    hide = False
    for word in words:
        flag, equals, _ = word.partition("=")
        if hide and not word.startswith("--"):
            shown.append(HIDDEN)
        elif equals and flag.startswith("-") and is_secret(flag):
            shown.append(f"{flag}={HIDDEN}")
        else:
            shown.append(word)
        hide = word.startswith("-") and is_secret(word)
    return shown


def fields(said: Any) -> Any:
    """Return *said* with every secret in it hidden: fields, variables, and flags in lists."""
    if isinstance(said, Mapping):
        return {name: HIDDEN if is_secret(name) else fields(inner) for name, inner in said.items()}
    if isinstance(said, list | tuple):
        words = all(isinstance(one, str) for one in said)
        return argv(said) if words else [fields(one) for one in said]
    return said
