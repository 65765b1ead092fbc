"""What a keyword library would have found in what people really said: the kept texts of the audit log."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from gateway.audit.search import Filter, Search
from gateway.keyword_trials import Impact, Trials, Version, find
from keywords.entry import Direction
from keywords.library import Library

MOST_TURNS = 100_000


async def impact(
    trials: Trials, search: Search, version: Version, last: int, direction: Direction = Direction.IN
) -> dict[str, Any]:
    """Return what *version* does with the words of the *last* turns, or with their answers.

    Of those without a kept text nothing can be said; their number is. Raises `UnknownVersion`.
    """
    library = await trials.library(version)
    found, turns, without = Impact(), 0, 0
    async for part in search.every(Filter(), last):
        texts = [row.answer_text if direction is Direction.OUT else row.words_text for row in part]
        kept = [text for text in texts if text is not None]
        turns, without = turns + len(part), without + len(texts) - len(kept)
        await asyncio.to_thread(_add, found, library, kept, direction)
    counted = {"source": "audit", "turns": turns, "without_text": without}
    return {"version": version, "direction": direction.value, **counted, **found.document()}


def _add(found: Impact, library: Library, texts: Sequence[str], direction: Direction) -> None:
    now = time.time()
    for text in texts:
        found.add(text, find(library, text, direction, now))
