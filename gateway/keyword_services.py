"""What the routes and the commands of the keyword library work on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.keyword_changes import KeywordChanges, Search
from gateway.keyword_fields import Changes
from gateway.keyword_store import KeywordStore
from gateway.keyword_trials import Trials
from gateway.keyword_versions import KeywordVersions
from gateway.settings import Keywords


@dataclass(frozen=True, slots=True)
class KeywordServices:
    """The draft and its log, its versions, and trials over both; *poke* has what was released reach the workers now."""

    store: KeywordStore
    versions: KeywordVersions
    trials: Trials
    poke: Callable[[], None]
    changes: KeywordChanges

    async def changed(self, which: Changes, limit: int) -> list[dict[str, Any]]:
        """Return up to *limit* rows of the draft's log. Raises `UnknownEntry` of an entry that there never was."""
        found = await self.changes.page(limit, which.after, which.search())
        if which.entry is not None and not found and not await self.changes.page(1, 0, Search(entry=which.entry)):
            await self.store.get(which.entry)
        return found

    @classmethod
    def over(
        cls, engine: AsyncEngine, settings: Keywords, poke: Callable[[], None] = lambda: None
    ) -> "KeywordServices":
        """Return them over one database."""
        store, versions = KeywordStore(engine), KeywordVersions(engine, settings.matcher)
        return cls(
            store,
            versions,
            Trials(store, versions, settings.benign_file, settings.matcher),
            poke,
            KeywordChanges(engine),
        )
