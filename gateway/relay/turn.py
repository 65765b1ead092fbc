"""The path of one request, from who is speaking to the last byte."""

import asyncio
import contextlib
import logging
import time
from dataclasses import replace
from datetime import datetime

from backends.endpoint import Endpoint
from backends.errors import Overloaded, UnknownModel
from backends.lease import Lease
from gateway import problems
from gateway.audit.errors import AuditUnavailable
from gateway.audit.record import CLEAN_WORDS, VIOLATION, Outcome, Turn
from gateway.audit.writer import SHANGHAI
from gateway.limits.allowance import Limited
from gateway.problems import ENGINE, INTERNAL, Problem, invalid
from gateway.relay import identity, replies, screening
from gateway.relay.answer import Answer, joins
from gateway.relay.asking import ask_of, tokens_of
from gateway.relay.stages import Reply, Stages
from gateway.relay.wire import Request
from keywords.entry import Direction
from policies import keyword_policy, refusals
from policies.strikes import UNTIL_LIFTED
from policies.surroundings import surroundings
from policies.verdict import Action, Verdict

log = logging.getLogger(__name__)

SAID_BY_US = {"content_filter": Outcome.REFUSED, "suspended": Outcome.SUSPENDED}
CAN = {"generate": "chat or complete", "embed": "embed", "rerank": "rerank"}
"""Tasks of an endpoint, in words."""


async def run(turn: Turn, request: Request, user_header: str | None, stages: Stages, reply: Reply) -> None:
    """Answer one request. Raises what `problems.of` knows; being cancelled frees the engine at once."""
    person = identity.person(turn.caller, request, user_header)
    turn.user, turn.utterance = person.id if person else "", request.utterance
    turn.model = _allowed_model(turn, request, stages)
    turn.standing = await stages.standings.check(person, turn.started, exempt=turn.caller.exempt)
    if turn.standing.closed_until is not None:
        turn.outcome = Outcome.SUSPENDED
        await _refuse(turn, request, stages, reply, _suspension(turn, stages))
        return
    if stages.limiter.holds(turn.caller) and not await _admitted(turn, request, stages, reply):
        return
    turn.verdict = await _screened(turn, request, stages)
    if turn.verdict.refused:
        await _strike(turn, request, stages, reply)
        return
    if turn.standing.state.row and request.utterance.counts and request.route.generates:
        turn.counts = CLEAN_WORDS
    lease = await _leased(turn, request, stages, reply)
    if lease is None:
        return
    async with lease, _Judging(turn, request, stages) as judged:
        await lease.request(request.route.path, lambda endpoint: _body(turn, request, endpoint), turn.id)
        turn.replica = lease.endpoint.replica
        asked = time.perf_counter()
        turn.added_seconds = asked - turn.began - turn.queued_seconds
        await stages.audit.accepted(turn)
        if stages.policy.observes:
            await _observe(turn, request, stages)
        turn.verdict = await judged if judged is not None else turn.verdict
        if turn.verdict.refused:
            lease.close()
            await _strike(turn, request, stages, reply)
            return
        answer = Answer(turn, request, stages, reply, lease, asked)
        await (answer.stream() if request.stream else answer.whole())


def _allowed_model(turn: Turn, request: Request, stages: Stages) -> str:
    """Return the public model that is meant; one that the key may not use does not exist for it.

    Raises the 400 for a model that is known not to do what the route is for.
    """
    model = stages.pool.model(request.model)
    if not turn.caller.may_use(model):
        raise UnknownModel(request.model)
    tasks, task = stages.pool.models[model][0].tasks, request.route.task
    if tasks and task not in tasks:
        can = " and ".join(CAN[known] for known in tasks)
        raise invalid(f"The model `{request.model}` cannot {CAN[task]}; it can {can}.", "model", "model_not_suited")
    return model


async def _admitted(turn: Turn, request: Request, stages: Stages, reply: Reply) -> bool:
    """Return whether the rate limits let the turn go on. False: they do not, and the person has been told so."""
    try:
        await stages.limiter.admit(turn, tokens_of(request), stream=request.stream)
    except Limited as limited:
        turn.outcome = Outcome.REJECTED
        if not (stages.limits.when_over == "answer" and request.route.generates):
            raise
        await _say(turn, request, stages, reply, limited.allowance.words(), finish="stop")
        return False
    return True


async def _screened(turn: Turn, request: Request, stages: Stages) -> Verdict:
    """Return the verdict on the newest words; of a key that indexes documents, nothing follows from theirs."""
    verdict = await screening.judged(stages.policy, request.utterance)
    if not request.route.generates and turn.caller.embeddings_guard == "observe":
        return replace(verdict, action=Action.PASS)
    return verdict


async def _leased(turn: Turn, request: Request, stages: Stages, reply: Reply) -> Lease | None:
    """Return a lease, as soon as a replica has room. None: none had, and the person has been told so as an answer."""
    ask = ask_of(turn, request, choice=stages.pool.has_choice(turn.model))
    asked = time.perf_counter()
    try:
        lease = await stages.pool.lease(turn.model, ask)
    except Overloaded as busy:
        turn.outcome = Outcome.REJECTED
        if not (stages.queue.when_full == "answer" and request.route.generates):
            raise
        await _say(turn, request, stages, reply, refusals.busy(busy.retry_after), finish="stop")
        return None
    turn.queued_seconds = time.perf_counter() - asked
    return lease


def _body(turn: Turn, request: Request, endpoint: Endpoint) -> bytes:
    return request.for_engine(endpoint.served_as(turn.model), joined=joins(request, endpoint))


async def _observe(turn: Turn, request: Request, stages: Stages) -> None:
    """Count what stands around the newest words, while the engine prefills."""
    hits = await screening.observed(stages.policy, list(surroundings(request.body)), Direction.IN)
    if hits:
        turn.observed += keyword_policy.evidence(keyword_policy.ranked(hits), keyword_policy.CONTEXT)


class _Judging:
    """Has the judge at work while the engine prefills, where a verdict is still open; never beyond the turn."""

    __slots__ = ("_task",)

    def __init__(self, turn: Turn, request: Request, stages: Stages) -> None:
        judge = stages.policy.judge
        self._task = asyncio.create_task(judge(request.utterance)) if turn.verdict.open else None

    async def __aenter__(self) -> asyncio.Task[Verdict] | None:
        return self._task

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


async def _strike(turn: Turn, request: Request, stages: Stages, reply: Reply) -> None:
    """Put the violation on record, count it, then refuse: a count that is lost is made up for from the record."""
    turn.outcome = Outcome.REFUSED
    turn.counts = VIOLATION if await _to_blame(turn, request, stages) else ""
    await (stages.audit.judged(turn) if turn.accepted else stages.audit.accepted(turn))
    if turn.counts:
        turn.strike = await stages.standings.count(turn.standing, request.utterance.id, turn.id, violation=True)
    await _refuse(turn, request, stages, reply, refusals.refusal(turn.verdict))


async def _to_blame(turn: Turn, request: Request, stages: Stages) -> bool:
    """Return whether the person's own words, without what Dify put around them, are a violation."""
    utterance = request.utterance
    if not (turn.standing.counted and utterance.counts and stages.strikes.counts(turn.verdict)):
        return False
    return utterance.own is None or (await screening.judged(stages.policy, utterance.own)).refused


def _suspension(turn: Turn, stages: Stages) -> str:
    standing = turn.standing
    why = refusals.BANNED if standing.banned else standing.state.why
    until = standing.closed_until
    end = None
    if until is not None and until != UNTIL_LIFTED:
        end = f"{datetime.fromtimestamp(until / 1000, SHANGHAI):%Y-%m-%d %H:%M}"
    return refusals.suspension(why, end, stages.strikes.contact)


async def _refuse(turn: Turn, request: Request, stages: Stages, reply: Reply, text: str) -> None:
    """Say *text* as an ordinary answer; as an error where no text can be the answer, or the settings want one."""
    status = stages.strikes.suspended_status
    suspended = turn.outcome is Outcome.SUSPENDED
    if request.route.generates and not (suspended and status != 200):
        await _say(turn, request, stages, reply, text, finish="content_filter")
        return
    if not turn.accepted:
        await stages.audit.accepted(turn)
    if suspended:
        raise Problem(400 if status == 200 else status, text, param="user", code="suspended")
    raise Problem(400, text, param="input", code="content_filter")


async def _say(  # noqa: PLR0913 - the words and their finish, beside what every step has
    turn: Turn, request: Request, stages: Stages, reply: Reply, text: str, *, finish: str
) -> None:
    """Put the turn on record and answer with *text*, as an engine would."""
    if not turn.accepted:
        await stages.audit.accepted(turn)
    turn.finish_reason = finish
    await stages.finished(turn)
    created = int(turn.started)
    if request.stream:
        reply.start(200, [*replies.EVENT_HEADERS, *replies.headers_of(turn)])
        reply.finish(replies.streamed_words(request, turn.id, created, text, finish))
        return
    body = replies.whole_words(request, turn.id, created, text, finish)
    reply.start(200, [*replies.JSON_HEADERS, *replies.headers_of(turn)], len(body))
    reply.finish(body)


async def close(turn: Turn, stages: Stages, reply: Reply, error: BaseException | None) -> None:
    """Record how a turn ended and, where it failed, tell the client: in place of an answer or as its last event."""
    problem = _guarded(problems.of(error), stages) if isinstance(error, Exception) else None
    if problem is not None:
        turn.status, turn.outcome = problem.status, _outcome(problem)
        if problem.code == INTERNAL:
            log.error("turn %s failed", turn.id, exc_info=error)
    elif error is not None:
        turn.outcome = Outcome.CLIENT_GONE
    if error is not None and turn.accepted:
        with contextlib.suppress(AuditUnavailable):  # it has been logged, and whoever is still there is told of `error`
            await stages.finished(turn)
    stages.limiter.settle(turn)
    stages.metrics.turn(turn)
    if problem is not None:
        await _tell(problem, turn, reply)


def _guarded(problem: Problem, stages: Stages) -> Problem:
    """Return what may be told of an engine's error: engines repeat what they were asked, or say what they like."""
    if problem.src != ENGINE or stages.guard().allows("", "", [problem.body().decode()]):
        return problem
    text = f"The engine answered {problem.status}; what it said has a listed word and is not shown."
    kind = "server_error" if problem.status >= 500 else "invalid_request_error"
    return Problem(problem.status, text, kind=kind, code="content_filter", src=ENGINE)


async def _tell(problem: Problem, turn: Turn, reply: Reply) -> None:
    if reply.started:  # Dify raises, and shows the message, on an event without `choices`
        reply.finish(replies.event(problem.body()))
        return
    body = problem.body()
    reply.start(problem.status, [*problem.headers(), *replies.headers_of(turn)], len(body))
    reply.finish(body)


def _outcome(problem: Problem) -> Outcome:
    if problem.src != ENGINE and (said := SAID_BY_US.get(problem.code or "")) is not None:
        return said
    if problem.status in {429, 503}:
        return Outcome.REJECTED
    if problem.status < 500:
        return Outcome.CLIENT_ERROR
    return Outcome.ENGINE_ERROR if problem.src == ENGINE else Outcome.GATEWAY_ERROR
