"""`gateway backends plan`: what would be started, without starting anything."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from backends.plan import PlannedDeployment, document
from gateway.drafts import plan

EXIT_UNKNOWN = 1


def add_actions(actions: Any) -> None:
    """Add `plan` to the actions of `gateway backends`."""
    parser = actions.add_parser(
        "plan", help="print what would be started: environment and command line of each replica"
    )
    parser.add_argument("model", nargs="?", help="of this model alone: its name, an alias or its path")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--secrets", action="store_true", help="show values that look like secrets")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan; return the exit status: 78 where something is wrong, 1 where no deployment has the name."""
    found = plan(secrets=arguments.secrets)
    deployments, others = found.deployments, found.problems
    if arguments.model is not None:
        deployments, others = _of_model(deployments, arguments.model), []
        if not deployments:
            print(f"gateway: no deployment is named {arguments.model}", file=sys.stderr)
            return EXIT_UNKNOWN
    wrong = bool(others) or any(one.problems for one in deployments)
    if arguments.json:
        print(
            json.dumps({"ok": not wrong, "deployments": document(deployments), "problems": others}, ensure_ascii=False)
        )
    else:
        print("\n".join([*map(_comment, others), *_lines(deployments)]) or "no deployments")
    return os.EX_CONFIG if wrong else 0


def _of_model(deployments: Sequence[PlannedDeployment], name: str) -> list[PlannedDeployment]:
    return [one for one in deployments if name.rstrip("/") in {known.rstrip("/") for known in one.names}]


def _lines(deployments: Sequence[PlannedDeployment]) -> Iterator[str]:
    """Yield a script's lines: comments, and one command for each replica."""
    for i, one in enumerate(deployments):
        if i:
            yield ""
        yield _comment(f"deployments[{one.index}]  {one.model or '?'}  {one.engine or '?'}")
        yield from (_comment(f"WRONG {problem}") for problem in one.problems)
        yield from map(_comment, one.remarks)
        if one.url is not None:
            yield _comment(f"nothing is started: it runs at {one.url}")
        for replica in one.replicas:
            port = f"port {replica.port}" if replica.port is not None else "a free port, which stands as 0"
            yield _comment(f"{replica.replica}: {port}")
            yield replica.shell


def _comment(text: str) -> str:
    """Return *text* as one comment: a line end in a name must not begin a command."""
    return f"# {' '.join(text.splitlines())}"
