"""What the admin API works on."""

from dataclasses import dataclass

from redis.asyncio import Redis

from gateway.key_store import AdminKeys, KeyStore


@dataclass(frozen=True, slots=True)
class AdminServices:
    """Made once by the control process."""

    keys: KeyStore
    admins: AdminKeys
    redis: "Redis"
