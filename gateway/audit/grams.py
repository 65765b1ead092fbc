"""What a text can be found by: each two neighbouring characters of it, since Chinese has no spaces to cut it at.

The terms of a turn hold those, and the entries of the keyword library that were found in it. Two neighbours say that
a text may have the words that are looked for; `contains` says whether it does.
"""

import unicodedata
from collections.abc import Iterable

SHORTEST = 2
LONGEST_QUERY = 100
MOST_CHARACTERS = 100_000
"""Of one text that can be found; what stands behind them cannot."""
ENTRY = "entry:"
"""Begins a term that is no pair of characters."""


def fold(text: str) -> str:
    """Return *text* as it is compared: compatible forms are one (NFKC), and so are small letters and capitals."""
    return unicodedata.normalize("NFKC", text).lower()


def pairs(folded: str) -> set[str]:
    """Return the terms of a folded text."""
    kept = folded[:MOST_CHARACTERS]
    return {kept[i : i + 2] for i in range(len(kept) - 1)}


def contains(folded_query: str, texts: Iterable[str | None]) -> bool:
    """Return whether one of *texts* has the query, which is folded already."""
    return any(text is not None and folded_query in fold(text) for text in texts)


def entry(number: int | str) -> str:
    """Return the term of an entry of the keyword library."""
    return f"{ENTRY}{number}"


def token(term: str) -> str:
    """Return *term* as SQLite's full-text tables take it: letters and digits, whatever the characters were."""
    if term.startswith(ENTRY):
        return f"e{term.removeprefix(ENTRY)}"
    return f"g{term.encode('utf-8', 'surrogatepass').hex()}"


def match(terms: Iterable[str]) -> str:
    """Return the full-text query for rows that have all *terms*."""
    return " AND ".join(f'"{token(term)}"' for term in sorted(terms))
