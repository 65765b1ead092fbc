"""Whose address counts."""

from ipaddress import ip_network

import pytest

from gateway.proxies import MOST_HOPS, Proxies

OURS = Proxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("peer", "forwarded", "real", "client"),
    [
        ("10.0.0.1", None, None, "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7", None, "192.0.2.7"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.7", None, "192.0.2.7"),
        ("10.0.0.1", "6.6.6.6, 192.0.2.7, 10.2.2.2", None, "192.0.2.7"),
        ("10.0.0.1", "10.9.9.9, 10.2.2.2", None, "10.9.9.9"),
        ("10.0.0.1", "192.0.2.7:4711", None, "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::1]:80", None, "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", None, "2001:db8::1"),
        ("10.0.0.1", "::ffff:192.0.2.7", None, "192.0.2.7"),
        ("::ffff:10.0.0.1", "192.0.2.7", None, "192.0.2.7"),
        ("fd00::1", "192.0.2.7", None, "192.0.2.7"),
        ("10.0.0.1", "6.6.6.6, nonsense", None, "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, nonsense, 10.3.3.3", None, "10.3.3.3"),
        ("10.0.0.1", "", None, "10.0.0.1"),
        ("10.0.0.1", None, "192.0.2.8", "192.0.2.8"),
        ("10.0.0.1", "192.0.2.7", "6.6.6.6", "192.0.2.7"),
        ("198.51.100.3", "192.0.2.7", "192.0.2.8", "198.51.100.3"),
        ("", "192.0.2.7", None, ""),
    ],
)
def test_the_rightmost_address_that_is_not_ours(
    peer: str, forwarded: str | None, real: str | None, client: str
) -> None:
    """What stands left of it is what the client made up; a stranger's word is not taken at all."""
    assert OURS.client(peer, forwarded, real) == client


def test_nobody_is_believed_unless_told() -> None:
    """The default."""
    assert not Proxies()
    assert Proxies().client("127.0.0.1", "192.0.2.7", "192.0.2.7") == "127.0.0.1"


def test_a_long_way_is_not_followed_to_its_end() -> None:
    """It ends at a proxy of ours."""
    way = ", ".join(["192.0.2.7", *["10.0.0.2"] * MOST_HOPS])
    assert OURS.client("10.0.0.1", way, None) == "10.0.0.2"
