"""From an engine's answer to the client's: the reading, waiting and writing around `stream` and `whole`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from backends.errors import EngineBroken, EngineError, EngineTimeout
from backends.pool import Lease
from gateway.audit.record import Outcome, Turn
from gateway.metrics import ReplicaNumbers
from gateway.relay import counting, replies
from gateway.relay.chunks import Usage
from gateway.relay.patience import Patience
from gateway.relay.sse import EventSplitter
from gateway.relay.stages import Reply, Stages
from gateway.relay.stream import AnswerStream
from gateway.relay.whole import WholeAnswer
from gateway.relay.wire import Request
from policies import refusals

AFTER_FINISH_SECONDS = 5.0
"""How long is waited for usage and [DONE] once an engine has finished every choice."""
REUSE_SECONDS = 1.0
"""How long is waited for the end of an HTTP answer whose last event has come, to keep the connection."""


@dataclass(slots=True)
class Answer:
    """One answer on its way; *asked* is when the engine had the request, on the clock of `Turn.began`."""

    turn: Turn
    request: Request
    stages: Stages
    reply: Reply
    lease: Lease
    numbers: ReplicaNumbers
    asked: float

    async def stream(self) -> None:
        """Relay events as they come: one parse, one guard step an event, one write a read."""
        limits, timeouts = self.stages.limits, self.stages.timeouts
        answer = AnswerStream(self.request.model, self.request.choices, self.stages.guard())
        splitter = EventSplitter(limits.answer_bytes)
        patience = Patience(first=timeouts.first_token_seconds, idle=timeouts.idle_seconds, ping=timeouts.ping_seconds)
        await self._check_head(patience)
        last = self.turn.began
        while True:
            data = await self._read(patience, answer)
            arrived = time.perf_counter()
            out, error = _digest(answer, splitter.feed(data) if data else splitter.finish())
            if out:
                self._note_read(arrived, last)
                last = arrived
            self.turn.added_seconds += time.perf_counter() - arrived
            if error is None and (not data or answer.done_seen or answer.cut is not None):
                break
            if out:
                await self._start_stream()
                await self.reply.write(out)
            if error is not None:
                raise error
        await self._end_stream(answer, out)

    async def whole(self) -> None:
        """Relay an answer that comes in one piece."""
        body = await self._body(await self._whole_head())
        arrived = time.perf_counter()
        answer = WholeAnswer(self.request, body)
        usage = answer.chunk.usage
        if self.request.route.generates:
            answer.guard(self.stages.guard())
            if answer.cut is not None:
                self.turn.verdict, self.turn.outcome = answer.cut, Outcome.CUT
            if usage is None:
                usage = await counting.usage(self.lease, self.request, answer.text)
        self._note_usage(usage)
        out = answer.encode(usage)
        self.turn.seconds = time.perf_counter() - self.turn.began
        self.turn.added_seconds += time.perf_counter() - arrived
        await self.stages.audit.finished(self.turn)
        await self.reply.start(
            200, [*replies.JSON_HEADERS, (b"content-length", b"%d" % len(out)), replies.content_id(self.turn.id)]
        )
        await self.reply.finish(out)

    async def _check_head(self, patience: Patience) -> None:
        """Wait for the engine's status, with pings. Raises the engine's `Problem` for all but 200."""
        while (head := await self.lease.head(wait := patience.next_wait())) is None:
            patience.waited(wait)
            await self._ping()
        if head.status != 200:
            raise replies.engine_problem(head.status, await self._body(None))

    async def _read(self, patience: Patience, answer: AnswerStream) -> bytes:
        """Return the next bytes, b"" at the end. An engine that breaks off after its last word has ended well."""
        if answer.complete:
            patience.limit = min(patience.limit, AFTER_FINISH_SECONDS)
        try:
            while (data := await self.lease.read(wait := patience.next_wait())) is None:
                patience.waited(wait)
                await self._ping()
        except EngineError:
            if answer.complete:
                return b""
            raise
        patience.heard()
        return data

    async def _end_stream(self, answer: AnswerStream, out: bytes) -> None:
        if answer.cut is not None:
            self.lease.close()
            self.turn.verdict, self.turn.outcome = answer.cut, Outcome.CUT
            out += answer.refused(refusals.cut(answer.cut))
        elif not answer.complete:
            if out:
                await self._start_stream()
                await self.reply.write(out)
            raise EngineBroken("The engine ended its answer before it was finished.")
        usage = answer.tokens
        if usage is None:
            text = "".join(text for _, _, text in answer.released)
            usage = await counting.usage(self.lease, self.request, text, at_least=answer.text_chunks)
        self._note_usage(usage)
        self.turn.seconds = time.perf_counter() - self.turn.began
        await self.stages.audit.finished(self.turn)
        await self._start_stream()
        await self.reply.finish(out + answer.end(usage))
        await self._read_to_end()

    async def _read_to_end(self) -> None:
        """Wait shortly for the end of the HTTP answer: a connection that was read to its end can be used again."""
        try:
            while await self.lease.read(REUSE_SECONDS):
                pass
        except EngineError:
            return

    async def _start_stream(self) -> None:
        if not self.reply.started:
            await self.reply.start(200, [*replies.EVENT_HEADERS, replies.content_id(self.turn.id)])

    async def _ping(self) -> None:
        await self._start_stream()
        await self.reply.write(replies.PING)

    async def _whole_head(self) -> float:
        """Wait for the engine's status; return the moment by which the answer must be complete."""
        seconds = self.stages.timeouts.answer_seconds
        until = self.asked + seconds
        head = await self.lease.head(seconds)
        if head is None:
            raise EngineTimeout(f"The engine did not answer within {seconds:g} s.")
        if head.status != 200:
            raise replies.engine_problem(head.status, await self._body(until))
        return until

    async def _body(self, until: float | None) -> bytes:
        """Read a whole body, up to *until* or, if None, as long as an idle stream may take."""
        if until is None:
            until = time.perf_counter() + self.stages.timeouts.idle_seconds
        parts: list[bytes] = []
        size = 0
        while True:
            data = await self.lease.read(max(0.0, until - time.perf_counter()))
            if data is None:
                raise EngineTimeout("The engine did not complete its answer in time.")
            if not data:
                return parts[0] if len(parts) == 1 else b"".join(parts)
            parts.append(data)
            size += len(data)
            if size > self.stages.limits.answer_bytes:
                raise EngineBroken(f"The engine's answer has more than {self.stages.limits.answer_bytes} bytes.")

    def _note_read(self, arrived: float, last: float) -> None:
        if self.turn.first_token_seconds is None:
            self.turn.first_token_seconds = arrived - self.turn.began
        else:
            self.numbers.inter_token.observe(arrived - last)

    def _note_usage(self, usage: Usage | None) -> None:
        if usage is not None:
            self.turn.prompt_tokens = usage.prompt_tokens or 0
            self.turn.completion_tokens = usage.completion_tokens or 0


def _digest(answer: AnswerStream, payloads: Sequence[bytes]) -> tuple[bytes, Exception | None]:
    """Feed *payloads*; return what may leave and the error that ended it: what came before an error still leaves."""
    out: list[bytes] = []
    for payload in payloads:
        try:
            out.append(answer.feed(payload))
        except Exception as error:  # noqa: BLE001 - raised again by the caller once the rest is written
            return b"".join(out), error
    return out[0] if len(out) == 1 else b"".join(out), None
