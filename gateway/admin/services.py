"""What the admin API works on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.admin.audit_services import AuditServices
from gateway.admin.recorder import Records, Unrecorded
from gateway.admin_store import AdminKeys
from gateway.audit.log import Chain
from gateway.fleet.deployments import Deployments
from gateway.key_store import KeyStore
from gateway.keys import Publish
from gateway.keyword_changes import KeywordChanges, Search
from gateway.keyword_fields import Changes
from gateway.keyword_store import KeywordStore
from gateway.keyword_trials import Trials
from gateway.keyword_versions import KeywordVersions
from gateway.people.aliases import Aliases
from gateway.people.ledger import Ledger
from gateway.people.measures import People
from gateway.people.register import Register
from gateway.people.roster import Roster
from gateway.proxies import Proxies
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


@dataclass(frozen=True, slots=True)
class PeopleServices:
    """What is done about people, their aliases, what is known of them, and the workers' copy of that."""

    measures: People
    aliases: Aliases
    roster: Roster
    register: Register

    @classmethod
    def over(
        cls, engine: AsyncEngine, ledger: Ledger, chain: Chain, publish: Publish, *, counted: bool = True
    ) -> "PeopleServices":
        """Return them over one database, one state server and the writer of this process."""
        measures = People(engine, ledger, chain, publish, counted=counted)
        return cls(measures, Aliases(measures), Roster(engine, ledger), Register(engine))


@dataclass(frozen=True, slots=True)
class AdminServices:
    """Made once by the control process."""

    keys: KeyStore
    admins: AdminKeys
    redis: "Redis"
    keywords: KeywordServices
    people: PeopleServices | None = None
    """None: as in a test of something else."""
    audit: AuditServices | None = None
    """None: as `people`."""
    deployments: Deployments | None = None
    """None: as `people`."""
    records: Records = field(default_factory=Unrecorded)
    """Where goes what admins do; the control process puts it into its chain of the audit log."""
    proxies: Proxies = field(default_factory=Proxies)
