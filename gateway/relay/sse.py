"""Server-sent events: an engine's bytes in, one payload an event out, wherever the reads cut them."""

from backends.errors import EngineBroken

LINE_FEED = 10
CARRIAGE_RETURN = 13
HALF_END = 2
"""Bytes of an event's end that may be pending with it: LF CR."""
LONGEST_EVENT = 4 * 1024 * 1024
"""An event is a token or some, with their log probabilities; the largest are whole tool calls. It is held and parsed in
one go, in the event loop. Comments between two events may not be more either."""


class EventSplitter:
    """Splits a stream into the payloads of its events.

    Takes LF, CRLF and CR line ends, comments, named events and several data lines an event; engines send all of them.
    *limit* bounds one event in bytes, beside `LONGEST_EVENT`.
    """

    __slots__ = (
        "_idle",
        "limit",
        "pending",
    )

    def __init__(self, limit: int) -> None:
        self.limit = min(limit, LONGEST_EVENT)
        self.pending = bytearray()
        """What has come of the next event; a CR at its end may be half a line end."""
        self._idle = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that *data* completes. Raises `EngineBroken` for an event above the limit."""
        if (
            data.startswith(b"data: ")
            and data.find(b"\n") == len(data) - 2
            and not self.pending
            and data[-1] == LINE_FEED
            and len(data) <= self.limit
            and b"\r" not in data
        ):
            self._idle = 0
            return [data[6:-2]]
        return self._feed(data)

    def _feed(self, data: bytes) -> list[bytes]:
        pending = self.pending
        if pending and pending[-1] == CARRIAGE_RETURN:
            del pending[-1]
            data = b"\r" + data
        half = data.endswith(b"\r")
        if b"\r" in data:
            data = data.removesuffix(b"\r").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *blocks, rest = self._begun(data).split(b"\n\n") if pending else data.split(b"\n\n")
        pending += rest
        if half:
            pending.append(CARRIAGE_RETURN)
        payloads = [payload for block in blocks if (payload := self._payload(block)) is not None]
        if len(pending) > self.limit + HALF_END:
            raise self._too_long()
        return payloads

    def _begun(self, data: bytes) -> bytes:
        """Return *data* with what is pending before it, where it ends the event; else b"", and it is pending, too."""
        pending = self.pending
        looked_at = max(0, len(pending) - 1)  # the first half of a blank line may be there
        pending += data
        if pending.find(b"\n\n", looked_at) < 0:
            return b""
        whole = bytes(pending)
        pending.clear()
        return whole

    def _payload(self, block: bytes) -> bytes | None:
        """Return an event's payload, None of a comment. Raises `EngineBroken` above the limit."""
        payload = block[6:] if block.startswith(b"data: ") and b"\n" not in block else _payload(block)
        self._idle = self._idle + len(block) if payload is None else 0
        if len(block) > self.limit or self._idle > self.limit:
            raise self._too_long()
        return payload

    def _too_long(self) -> EngineBroken:
        return EngineBroken(f"The engine sent an event of more than {self.limit} bytes.")

    def finish(self) -> list[bytes]:
        """Return what the end of the stream completes: some engines forget the last blank line."""
        rest = bytes(self.pending).replace(b"\r", b"\n")
        self.pending.clear()
        return [payload for block in rest.split(b"\n\n") if (payload := _payload(block)) is not None]


def _payload(block: bytes) -> bytes | None:
    """Return the joined data lines of an event; None where it has none, as a comment."""
    found = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            found.append(line[5:].removeprefix(b" "))
        elif line.startswith(b"error:"):  # how older llama.cpp servers report a failure mid-stream
            found.append(b'{"error":%b}' % line[6:].strip())
    return b"\n".join(found) if found else None
