"""The words that come with the package: one file a risk, for a first start without an import."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.resources import files

from keywords.entry import Action, Entry
from keywords.risks import RISKS

SOURCE = "starter"
LICENCE = "Apache-2.0"


def parse(text: str, risk: str) -> Iterator[Entry]:
    """Yield the entries of one file, without ids.

    A line is ``term``, ``term<TAB>action`` or ``term<TAB>action<TAB>longer word,longer word``, the longer words being
    harmless ones that contain the term. Lines that begin with ``#`` are comments. Raises ValueError on another action.
    """
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        term, action, exceptions = (*line.split("\t"), "", "")[:3]
        yield Entry(
            id=0,
            term=term.strip(),
            risk=risk,
            action=Action(action.strip() or Action.JUDGE),
            exceptions=tuple(word.strip() for word in exceptions.split(",") if word.strip()),
            source=SOURCE,
            licence=LICENCE,
        )


@cache
def entries() -> tuple[Entry, ...]:
    """Return all of them, with the ids 1 … n in the order of the files and their lines."""
    folder = files("keywords") / "library"
    found = [entry for risk in RISKS for entry in parse((folder / f"{risk}.txt").read_text(encoding="utf-8"), risk)]
    return tuple(replace(entry, id=number) for number, entry in enumerate(found, 1))
