"""The owner's end of the process that speaks with a Ray cluster; see `ray_agent`."""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from backends import shim
from backends.launch import ray_agent

log = logging.getLogger(__name__)

CONNECT_SECONDS = 60.0
"""For the agent to find the cluster; `ray.init` itself gives up before."""
MARGIN_SECONDS = 15.0
"""Beside what a request may take: an agent that has not answered then hangs, and is ended."""
PAUSE_SECONDS = 2.0
"""Between two attempts to find the cluster."""
LONGEST_LINE = 4 * 1024 * 1024


class RayTrouble(OSError):
    """The cluster, or what speaks with it, does not answer. It may yet."""


class Gone(RayTrouble):
    """The actor has ended, or its node has."""


class NoPlace(RayTrouble):
    """No node has what is needed."""


class Absent(RayTrouble):
    """There is no such actor."""


ENDED: dict[str, Any] = {"error": "other", "why": "Ray's client has ended"}
KINDS: dict[str, type[RayTrouble]] = {"lost": Gone, "no_place": NoPlace, "absent": Absent}


class Where(NamedTuple):
    """Which cluster, and how it is spoken with."""

    address: str
    """As `ray.init` takes it."""
    namespace: str
    python: str = sys.executable
    """An interpreter that has Ray."""


class Cluster:
    """A Ray cluster. Its agent is started with the first question, and again when it has ended.

    *owner* returns the name of whoever asks: an engine that another one holds is not taken. Belongs to one event loop,
    in the main thread: the kernel ends the agent with the thread that started it.
    """

    def __init__(self, where: Where, owner: Callable[[], str], place_seconds: float) -> None:
        self.where = where
        self.owner = owner
        self.place_seconds = place_seconds
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._not_before = 0.0

    @property
    def pid(self) -> int | None:
        """Process id of the agent; None: none runs."""
        return self._link.agent.pid if self._link is not None else None

    async def call(self, name: str, method: str, *arguments: Any) -> Any:
        """Call *method* of the actor *name*. Raises `RayTrouble`."""
        with_ = {"name": name, "method": method, "arguments": arguments}
        return await self._ask("call", with_, ray_agent.CALL_SECONDS)

    async def create(self, name: str, orphan_seconds: float, needs: dict[str, Any]) -> dict[str, Any]:
        """Place an actor; return where it is. Raises `NoPlace` after `place_seconds`, and `RayTrouble`."""
        with_ = {"name": name, "owner": self.owner(), "orphan_seconds": orphan_seconds, "needs": needs}
        answer: dict[str, Any] = await self._ask(
            "create", {**with_, "seconds": self.place_seconds}, self.place_seconds + ray_agent.CALL_SECONDS
        )
        return answer

    async def kill(self, name: str) -> None:
        """End the actor *name*, if there is one. Raises `RayTrouble`."""
        await self._ask("kill", {"name": name}, ray_agent.CALL_SECONDS)

    async def close(self) -> None:
        """End the agent; the actors go on."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _ask(self, what: str, with_: dict[str, Any], seconds: float) -> Any:
        link = await self._connected()
        try:
            async with asyncio.timeout(seconds + MARGIN_SECONDS):
                answer = await link.ask(what, with_)
        except TimeoutError:
            log.warning("Ray's client has said nothing for %g s and is ended", seconds + MARGIN_SECONDS)
            await link.close()
            raise RayTrouble("Ray's client hangs") from None
        return _value(answer)

    async def _connected(self) -> "Link":
        """Return the agent, once it has found the cluster."""
        async with self._connecting:
            if self._link is None or self._link.ended:
                await self.close()
                self._link = await self._connect()
            return self._link

    async def _connect(self) -> "Link":
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._not_before - loop.time())
        self._not_before = loop.time() + PAUSE_SECONDS
        address, namespace, python = self.where
        argv = (python, "-I", ray_agent.__file__, "--address", address, "--namespace", namespace)
        agent = await asyncio.create_subprocess_exec(
            *(*argv, "--shim", str(Path(shim.__file__)), "--owner", str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,  # Ctrl-C is for the owner, who still has engines to end
        )
        link = Link(agent)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                version = _value(await link.first())
        except TimeoutError:
            await link.close()
            raise RayTrouble(f"no Ray cluster answers at {address}") from None
        except BaseException:
            await link.close()
            raise
        log.info("connected to the Ray cluster at %s (Ray %s)", address, version)
        return link


class Link:
    """Questions to one agent, and its answers."""

    def __init__(self, agent: asyncio.subprocess.Process) -> None:
        self.agent = agent
        self.ended = False
        """Whether nothing more comes from it."""
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._first: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    async def first(self) -> dict[str, Any]:
        """Return what it says of itself: the version, or why it has no cluster."""
        return await self._first

    async def ask(self, what: str, with_: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to one question."""
        number = next(self._numbers)
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answered
        try:
            if self.ended or self.agent.stdin is None:
                return ENDED
            self.agent.stdin.write(json.dumps({"id": number, "do": what, "with": with_}).encode() + b"\n")
            return await answered
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        """End the agent, and whoever waits for an answer is told."""
        if self.agent.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.agent.kill()
        await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        """Hand out the answers until the agent ends."""
        answers = self.agent.stdout
        while answers is not None and (line := await answers.readline()):
            answer = json.loads(line)
            waiting = self._waiting.get(answer["id"]) if "id" in answer else self._first
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        self.ended = True
        for waiting in (self._first, *self._waiting.values()):
            if not waiting.done():
                waiting.set_result(ENDED)
        await self.agent.wait()


def _value(answer: dict[str, Any]) -> Any:
    """Return what the agent answered. Raises `RayTrouble`."""
    if "error" in answer:
        raise KINDS.get(answer["error"], RayTrouble)(answer["why"])
    return answer["value"]
