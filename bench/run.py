"""Measure what the gateway costs, side by side with nginx and other routers. See README.md.

python bench/run.py [--quick] [--rounds N] [--peers sglang-router,vllm-router] [--json FILE]
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import targets
from children import BenchFailed, pinned
from report import Results
from targets import ROOT, Target

BUILD = ROOT / "build"
PROGRAMS = ("engine", "load")
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
FILES_WANTED = 16_384
"""Open files: 512 streams are 1 024 sockets in a relay."""
USERS = 64
DRAIN_SECONDS = 3.0
SETTLE_SECONDS = 0.3
"""Between two runs, for a target to finish with the last one."""
SYSTEM = (
    "你是企业内部的制度问答助手，请只依据下面的资料回答；资料里没有的，直接说不知道。\n"
    "<context>差旅管理办法第五条：员工出差应事先提交申请，写明事由、行程与预计费用，由部门负责人审批。"
    "第六条：乘坐飞机经济舱须经批准，其他舱位的超出部分自理。第九条：返回后十个工作日内凭票据报销。"
    "第十二条：因公改签的手续费由公司承担，须附说明。</context>"
)
QUESTIONS = (
    "下周去上海参加行业展会，可以坐飞机吗？需要谁来审批，要提前多少天提出申请？",
    "出差回来已经两个星期了，住宿发票还能报销吗？如果超过期限应该找哪个部门处理？",
    "临时改签产生的手续费由公司承担还是个人承担？请列出依据的条款。",
    "请把差旅管理办法的要点整理成三条，每条不超过三十个字，发给新同事看。",
)


@dataclass(frozen=True)
class Stage:
    """One kind of load."""

    name: str
    mode: str
    connections: int
    warm: float
    seconds: float
    rate: int = 0
    """Requests a second, at a fixed rate."""
    chunks: int = 64
    delay_us: int = 0
    """Between two chunks of a stream."""
    stagger: float = 0.0
    """Seconds over which the first streams start."""

    @property
    def chunks_per_s(self) -> float:
        """Return what its paced streams send together."""
        return self.connections * 1_000_000 / self.delay_us if self.delay_us else 0.0


def stages(quick: bool) -> tuple[Stage, ...]:
    """Return what each target goes through in a round."""
    long = 1.0 if quick else 2.0
    return (
        Stage("throughput", "whole", connections=32, warm=0.4, seconds=0.8 * long),
        Stage("latency", "rate", connections=32, warm=0.3, seconds=1.2 * long, rate=200),
        Stage("first", "stream", connections=8, warm=0.3, seconds=long, chunks=10, delay_us=5_000, stagger=0.05),
        Stage("paced", "stream", 512, warm=1.1 * long, seconds=long, chunks=100, delay_us=20_000, stagger=long),
    )


def body(stage: Stage, number: int) -> str:
    """Return a request as Dify's chat client writes it: every character beyond ASCII escaped."""
    fields = {
        "model": targets.MODEL,
        "stream": stage.mode == "stream",
        "temperature": 0.7,
        "max_tokens": stage.chunks,
        "seed": stage.delay_us,
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": QUESTIONS[number % len(QUESTIONS)]},
        ],
        "stop": ["<|im_end|>"],
        "user": str(uuid.uuid5(uuid.NAMESPACE_URL, f"user:{number}")),
    }
    return json.dumps(fields)


def build() -> None:
    """Compile the C programs where their sources are newer."""
    compiler = os.environ.get("CC", "cc")
    if shutil.which(compiler) is None:
        raise BenchFailed(f"no C compiler ({compiler}): apt-get install gcc libc6-dev")
    BUILD.mkdir(exist_ok=True)
    newest = max(path.stat().st_mtime for path in (*ROOT.glob("*.c"), *ROOT.glob("*.h")))
    for name in PROGRAMS:
        program = BUILD / name
        if program.exists() and program.stat().st_mtime > newest:
            continue
        argv = [compiler, *FLAGS, "-o", str(program), str(ROOT / f"{name}.c")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise BenchFailed(f"{name}.c does not compile\n{done.stderr}")


@dataclass(frozen=True)
class Bench:
    """What a run of the load client needs to know."""

    folder: Path
    harness_core: int
    engine_pid: int

    def measure(self, target: Target, stage: Stage) -> dict[str, Any]:
        """Run the load client once. Raises `BenchFailed` when it fails."""
        argv = [str(BUILD / "load"), "-p", str(target.port), "-m", stage.mode, "-b", str(self.bodies(stage))]
        argv += ["-c", str(stage.connections), "-w", str(stage.warm), "-s", str(stage.seconds)]
        argv += ["-d", str(DRAIN_SECONDS), "-n", str(stage.chunks), "-t", str(stage.stagger)]
        argv += ["-e", str(self.engine_pid), "-H", f"Authorization: Bearer {targets.CLIENT_KEY}"]
        argv += ["-r", str(stage.rate)] if stage.rate else []
        pids = ",".join(map(str, target.pids()))
        argv += ["-k", pids] if pids else []
        limit = stage.warm + stage.seconds + DRAIN_SECONDS + 10
        done = subprocess.run(
            pinned(self.harness_core, argv), capture_output=True, text=True, timeout=limit, check=False
        )
        if done.returncode != 0:
            raise BenchFailed(f"load client, {target.name}, {stage.name}: {done.stderr or done.returncode}")
        result: dict[str, Any] = json.loads(done.stdout)
        harness = result["engine_cpu"] + result["client_cpu"]
        return {**result, "harness_cpu": harness, "rss_mb": target.rss_mb(), "load_average": os.getloadavg()[0]}

    def bodies(self, stage: Stage) -> Path:
        """Return the file with the stage's requests, one a line."""
        path = self.folder / f"{stage.name}.jsonl"
        if not path.exists():
            path.write_text("".join(body(stage, number) + "\n" for number in range(USERS)))
        return path

    def rounds(self, count: int, under_test: Sequence[Target], load: Sequence[Stage]) -> Iterator[dict[str, Any]]:
        """Yield each run. Stage by stage all targets come in turn, and every other round in reverse."""
        for number in range(count):
            order = under_test if number % 2 == 0 else under_test[::-1]
            for stage in load:
                for target in order:
                    result = self.measure(target, stage)
                    _progress(f"round {number + 1}/{count}  {stage.name:<10}  {target.name}")
                    yield {"target": target.name, "stage": stage.name, "round": number, **result}
                    time.sleep(SETTLE_SECONDS)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def start(stack: contextlib.ExitStack, options: argparse.Namespace, folder: Path) -> tuple[Bench, list[Target]]:
    """Start the engine and all targets; *stack* ends them."""
    harness, core = options.cores
    engine_port, engine_pid = stack.enter_context(targets.engine(harness, BUILD / "engine", folder))
    found = [Target("direct", engine_port)]
    program = targets.nginx_program()
    if program is None:
        _progress("nginx is not installed (apt-get install nginx): there will be no ratios to it")
    else:
        found.append(stack.enter_context(targets.nginx(program, core, engine_port, folder)))
    if not options.without_gateway:
        both = (targets.gateway(core, engine_port, folder, words=words) for words in (True, False))
        found.extend(stack.enter_context(each) for each in both)
    for name in dict.fromkeys([*options.peers, *dict(options.peer)]):
        python = targets.peer_python(name, dict(options.peer))
        found.append(stack.enter_context(targets.peer(name, python, core, engine_port, folder)))
    probe = Stage("probe", "stream", connections=1, warm=0, seconds=1, chunks=3, delay_us=1_000)
    for target in found:
        targets.check(target, body(probe, 0).encode(), folder)
    return Bench(folder, harness, engine_pid), found


def run(options: argparse.Namespace) -> None:
    """Build, start, measure, print. Raises `BenchFailed`."""
    build()
    load = stages(options.quick)
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        bench, under_test = start(stack, options, Path(name))
        results = Results(bench.rounds(options.rounds, under_test, load))
    print(results.table())
    if results.ratios():
        print(f"\n{results.ratios()}")
    remarks = results.remarks(load[-1].chunks_per_s)
    if remarks:
        print("\n" + "\n".join(f"- {remark}" for remark in remarks))
    if options.json is not None:
        machine = {"machine": platform.machine(), "kernel": platform.release(), "cores": os.cpu_count()}
        document = {"machine": machine, "summary": results.summary(), "runs": results.runs}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")


def _peers(text: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in targets.PEERS:
            raise argparse.ArgumentTypeError(f"{name}: one of {', '.join(targets.PEERS)}")
    return names


def _peer(text: str) -> tuple[str, str]:
    name, equals, python = text.partition("=")
    if name not in targets.PEERS or not equals:
        raise argparse.ArgumentTypeError(f"{text}: NAME=PYTHON with NAME one of {', '.join(targets.PEERS)}")
    return name, python


def cores_of(text: str) -> tuple[int, int]:
    """Read which core is for the harness and which for the targets."""
    try:
        harness, core = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: two core numbers, as in 0,1") from None
    if harness == core or not {harness, core} <= os.sched_getaffinity(0):
        raise argparse.ArgumentTypeError(f"{text}: two different cores of {sorted(os.sched_getaffinity(0))}")
    return harness, core


def rounds_of(text: str) -> int:
    """Read the number of rounds."""
    if not (text.isdecimal() and 1 <= int(text) <= 100):
        raise argparse.ArgumentTypeError(f"{text}: 1 to 100")
    return int(text)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options; a wrong one ends the program with a word on it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round: enough to see that all works")
    parser.add_argument("--rounds", type=rounds_of, help="5 without --quick")
    parser.add_argument(
        "--peers", type=_peers, default=[], metavar="NAMES", help="routers whose Python is in BENCH_<NAME>_PYTHON"
    )
    parser.add_argument(
        "--peer", type=_peer, action="append", default=[], metavar="NAME=PYTHON", help=", ".join(targets.PEERS)
    )
    parser.add_argument("--without-gateway", action="store_true")
    parser.add_argument("--cores", type=cores_of, default="0,1", help="of engine and client, and of the target (0,1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all runs and medians, for programs")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def leave(number: int, frame: types.FrameType | None) -> NoReturn:
    """End by a signal in a way that ends the children, too."""
    del frame
    raise SystemExit(128 + number)


def main() -> None:
    """Run the bench; whatever ends it, its children end with it."""
    options = parse(sys.argv[1:])
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, FILES_WANTED)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        run(options)
    except BenchFailed as failure:
        sys.exit(f"bench: {failure}")


if __name__ == "__main__":
    main()
