"""Writing to a socket at once, instead of at the end of the event loop's turn."""

import asyncio
import os


class Writer:
    """Writes for one plain TCP transport.

    uvloop queues what is written and sends it at the end of its turn, by way of an idle handle that costs a second
    poll each time; a relay that writes one small chunk a turn pays more for that than for the chunk. So the socket is
    written to directly while nothing waits in the transport, and the transport gets what the socket does not take:
    its flow control works as ever. A transport that is closing is never written around: its descriptor may already
    be somebody else's.
    """

    __slots__ = ("_fd", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        plain = transport.get_extra_info("sslcontext") is None
        sock = transport.get_extra_info("socket") if plain else None
        self._fd = sock.fileno() if sock is not None else -1

    def write(self, data: bytes) -> None:
        """Write *data*, now or as soon as the socket takes it."""
        transport = self._transport
        if self._fd < 0 or transport.is_closing() or transport.get_write_buffer_size():
            transport.write(data)
            return
        try:
            sent = os.write(self._fd, data)
        except OSError:  # full, or broken: the transport finds out which, and tells its protocol
            sent = 0
        if sent < len(data):
            transport.write(data[sent:])
