"""Measure what standings and the audit log cost: with both durabilities, side by side with a gateway that has neither.

python bench/records.py [--rounds N] [--json FILE]
"""

import argparse
import contextlib
import json
import os
import resource
import signal
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import run
import targets
from children import BenchFailed
from targets import ROOT, Target

PREFILL_US = 25_000
"""Before the first content of a stream, and between two chunks."""
OFF, PROCESS, POWER = "neither", "`process`", "`power`"
ENVIRONMENTS = {
    OFF: {"GATEWAY_STRIKES__ENABLED": "false", "PYTHONPATH": str(ROOT / "unrecorded")},
    PROCESS: {},
    POWER: {"GATEWAY_AUDIT__DURABILITY": "power"},
}
STAGES = (
    run.Stage("cpu", "whole", connections=32, warm=0.4, seconds=2.0),
    run.Stage("whole", "rate", connections=32, warm=0.3, seconds=2.0, rate=200),
    run.Stage("stream", "stream", connections=8, warm=0.3, seconds=3.0, chunks=5, delay_us=PREFILL_US, stagger=0.1),
)
COLUMNS = (
    ("cpu", "cpu_us_per_unit", "worker CPU µs/turn", 1),
    ("cpu", "rps", "turns/s", 1),
    ("whole", "p50_us", "whole p50 ms", 1000),
    ("whole", "p99_us", "p99 ms", 1000),
    ("stream", "first_p50_us", "first token p50 ms", 1000),
    ("stream", "first_p99_us", "p99 ms", 1000),
    ("stream", "p50_us", "end of the stream p50 ms", 1000),
    ("stream", "p99_us", "p99 ms", 1000),
)
"""Stage, field, heading, divisor."""

Environments = Mapping[str, dict[str, str]]
"""What each gateway has in its environment, by its name in the table."""
Runs = dict[tuple[str, str, str], list[float]]
"""Target, stage and field → the value of each round."""


def measure(options: argparse.Namespace, environments: Environments) -> Runs:
    """Run every stage against each of *environments* in turn, the other way round in every other round."""
    run.build()
    harness, core = options.cores
    found: Runs = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port, pid = stack.enter_context(targets.engine(harness, run.BUILD / "engine", folder))
        under_test = []
        for kind, environment in environments.items():
            own = folder / kind.strip("`")
            own.mkdir()
            target = stack.enter_context(targets.gateway(core, port, own, words=False, environment=environment))
            probe = run.Stage("probe", "stream", connections=1, warm=0, seconds=1, chunks=3, delay_us=1_000)
            targets.check(target, run.body(probe, 0).encode(), own)
            under_test.append(replace(target, name=kind, alone=True))
        bench = run.Bench(folder, harness, pid)
        for number in range(options.rounds):
            for stage in STAGES:
                for target in under_test if number % 2 == 0 else under_test[::-1]:
                    note(found, target, stage, bench.measure(target, stage))
    return found


def note(found: Runs, target: Target, stage: run.Stage, result: dict[str, Any]) -> None:
    """Keep what the columns show of one run. Raises `BenchFailed` where requests failed."""
    if any(result["errors"].values()):
        raise BenchFailed(f"{target.name}, {stage.name}: {result['errors']}")
    print(f"{stage.name:<8} {target.name}", file=sys.stderr, flush=True)
    for name, field, _, _ in COLUMNS:
        if name == stage.name:
            found.setdefault((target.name, name, field), []).append(result[field])


def table(found: Runs, environments: Environments, heading: str) -> str:
    """Return medians, and the medians of the differences to the first of *environments*, as Markdown."""
    first, *others = environments
    lines = [[heading, *(heading for _, _, heading, _ in COLUMNS)]]
    lines.append(["---", *("---:" for _ in COLUMNS)])
    for target in environments:
        cells = [statistics.median(found[target, stage, field]) / by for stage, field, _, by in COLUMNS]
        lines.append([target, *(f"{cell:,.2f}" for cell in cells)])
    for target in others:
        cells = [added(found, (first, target), stage, field) / by for stage, field, _, by in COLUMNS]
        lines.append([f"{target} adds", *(f"{cell:+,.2f}" for cell in cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def added(found: Runs, names: tuple[str, str], stage: str, field: str) -> float:
    """Return the median of the differences within a round."""
    first, target = names
    pairs = zip(found[target, stage, field], found[first, stage, field], strict=True)
    return statistics.median(mine - its for mine, its in pairs)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=sys.modules["__main__"].__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=run.rounds_of, default=5)
    parser.add_argument("--cores", type=run.cores_of, default="0,1", help="of engine and client, and of the gateways")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def main(environments: Environments = ENVIRONMENTS, heading: str = "standings and log") -> None:
    """Run the bench; whatever ends it, its children end with it."""
    options = parse(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, run.leave)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, run.FILES_WANTED) if hard > 0 else hard, hard))
    try:
        found = measure(options, environments)
    except BenchFailed as failure:
        sys.exit(f"bench: {failure}")
    print(table(found, environments, heading))
    print(f"\nload average {os.getloadavg()[0]:.1f}")
    if options.json is not None:
        options.json.write_text(json.dumps({"/".join(key): values for key, values in found.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
