"""What admins see of deployments and their replicas."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from backends.endpoint import ReplicaState
from gateway import hidden
from gateway.fleet import load
from gateway.fleet.deployments import Deployments
from gateway.fleet.fleet import UnknownDeployment
from gateway.fleet.group import Group
from gateway.fleet.load import Loads
from gateway.fleet.member import Goal, Member
from gateway.fleet.wanted import Entry, Unusable, spec_of

TAIL_LINES = 20
IN_USE = {ReplicaState.STARTING, ReplicaState.READY, ReplicaState.DRAINING}
"""States in which an engine has, or may have, a process."""


async def summaries(deployments: Deployments) -> list[dict[str, Any]]:
    """Return every deployment: those that should run, those that leave, and stored ones that cannot run."""
    loads = await asyncio.to_thread(load.counted)
    known = {entry.id: entry for entry in deployments.wanted.entries}
    found = [summary(group, known.get(group.id), loads) for group in deployments.fleet.groups]
    return [*found, *map(_unusable, deployments.wanted.unusable)]


def summary(group: Group, entry: Entry | None, loads: Loads) -> dict[str, Any]:
    """Return one deployment in short; *entry* is None once it is on its way out."""
    members = group.members
    errors = [member.replica.last_error for member in members if member.state is not ReplicaState.READY]
    return {
        "id": group.id,
        "model": group.deployment.model,
        "aliases": list(group.deployment.aliases),
        "engine": group.deployment.engine.value,
        "origin": entry.origin if entry is not None else "leaving",
        "changed": entry.changes() if entry is not None else [],
        "wanted": "running" if group.goal is Goal.RUN else "stopped",
        "state": group.state.value,
        "settled": group.settled,
        "replicas": group.deployment.replicas,
        "ready": sum(member.state is ReplicaState.READY for member in members),
        "asleep": sum(member.replica.asleep for member in members),
        "in_flight": sum(loads.in_flight.get(member.replica.id, 0) for member in members),
        "queued": loads.queued.get(group.deployment.model, 0),
        "last_error": group.trouble or next((str(error) for error in errors if error is not None), None),
    }


async def details(deployments: Deployments, id_: str, *, logs: bool) -> dict[str, Any]:
    """Return one deployment with its replicas; with the ends of their *logs*, which may hold people's words.

    Raises `UnknownDeployment`.
    """
    for one in deployments.wanted.unusable:
        if one.row.id == id_:
            return {**_unusable(one), "deployment": hidden.fields(one.row.spec), "members": []}
    group = deployments.fleet.group(id_)
    loads = await asyncio.to_thread(load.counted)
    entry = next((entry for entry in deployments.wanted.entries if entry.id == id_), None)
    return {
        **summary(group, entry, loads),
        "where": deployments.where if entry is not None and entry.origin == "file" else None,
        "deployment": hidden.fields(spec_of(group.deployment)),
        "members": list(await asyncio.gather(*(_member(member, loads, logs=logs) for member in group.members))),
    }


async def _member(member: Member, loads: Loads, *, logs: bool) -> dict[str, Any]:
    replica, record, endpoint = member.replica, member.record, member.replica.endpoint()
    key = replica.deployment.api_key
    ready = replica.state is ReplicaState.READY
    said = await load.signals(endpoint, key.get_secret_value() if key is not None else None) if ready else None
    tail = await asyncio.to_thread(replica.process.tail, TAIL_LINES) if logs else ()
    return {
        "n": member.index,
        "replica": replica.id,
        "state": member.state.value,
        "asleep": replica.asleep,
        "wanted": "running" if member.goal is Goal.RUN else "stopped",
        "since": int(record.since),
        "ready_at": int(record.ready_at) if record.ready_at is not None else None,
        "load_seconds": round(record.load_seconds, 2) if record.load_seconds is not None else None,
        "restarts": record.restarts,
        "pid": await asyncio.to_thread(engine_pid, replica.process.pid) if replica.state in IN_USE else None,
        "host": endpoint.host,
        "port": endpoint.port or None,
        **_command(member),
        "in_flight": loads.in_flight.get(replica.id, 0),
        "tokens_per_second": round(loads.tokens_per_second.get(replica.id, 0.0), 1),
        "engine": said,
        "last_error": str(replica.last_error) if replica.last_error is not None else None,
        "log_tail": list(tail),
    }


def _command(member: Member) -> dict[str, Any]:
    """Return how the engine was started, or would be; the port is 0 where none is fixed and none was taken yet."""
    replica = member.replica
    if replica.family.command is None:
        return {"argv": None, "environment": None}
    command = replica.command()
    return {"argv": hidden.argv(command.argv), "environment": hidden.fields(dict(command.environment))}


def engine_pid(shim: int | None) -> int | None:
    """Return the process that the *shim* has started; None: there is none."""
    if shim is None:
        return None
    try:
        children = Path(f"/proc/{shim}/task/{shim}/children").read_text().split()
    except OSError:  # it has ended
        return None
    return int(children[0]) if children else None


def _unusable(one: Unusable) -> dict[str, Any]:
    said: Mapping[str, Any] = one.row.spec
    return {
        "id": one.row.id,
        "model": one.row.model,
        "aliases": list(said.get("aliases", ())),
        "engine": said.get("engine"),
        "origin": "rest",
        "changed": [],
        "wanted": "running",
        "state": ReplicaState.FAILED.value,
        "settled": True,
        "replicas": said.get("replicas", 1),
        "ready": 0,
        "asleep": 0,
        "in_flight": 0,
        "queued": 0,
        "last_error": one.why,
    }


def log_file(deployments: Deployments, id_: str, n: int) -> Path:
    """Return where the engine of a replica writes. Raises `UnknownDeployment` and `UnknownReplica`."""
    return deployments.fleet.group(id_).member(n).replica.process.log


__all__ = ["UnknownDeployment", "details", "engine_pid", "log_file", "summaries", "summary"]
