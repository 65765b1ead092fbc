"""`gateway backends …` and `gateway reload`: deployments of a running gateway, through its admin API."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from gateway import cli_plan
from gateway.cli_remote import Remote, RemoteRefused
from gateway.settings import load
from gateway.terminal import moment

ORDERS = {
    "start": "start the engines of a deployment",
    "stop": "stop them now; running answers break off",
    "drain": "stop them once their last answers have ended",
    "restart": "drain them and start them anew, one after the other",
}
WAIT_SECONDS = 660.0
"""For what was ordered to be done: the default of `start_timeout_seconds`, and more."""
LOOK_SECONDS = 0.3
PATH = "/admin/backends"


def add_parser(commands: Any) -> None:
    """Add the commands and their actions to the command line."""
    parser = commands.add_parser("backends", help="deployments and their replicas, in a gateway that runs")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="list deployments")
    _named(actions, "show", "show a deployment and each of its replicas")
    log = _named(actions, "log", "print the end of an engine's log")
    log.add_argument("replica", nargs="?", type=int, default=0, help="the replica's number (0)")
    log.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    log.add_argument("--offset", type=int, metavar="BYTES", help="from where, instead of the end")
    for name, text in ORDERS.items():
        order = _named(actions, name, text)
        order.add_argument("--replica", type=int, metavar="N", help="of one replica only")
        if name in {"drain", "restart"}:
            _seconds(order)
    add = actions.add_parser("add", help="add deployments: a YAML file with one, or a list, as `deployments` has them")
    add.add_argument("file", help="its path, or - for standard input")
    _seconds(_named(actions, "remove", "remove a deployment that was added so"))
    scale = _named(actions, "scale", "change the number of replicas")
    scale.add_argument("replicas", type=int)
    for name in (*ORDERS, "add", "scale", "remove"):
        actions.choices[name].add_argument("--wait", action="store_true", help="return when it is done")
    for action in actions.choices.values():
        _common(action)
        action.set_defaults(run=run)
    cli_plan.add_actions(actions)
    reload = commands.add_parser("reload", help="have a running gateway read its settings file again")
    reload.add_argument("--no-wait", action="store_false", dest="wait", help="return before engines have started")
    _common(reload)
    reload.set_defaults(run=run, action="reload")


def _named(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    action: argparse.ArgumentParser = actions.add_parser(name, help=text)
    action.add_argument("model", help="its model, an alias, or its id")
    return action


def _seconds(action: argparse.ArgumentParser) -> None:
    action.add_argument("--seconds", type=float, help="for running answers to end (as long as they take)")


def _common(action: argparse.ArgumentParser) -> None:
    action.add_argument("--url", help="the admin API (where the settings say)")
    action.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    remote = None
    try:
        remote = Remote(load(), arguments.url)
        return ACTIONS.get(arguments.action, _order)(remote, arguments)
    except RemoteRefused as error:
        print(f"gateway: {error}", file=sys.stderr)
        return os.EX_CONFIG if arguments.action == "reload" else 1
    except KeyboardInterrupt:  # the end of `log -f`
        return 130
    finally:
        if remote is not None:
            remote.close()


def _list(remote: Remote, arguments: argparse.Namespace) -> int:
    found = remote.ask("GET", PATH)["data"]
    return _print(arguments, found, "\n".join(map(line, found)) or "no deployments")


def _show(remote: Remote, arguments: argparse.Namespace) -> int:
    found = remote.ask("GET", f"{PATH}/{_id(remote, arguments.model)}")
    return _print(arguments, found, page(found))


def _log(remote: Remote, arguments: argparse.Namespace) -> int:
    path = f"{PATH}/{_id(remote, arguments.model)}/replicas/{arguments.replica}/log"
    if not arguments.follow:
        text = remote.ask("GET", path, offset=arguments.offset)
        return _print(arguments, {"log": text}, text.rstrip("\n"))
    for text in remote.events(path, offset=arguments.offset, follow=True):
        print(json.dumps({"line": text}, ensure_ascii=False) if arguments.json else text, flush=True)
    return 0


def _order(remote: Remote, arguments: argparse.Namespace) -> int:
    id_ = _id(remote, arguments.model)
    where = "" if arguments.replica is None else f"/replicas/{arguments.replica}"
    body = {"seconds": getattr(arguments, "seconds", None)}
    remote.ask("POST", f"{PATH}/{id_}{where}/{arguments.action}", body)
    return _told(remote, arguments, [id_])


def _add(remote: Remote, arguments: argparse.Namespace) -> int:
    try:
        text = sys.stdin.read() if arguments.file == "-" else Path(arguments.file).read_text(encoding="utf-8")
        said = yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise RemoteRefused(f"{arguments.file}: {error}") from None
    if isinstance(said, Mapping) and set(said) == {"deployments"}:
        said = said["deployments"]
    specs = said if isinstance(said, list) else [said]
    added = [remote.ask("POST", PATH, spec)["id"] for spec in specs]
    return _told(remote, arguments, added)


def _remove(remote: Remote, arguments: argparse.Namespace) -> int:
    id_ = _id(remote, arguments.model)
    remote.ask("DELETE", f"{PATH}/{id_}", seconds=arguments.seconds)
    return _told(remote, arguments, [id_])


def _scale(remote: Remote, arguments: argparse.Namespace) -> int:
    id_ = _id(remote, arguments.model)
    remote.ask("PATCH", f"{PATH}/{id_}", {"replicas": arguments.replicas})
    return _told(remote, arguments, [id_])


def _reload(remote: Remote, arguments: argparse.Namespace) -> int:
    outcome = remote.ask("POST", "/admin/reload")
    touched = {model for name in ("start", "restart", "change") for model in outcome[name]}
    ids = [one["id"] for one in remote.ask("GET", PATH)["data"] if one["model"] in touched]
    found = _awaited(remote, ids) if arguments.wait else []
    failed = [one for one in found if _failed(one)]
    text = [*outcome_lines(outcome), *map(line, found)]
    _print(arguments, {**outcome, "deployments": found}, "\n".join(text))
    return 1 if failed else 0


ACTIONS: dict[str, Callable[[Remote, argparse.Namespace], int]] = {
    "list": _list,
    "show": _show,
    "log": _log,
    "add": _add,
    "remove": _remove,
    "scale": _scale,
    "reload": _reload,
}
"""The others are orders."""


def _id(remote: Remote, name: str) -> str:
    """Return the id of the deployment that goes by *name*. Raises `RemoteRefused`."""
    for one in remote.ask("GET", PATH)["data"]:
        if name.rstrip("/") in {one["id"], *(known.rstrip("/") for known in (one["model"], *one["aliases"]))}:
            return str(one["id"])
    raise RemoteRefused(f"there is no deployment {name}; `gateway backends list` shows them")


def _told(remote: Remote, arguments: argparse.Namespace, ids: Iterable[str]) -> int:
    """Print what has become of deployments, once it is done where that is waited for; 1 where one has failed."""
    ids = list(ids)
    found = _awaited(remote, ids) if arguments.wait else _of(remote, ids)
    gone = [f"{id_}  removed" for id_ in ids if id_ not in {one["id"] for one in found}]
    _print(arguments, found, "\n".join([*map(line, found), *gone]))
    return 1 if arguments.wait and any(map(_failed, found)) else 0


def _awaited(remote: Remote, ids: Iterable[str]) -> list[Any]:
    """Return deployments when nothing is under way for them any more. Raises `RemoteRefused` after `WAIT_SECONDS`."""
    ids, until = list(ids), time.monotonic() + WAIT_SECONDS
    while True:
        found = _of(remote, ids)
        if all(one["settled"] for one in found):
            return found
        if time.monotonic() > until:
            raise RemoteRefused(f"it is still under way after {WAIT_SECONDS:g} s")
        time.sleep(LOOK_SECONDS)


def _of(remote: Remote, ids: Iterable[str]) -> list[Any]:
    wanted = set(ids)
    return [one for one in remote.ask("GET", PATH)["data"] if one["id"] in wanted]


def _failed(one: Mapping[str, Any]) -> bool:
    return bool(one["wanted"] == "running" and one["ready"] + one["asleep"] < one["replicas"])


def _print(arguments: argparse.Namespace, found: Any, text: str) -> int:
    print(json.dumps(found, ensure_ascii=False) if arguments.json else text)
    return 0


def line(one: Mapping[str, Any]) -> str:
    """Return a deployment in one line."""
    ready = f"{one['ready']} of {one['replicas']}" + (f", {one['asleep']} loaded on demand" if one["asleep"] else "")
    words = [one["id"], one["model"], one["engine"] or "?", f"{one['state']} ({ready})"]
    words.append({"file": "settings", "rest": "added"}.get(one["origin"], one["origin"]))
    if one["changed"]:
        words.append(f"changed: {', '.join(one['changed'])}")
    words.append(f"{one['in_flight']} requests, {one['queued']} waiting")
    text = "  ".join(words)
    return f"{text}\n  {one['last_error']}" if one["last_error"] else text


def page(one: Mapping[str, Any]) -> str:
    """Return a deployment with its replicas."""
    lines = [line(one)]
    for member in one["members"]:
        words = [f"  #{member['n']} {member['state']} since {moment(member['since'])}"]
        if member["asleep"]:
            words.append("loaded on demand")
        if member["pid"] is not None:
            words.append(f"pid {member['pid']}")
        if member["port"] is not None:
            words.append(f"{member['host']}:{member['port']}")
        if member["load_seconds"] is not None:
            words.append(f"loaded in {member['load_seconds']:g} s")
        words.append(f"{member['restarts']} restarts, {member['in_flight']} requests")
        lines.append(", ".join(words))
        if member["argv"] is not None:
            lines.append(f"     {' '.join(member['argv'])}")
        if member["last_error"]:
            lines.append(f"     {member['last_error']}")
        lines += [f"     | {text}" for text in member["log_tail"]] if member["state"] != "ready" else []
    return "\n".join(lines)


def outcome_lines(outcome: Mapping[str, Any]) -> list[str]:
    """Return what a reload did."""
    said = {
        "start": "started",
        "stop": "stopped",
        "restart": "restarted",
        "change": "changed",
        "dropped": "changes by REST dropped",
        "needs_restart": "need a restart of the gateway",
    }
    lines = [f"{text}: {', '.join(outcome[name])}" for name, text in said.items() if outcome[name]]
    return lines or ["Nothing has changed."]
