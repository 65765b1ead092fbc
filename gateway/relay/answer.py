"""From an engine's answer to the client's: the reading, waiting and writing around `stream` and `whole`."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backends.endpoint import Endpoint
from backends.errors import EngineBroken, EngineError, EngineLost, EngineTimeout
from backends.lease import Lease
from backends.upstream import Pumped
from gateway.audit.record import Outcome, Turn
from gateway.relay import counting, replies, screening
from gateway.relay.chunks import Usage
from gateway.relay.join import Join
from gateway.relay.patience import Patience
from gateway.relay.sse import EventSplitter
from gateway.relay.stages import Reply, Stages
from gateway.relay.stream import AnswerStream
from gateway.relay.whole import WholeAnswer
from gateway.relay.wire import Request
from keywords.entry import Direction
from policies import answer_judge, keyword_policy, refusals
from policies.stream_guard import StreamGuard

log = logging.getLogger(__name__)

AFTER_FINISH_SECONDS = 5.0
"""How long is waited for usage and [DONE] once an engine has finished every choice."""
FORMS = frozenset(
    ["guided_json", "guided_grammar", "guided_regex", "guided_choice", "structured_outputs", "grammar", "json_schema"]
)
"""Fields of vLLM and llama.cpp that have an answer keep a form."""
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
    asked: float

    async def stream(self) -> None:
        """Relay events as they come: one parse, one guard step an event, one write a read."""
        timeouts = self.stages.timeouts
        patience = Patience(first=timeouts.first_token_seconds, idle=timeouts.idle_seconds, ping=timeouts.ping_seconds)
        await self._check_head(patience)
        self._note_replica()
        flow = Flow(self, AnswerStream(self.request.model, self.request.choices, self._guard(), self._label()))
        while not flow.ended:
            await self.reply.drained()
            if flow.answer.complete:
                patience.limit = min(patience.limit, AFTER_FINISH_SECONDS)
            try:
                wait = patience.next_wait()
                pumped = await self.lease.pump(flow.take, wait)
            except EngineError:
                if not flow.answer.complete:  # an engine that breaks off after its last word has ended well
                    raise
                pumped = Pumped.ENDED
            if flow.heard:
                patience.heard()
            if pumped is Pumped.ENDED:
                flow.finish()
            elif pumped is Pumped.SILENT:
                flow.ended = self._silent(patience, wait, flow.answer)
            flow.heard = False
        await self._end_stream(flow)

    async def whole(self) -> None:
        """Relay an answer that comes in one piece."""
        body = await self._whole_body()
        arrived = time.perf_counter()
        self._note_replica()
        answer = WholeAnswer(self.request, body, self._label())
        usage = answer.chunk.usage
        if self.request.route.generates:
            for _ in answer.guarded(self._guard()):
                await asyncio.sleep(0)
            _tell_left_out(self.turn.model, answer.left_out)
            if answer.cut is not None:
                self.turn.verdict, self.turn.outcome = answer.cut, Outcome.CUT
            if usage is None:
                usage = await counting.usage(self.lease, self.request, answer.text)
            self.turn.answer = answer.text
            self._note_finish(answer.finishes)
            await self._observe([answer.text])
        self._note_usage(usage)
        out = answer.encode(usage)
        self.turn.seconds = time.perf_counter() - self.turn.began
        self.turn.added_seconds += time.perf_counter() - arrived
        await self.stages.finished(self.turn)
        self.reply.start(200, [*replies.JSON_HEADERS, *self._headers()], len(out))
        self.reply.finish(out)

    def _guard(self) -> StreamGuard:
        return self.stages.guard(as_json=_structured(self.request.body))

    async def _check_head(self, patience: Patience) -> None:
        """Wait for the engine's status, with pings. Raises the engine's `Problem` for all but 200."""
        while (head := await self.lease.head(wait := patience.next_wait())) is None:
            patience.waited(wait)
            self._ping()
        if head.status != 200:
            raise replies.engine_problem(head.status, await self._body(None))

    def _silent(self, patience: Patience, waited: float, answer: AnswerStream) -> bool:
        """Let the client know that its answer is still awaited; return whether it no longer is.

        Raises `EngineTimeout` when it was awaited too long, unless all but usage and [DONE] has come.
        """
        try:
            patience.waited(waited)
        except EngineTimeout:
            if not answer.complete:
                raise
            return True
        self._ping()
        return False

    async def _end_stream(self, flow: "Flow") -> None:
        answer, out = flow.answer, flow.last
        if flow.error is not None:
            self.write(out)
            raise flow.error
        if answer.cut is not None:
            self.lease.close()
            self.turn.verdict, self.turn.outcome = answer.cut, Outcome.CUT
            out += answer.refused(refusals.cut(answer.cut))
        elif not answer.complete:
            self.write(out)
            raise EngineBroken("The engine ended its answer before it was finished.")
        _tell_left_out(self.turn.model, answer.fields.left_out)
        usage = answer.tokens
        texts = ["".join(said) for said in answer.said.values()]
        if usage is None:
            usage = await counting.usage(self.lease, self.request, "".join(texts), at_least=answer.text_chunks)
        self.turn.answer = "\n".join(texts) if len(texts) > 1 else texts[0] if texts else ""
        self._note_finish(answer.finishes)
        await self._observe(texts)
        self._note_usage(usage)
        self.turn.seconds = time.perf_counter() - self.turn.began
        await self.stages.finished(self.turn)
        self._start_stream()
        self.reply.finish(out + answer.end(usage))
        await self._read_to_end()

    async def _read_to_end(self) -> None:
        """Wait shortly for the end of the HTTP answer: a connection that was read to its end can be used again."""
        try:
            while await self.lease.read(REUSE_SECONDS):
                pass
        except EngineError:
            return

    async def _joined(self, until: float) -> bytes:
        """Read a stream up to *until* and return it as one answer."""
        splitter, join = EventSplitter(self.stages.limits.answer_bytes), Join(self.request.choices)
        size = 0
        while not join.done:
            patience = AFTER_FINISH_SECONDS if join.finished else self.stages.timeouts.idle_seconds
            data = await self.lease.read(max(0.0, min(until - time.perf_counter(), patience)))
            if data is None and join.finished:
                break
            if data is None:
                raise EngineTimeout("The engine did not complete its answer in time.")
            for payload in splitter.feed(data) if data else splitter.finish():
                join.feed(payload)
            size += len(data)
            if size > self.stages.limits.answer_bytes:
                raise EngineBroken(f"The engine's answer has more than {self.stages.limits.answer_bytes} bytes.")
            if not data:
                break
        await self._read_to_end()
        return join.body()

    def write(self, data: bytes) -> None:
        """Send events to the client."""
        if data:
            if not self.reply.started:
                self._start_stream()
            self.reply.write(data)

    def _start_stream(self) -> None:
        if not self.reply.started:
            self.reply.start(200, [*replies.EVENT_HEADERS, *self._headers()])

    def _ping(self) -> None:
        self.write(replies.PING)

    async def _whole_body(self) -> bytes:
        """Return the whole answer. A replica that dies is replaced: the client has seen nothing of it."""
        while True:
            until = await self._whole_head()
            try:
                return await (self._joined(until) if joins(self.request, self.lease.endpoint) else self._body(until))
            except EngineLost as error:
                await self.lease.anew(error)

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

    def _label(self) -> str:
        """Return the last words of the answer; none where a program reads it, which words after JSON would break."""
        if self.turn.caller.content_label != "suffix" or _structured(self.request.body):
            return ""
        return self.stages.labels.text

    def _headers(self) -> list[tuple[bytes, bytes]]:
        return [*replies.headers_of(self.turn), *self.stages.labels.headers(self.turn.id)]

    async def _observe(self, texts: list[str]) -> None:
        """Count what an answer holds that neither cut nor masked it."""
        if not self.stages.policy.observes:
            return
        for text in texts:
            hits = await screening.observed(self.stages.policy, (text,), Direction.OUT)
            if hits:
                self.turn.observed += keyword_policy.evidence(keyword_policy.ranked(hits), keyword_policy.ANSWER)
            if asked := answer_judge.sentences(text, hits):
                self.turn.observed += (await self.stages.answer_judge.judge_answer(asked)).evidence

    def _note_replica(self) -> None:
        """Note who answers, now that somebody has begun to."""
        self.turn.replica, self.turn.moved = self.lease.endpoint.replica, self.lease.moves

    def _note_finish(self, finishes: list[str]) -> None:
        """Note why the answer ended; where its choices ended in different ways, each way once."""
        self.turn.finish_reason = ",".join(dict.fromkeys(filter(None, finishes)))

    def _note_usage(self, usage: Usage | None) -> None:
        if usage is not None:
            self.turn.prompt_tokens = usage.prompt_tokens or 0
            self.turn.completion_tokens = usage.completion_tokens or 0
            one = self.turn.completion_tokens // self.request.choices  # they are written side by side
            self.lease.served(one, time.perf_counter() - self.asked)


_told: set[tuple[str, str]] = set()
MOST_TOLD = 1_000


def _tell_left_out(model: str, names: set[str]) -> None:
    """Have the log say, once a model and field, what did not leave because nobody guards it."""
    for name in sorted(names):
        if (model, name) not in _told and len(_told) < MOST_TOLD:
            _told.add((model, name))
            log.warning("answers of %s: the field %s is left out, since no guard reads it", model, name)


def _structured(body: Mapping[str, Any]) -> bool:
    """Return whether an answer was asked for that keeps a form, as JSON does."""
    form = body.get("response_format")
    return not FORMS.isdisjoint(body) or (isinstance(form, Mapping) and form.get("type") != "text")


def joins(request: Request, endpoint: Endpoint) -> bool:
    """Return whether a whole answer is to be asked as a stream; see `gateway.relay.join`."""
    return request.route.generates and not request.stream and endpoint.notices_late


class Flow:
    """Takes an engine's reads in the event loop's own callback: no task is woken for a chunk.

    `ended` is set when the answer is over, whichever way; then `last` is what is still to be written and `error` what
    went wrong.
    """

    __slots__ = (
        "_arrived",
        "_complete_at",
        "answer",
        "ended",
        "error",
        "heard",
        "last",
        "numbers",
        "owner",
        "splitter",
    )

    def __init__(self, owner: Answer, answer: AnswerStream) -> None:
        self.owner = owner
        self.answer = answer
        self.splitter = EventSplitter(owner.stages.limits.answer_bytes)
        self.numbers = owner.stages.metrics.replica(owner.turn.model, owner.turn.replica)
        self.heard = False
        self.ended = False
        self.last = b""
        self.error: Exception | None = None
        self._arrived = 0.0
        self._complete_at = 0.0

    def take(self, data: bytes, chunk: bytes) -> bool:
        """Relay one read, *chunk* in HTTP's framing if it has one; False: the answer is over, or the client is slow."""
        self.heard = True
        reply, answer = self.owner.reply, self.answer
        try:
            out = None if self.splitter.pending else answer.feed_event(data)
        except Exception as error:  # noqa: BLE001 - raised again by the owner
            self.error, self.ended = error, True
            return False
        if out is data and reply.started and not answer.finished:
            self._note(time.perf_counter())
            reply.write(data, chunk)
            return not reply.blocked
        if out is None:
            out = self._digest(data)
        if out:
            self._note(time.perf_counter())
        if answer.done_seen or answer.cut is not None or (answer.complete and self._lasts_too_long()):
            self.ended, self.last = True, out
            return False
        self.owner.write(out)
        self.ended = self.error is not None
        return not (self.ended or reply.blocked)

    def _lasts_too_long(self) -> bool:
        """Return whether an engine that has finished every choice still goes on sending."""
        now = time.perf_counter()
        self._complete_at = self._complete_at or now
        return now - self._complete_at > AFTER_FINISH_SECONDS

    def finish(self) -> None:
        """Take the end of the engine's answer."""
        self.last = self._digest(None)
        self.ended = True

    def _digest(self, data: bytes | None) -> bytes:
        """Feed a read, or the end; what came before an error still leaves."""
        out: list[bytes] = []
        try:
            payloads = self.splitter.finish() if data is None else self.splitter.feed(data)
            if len(payloads) == 1:
                return self.answer.feed(payloads[0])
            for payload in payloads:
                out.append(self.answer.feed(payload))  # noqa: PERF401 - what was fed before an error must be kept
        except Exception as error:  # noqa: BLE001 - raised again by the owner once the rest is written
            self.error = error
        return b"".join(out)

    def _note(self, arrived: float) -> None:
        turn = self.owner.turn
        if turn.first_token_seconds is None:
            turn.first_token_seconds = arrived - turn.began
        else:
            self.numbers.inter_token.observe(arrived - self._arrived)
        self._arrived = arrived
