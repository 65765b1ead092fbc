"""Server-sent events: an engine's bytes in, one payload an event out, wherever the reads cut them."""

from backends.errors import EngineBroken

LINE_FEED = 10


class EventSplitter:
    """Splits a stream into the payloads of its events.

    Takes LF, CRLF and CR line ends, comments, named events and several data lines an event; engines send all of them.
    *limit* bounds one event in bytes.
    """

    __slots__ = (
        "limit",
        "pending",
    )

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.pending = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that *data* completes. Raises `EngineBroken` for an event above the limit."""
        if (
            data.startswith(b"data: ")
            and data.find(b"\n") == len(data) - 2
            and not self.pending
            and data[-1] == LINE_FEED
        ):
            return [data[6:-2]] if b"\r" not in data else self._feed(data)
        return self._feed(data)

    def _feed(self, data: bytes) -> list[bytes]:
        if self.pending:
            data = self.pending + data
            self.pending = b""
        if b"\r" in data:
            data = self._line_feeds_only(data)
        if data[-2:] == b"\n\n":
            blocks = data[:-2].split(b"\n\n")
        else:
            *blocks, rest = data.split(b"\n\n")
            self.pending = rest + self.pending
            if len(self.pending) > self.limit:
                raise EngineBroken(f"The engine sent an event of more than {self.limit} bytes.")
        payloads = []
        for block in blocks:
            if block[:6] == b"data: " and b"\n" not in block:
                payloads.append(block[6:])
            elif (payload := _payload(block)) is not None:
                payloads.append(payload)
        return payloads

    def finish(self) -> list[bytes]:
        """Return what the end of the stream completes: some engines forget the last blank line."""
        rest, self.pending = self.pending.replace(b"\r", b"\n"), b""
        return [payload for block in rest.split(b"\n\n") if (payload := _payload(block)) is not None]

    def _line_feeds_only(self, data: bytes) -> bytes:
        if data.endswith(b"\r"):  # its LF may be in the next read
            self.pending = b"\r"
            data = data[:-1]
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _payload(block: bytes) -> bytes | None:
    """Return the joined data lines of an event; None where it has none, as a comment."""
    found = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            found.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"error:"):  # how older llama.cpp servers report a failure mid-stream
            found.append(b'{"error":%b}' % line[6:].strip())
    return b"\n".join(found) if found else None
