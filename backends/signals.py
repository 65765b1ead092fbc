"""What engines say of themselves: how many requests they have, and how full their cache is.

Several gateways, or others, may use one engine; what comes past this worker shows here alone.
"""

import asyncio
import logging
from collections.abc import Iterator, Mapping

from backends.deployment import Engine
from backends.errors import BackendError
from backends.line import Line
from backends.load import NO_SIGNALS, Load, Signals
from backends.upstream import Exchange, Upstream

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
PATIENCE_SECONDS = 1.0
"""For an engine's answer; one that is too busy for it says nothing."""
MOST_BYTES = 4 * 1024 * 1024

_VLLM = ((b"vllm:num_requests_running", b"vllm:num_requests_waiting"), b"vllm:kv_cache_usage_perc")
_LLAMA = ((b"llamacpp:requests_processing", b"llamacpp:requests_deferred"), b"")
NAMES: Mapping[str, tuple[tuple[tuple[bytes, ...], bytes], ...]] = {
    Engine.VLLM.value: (_VLLM,),
    Engine.LLAMA_SERVER.value: (_LLAMA,),
    Engine.XLLAMACPP.value: (_LLAMA,),
    Engine.EXTERNAL.value: (_VLLM, _LLAMA),
}
"""By engine, its metrics of requests and of its cache; of an external engine whichever it has."""


def read(engine: str, text: bytes, own: int) -> Signals:
    """Return what *text*, in Prometheus' format, says of a replica that has *own* requests of this worker."""
    for requests, cache in NAMES.get(engine, ()):
        found = [value for name in requests for value in _values(text, name)]
        if found:
            used = max(_values(text, cache), default=0.0) if cache else 0.0
            return Signals(max(0, round(sum(found)) - own), used)
    return NO_SIGNALS


def _values(text: bytes, name: bytes) -> Iterator[float]:
    """Yield the values of the metric *name*, whatever its labels."""
    begin = 0
    while (found := text.find(name, begin)) >= 0:
        end = text.find(b"\n", found)
        begin = end if end >= 0 else len(text)
        rest = text[found + len(name) : begin]
        if (found == 0 or text[found - 1] == 0x0A) and rest[:1] in {b" ", b"{"}:
            try:
                value = float(rest.rpartition(b"}")[2].split()[0])
            except (ValueError, IndexError):
                continue
            if 0 <= value < 1e9:
                yield value


class Listener:
    """Asks the replicas of all models that have several; of one there is nothing to choose."""

    def __init__(self, upstream: Upstream, lines: Mapping[str, Line]) -> None:
        self.upstream = upstream
        self.lines = lines

    async def run(self) -> None:
        """Ask, again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.look()
            except Exception:
                log.exception("the engines' own metrics cannot be read")

    async def look(self) -> None:
        """Ask each replica once, all at the same time."""
        loads = [load for line in self.lines.values() if len(line.ready) > 1 for load in line.ready]
        await asyncio.gather(*(self._ask(load) for load in loads if load.endpoint.engine in NAMES))

    async def _ask(self, load: Load) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                text = await self._metrics(load)
        except (BackendError, TimeoutError):
            load.signals = NO_SIGNALS
        else:
            load.signals = read(load.endpoint.engine, text, load.requests)

    async def _metrics(self, load: Load) -> bytes:
        """Return what the engine's /metrics answers; nothing where it has none, or too much."""
        endpoint = load.endpoint
        host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
        request = f"GET {endpoint.base_path}/metrics HTTP/1.1\r\nhost: {host}:{endpoint.port}\r\n\r\n"
        exchange = Exchange(self.upstream, endpoint, PATIENCE_SECONDS)
        exchange.speaks = False
        try:
            await exchange.send(request.encode("latin-1"))
            head = await exchange.head(PATIENCE_SECONDS)
            parts: list[bytes] = []
            while data := await exchange.read(PATIENCE_SECONDS):
                parts.append(data)
                if sum(map(len, parts)) > MOST_BYTES:
                    return b""
            return b"".join(parts) if head is not None and head.status == 200 else b""
        finally:
            exchange.close()
