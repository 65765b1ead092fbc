"""The process that speaks with a Ray cluster: ``ray_agent.py --address A --namespace N --shim FILE --owner PID``.

Requests come as lines of JSON on stdin, answers leave on stdout. Ray's client blocks, and ends its process when the
cluster's head is away for a minute: the owner of the replicas must not be that process. It imports nothing of the
project, so that its interpreter may be another one, with the Python and the Ray of the cluster.
"""

import argparse
import contextlib
import ctypes
import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

PR_SET_PDEATHSIG = 1  # prctl(2)
THREADS = 128
"""Requests at once; one that waits for a place has a thread for so long."""
WAIT_SECONDS = 1.0
"""Between two looks whether a place that is waited for is still wanted."""
CALL_SECONDS = 5.0
"""For an actor that runs to answer; its methods return at once."""


class NoPlace(Exception):
    """No node has what is needed."""


class Agent:
    """Answers requests about engines, each known by its actor's *name*."""

    def __init__(self, ray: Any, host: ModuleType, shim_source: str) -> None:
        self.ray = ray
        self.host = host
        self.shim_source = shim_source
        self._actors: dict[str, Any] = {}
        self._turns: dict[str, int] = {}
        """How often each was asked for or called off: so whoever waits knows that nobody wants its place any more."""

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``{"value": …}``, or ``{"error": kind, "why": …}``: kind is lost, slow, no_place, absent or other."""
        errors = self.ray.exceptions
        try:
            asked: Callable[..., Any] = getattr(self, f"do_{request['do']}")
            return {"value": asked(**request["with"])}
        except NoPlace as error:
            return {"error": "no_place", "why": str(error)}
        except (errors.ActorUnavailableError, errors.GetTimeoutError, TimeoutError) as error:
            return {"error": "slow", "why": _first_line(error)}
        except errors.RayActorError as error:
            return {"error": "lost", "why": _first_line(error)}
        except LookupError as error:
            return {"error": "absent", "why": str(error)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the owner is told
            return {"error": "other", "why": f"{type(error).__name__}: {_first_line(error)}"}

    def do_create(
        self, name: str, owner: str, orphan_seconds: float, needs: dict[str, Any], seconds: float
    ) -> dict[str, Any]:
        """Place an actor within *seconds*; return where it is."""
        turn, give_up = self._turn(name), time.monotonic() + seconds

        def wanted() -> None:
            if self._turns[name] != turn:
                raise NoPlace("it was called off before it had a place")
            if time.monotonic() >= give_up:
                raise NoPlace(f"no node of the Ray cluster has room for it: {_said(needs)} on one")

        options: dict[str, Any] = {}
        if needs["bundles"]:
            options["scheduling_strategy"] = self._group(name, needs["bundles"], wanted)
        actor = (
            self.ray.remote(self.host.Host)
            .options(
                name=name,
                lifetime="detached",
                max_restarts=0,  # whether it starts again, and when, is its replica's business
                num_cpus=needs["num_cpus"],
                num_gpus=needs["num_gpus"],
                **options,
            )
            .remote(owner, self.shim_source, orphan_seconds)
        )
        self._actors[name] = actor
        placed = actor.where.remote()
        while not self.ray.wait([placed], timeout=WAIT_SECONDS)[0]:
            wanted()
        where: dict[str, Any] = self.ray.get(placed, timeout=CALL_SECONDS)
        return where

    def do_call(self, name: str, method: str, arguments: list[Any]) -> Any:
        """Call a method of the actor."""
        called = getattr(self._actor(name), method).remote(*arguments)
        return self.ray.get(called, timeout=CALL_SECONDS)

    def do_kill(self, name: str) -> None:
        """End the actor, wherever it is in its life, and give back what was set aside for it."""
        self._turn(name)
        with contextlib.suppress(LookupError):
            self.ray.kill(self._actor(name), no_restart=True)
        self._actors.pop(name, None)
        self._remove_group(name)

    def _actor(self, name: str) -> Any:
        """Return the actor. Raises LookupError where there is none."""
        if name not in self._actors:
            try:
                self._actors[name] = self.ray.get_actor(name)
            except ValueError:
                raise LookupError(f"there is no actor {name}") from None
        return self._actors[name]

    def _turn(self, name: str) -> int:
        self._turns[name] = self._turns.get(name, 0) + 1
        return self._turns[name]

    def _group(self, name: str, bundles: list[dict[str, float]], wanted: Callable[[], None]) -> Any:
        """Return the strategy that places an actor in a new placement group, once that has its node."""
        from ray.util.placement_group import placement_group  # noqa: PLC0415 - the tests of `answer` have no Ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy  # noqa: PLC0415

        self._remove_group(name)
        group = placement_group(bundles, strategy="STRICT_PACK", name=name, lifetime="detached")
        while not group.wait(WAIT_SECONDS):
            wanted()
        return PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=0)

    def _remove_group(self, name: str) -> None:
        from ray.util import get_placement_group, remove_placement_group  # noqa: PLC0415

        try:
            remove_placement_group(get_placement_group(name))
        except ValueError:
            return


def _said(needs: Mapping[str, Any]) -> str:
    return f"it needs {needs['num_gpus']:g} GPU and {needs['num_cpus']:g} CPU"


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def host_module() -> ModuleType:
    """Return `ray_host`, whose neighbour this file is: not by its package, which this interpreter may not have."""
    spec = importlib.util.spec_from_file_location("gateway_ray_host", Path(__file__).with_name("ray_host.py"))
    if spec is None or spec.loader is None:
        raise ImportError("ray_host.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Answer until stdin ends. What is connected to, or why not, is the first line."""
    flags = argparse.ArgumentParser(prog="ray_agent", allow_abbrev=False)
    for name in ("--address", "--namespace", "--shim", "--owner"):
        flags.add_argument(name, required=True)
    given = flags.parse_args()
    # the end of stdin is not seen while a cluster is looked for
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(given.owner):
        return
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever Ray prints must not come between the answers
    writing = threading.Lock()

    def say(answer: Mapping[str, Any]) -> None:
        with writing:
            out.write(json.dumps(answer) + "\n")
            out.flush()

    try:
        import ray  # noqa: PLC0415 - that it is missing is an answer, too

        ray.init(given.address, namespace=given.namespace, log_to_driver=False, logging_level="warning")
    except Exception as error:  # noqa: BLE001 - whatever it is, the owner is told
        say({"error": "other", "why": f"{type(error).__name__}: {_first_line(error)}"})
        return
    host = host_module()
    ray.cloudpickle.register_pickle_by_value(host)
    agent = Agent(ray, host, Path(given.shim).read_text(encoding="utf-8"))
    say({"value": ray.__version__})
    pool = ThreadPoolExecutor(THREADS)
    for line in sys.stdin:
        request = json.loads(line)
        pool.submit(lambda asked: say({"id": asked["id"], **agent.answer(asked)}), request)
    os._exit(0)  # the actors are detached, and a call that hangs must not hold this up


if __name__ == "__main__":
    main()
