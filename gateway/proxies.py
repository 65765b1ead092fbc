"""Whose address a request has where proxies of our own stand in between: pure, without the connection."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

MOST_HOPS = 32
"""Proxies that are followed; nobody has more of his own."""


class Proxies:
    """The proxies whose word on the client's address is taken. False where there are none."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def client(self, peer: str, forwarded: str | None, real: str | None) -> str:
        """Return the client's address: that of *peer*, unless it is a proxy of ours that names another one.

        *forwarded* is X-Forwarded-For, to which each proxy adds at the right whom it was asked by: the rightmost
        address that is none of ours is the client's, and what stands left of it is what the client made up. *real* is
        X-Real-IP, of proxies that send no list. What is no address ends the way there.
        """
        found = _address(peer)
        if found is None or not self._ours(found):
            return peer
        hops = forwarded.split(",")[-MOST_HOPS:] if forwarded is not None else [real] if real is not None else []
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            found = address
            if not self._ours(address):
                break
        return str(found)

    def _ours(self, address: Address) -> bool:
        return any(address in network for network in self._networks)


@lru_cache(maxsize=4096)
def _address(text: str) -> Address | None:
    """Read an address, with or without a port; IPv4 inside IPv6 is IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return mapped or found
