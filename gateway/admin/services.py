"""What the admin API works on."""

from collections.abc import Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.key_store import AdminKeys, KeyStore
from gateway.keyword_changes import KeywordChanges
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


@dataclass(frozen=True, slots=True)
class AdminServices:
    """Made once by the control process."""

    keys: KeyStore
    admins: AdminKeys
    redis: "Redis"
    keywords: KeywordServices
