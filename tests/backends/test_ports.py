"""Ports that an engine could listen on."""

import socket

from backends.ports import free_port, is_free


def test_ports() -> None:
    """A port is free until somebody listens on it."""
    port = free_port("127.0.0.1")
    assert is_free("127.0.0.1", port)
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free("127.0.0.1", port)
