"""What the admin API works on."""

from dataclasses import dataclass, field

from redis.asyncio import Redis

from gateway.admin.audit_services import AuditServices
from gateway.admin.recorder import Records, Unrecorded
from gateway.admin_store import AdminKeys
from gateway.fleet.deployments import Deployments
from gateway.key_store import KeyStore
from gateway.keyword_services import KeywordServices
from gateway.people.services import PeopleServices
from gateway.proxies import Proxies


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
