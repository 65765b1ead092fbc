"""Measures the gateway beside nginx, and other routers, in one interleaved run: `make bench`.

Engine and load generator share the first processor, each target has the second one to itself; rounds go through all
targets in turn, in changing order, because a machine's speed drifts. See README.md.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE / "build"
KEY = "sk-bench-0123456789abcdef"
ENGINE_CPU, TARGET_CPU = "0", "1"
START_SECONDS = 60.0
STREAMS, CHUNKS, GAP_US = 512, 100, 20_000
SYSTEM = "你是企业内部知识库的问答助手，请依据资料回答，资料里没有的请直接说不知道。回答要简洁、准确、有条理。"
WORDS = (
    "请根据以下制度回答。第一条 为规范公司差旅费用的管理，保证出差人员工作与生活的需要，特制定本办法。第二条 本办法适用于公司全体员工。"
    "第三条 差旅费包括城市间交通费、住宿费、伙食补助费和市内交通费。第四条 出差人员应按规定等级乘坐交通工具。请问：乘坐飞机经济舱由谁审批？"
)

STAGES: dict[str, list[str]] = {
    "whole": ["whole", "32"],
    "rate": ["rate", "16"],
    "first": ["stream", "8"],
    "paced": ["stream", str(STREAMS)],
}
"""Name → mode and connections of the load generator."""


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def build() -> None:
    """Compile engine and load generator."""
    BUILD.mkdir(exist_ok=True)
    for name in ("engine", "load"):
        source, program = HERE / f"{name}.c", BUILD / name
        if not program.exists() or program.stat().st_mtime < max(
            source.stat().st_mtime, (HERE / "common.h").stat().st_mtime
        ):
            subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)


def request(folder: Path, *, stream: bool) -> Path:
    """Write a request as Dify sends it: escaped JSON, a system prompt, the end user's UUID."""
    body = json.dumps(
        {
            "model": "qwen",
            "stream": stream,
            "temperature": 0.7,
            "max_tokens": CHUNKS,
            "seed": GAP_US,
            "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": WORDS}],
            "user": "6f6d9f0c-2c1c-4c56-9c41-0f7a8b0d5c11",
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: python-requests/2.32.5\r\n"
        f"Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    path = folder / ("stream.http" if stream else "whole.http")
    path.write_bytes(head.encode() + body)
    return path


class Target:
    """Something that is measured: a port, and the processes whose CPU counts."""

    def __init__(self, name: str, port: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self.name = name
        self.port = port
        self.process = process

    def pids(self) -> list[int]:
        """Return the target's processes, the children included."""
        return [] if self.process is None else tree(self.process.pid)

    def memory(self) -> float:
        """Return the resident megabytes of the largest process that serves."""
        sizes = [0.0]
        for pid in self.pids():
            with contextlib.suppress(OSError):
                serves = self.name != "gateway" or b"gateway.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                sizes += [int(line.split()[1]) / 1024 for line in lines if serves and line.startswith("VmRSS")]
        return max(sizes)


def tree(pid: int) -> list[int]:
    """Return *pid* and all processes below it."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


@contextlib.contextmanager
def running(argv: list[str], cpu: str, log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program on one processor; it ends with the block."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", cpu, *argv], stdout=output, stderr=output, env={**os.environ, **environment}
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until *url* answers 200. Raises RuntimeError with the log."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 - loopback
            if response.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text()}")


NGINX = """worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.error; daemon off; master_process off;
events {{ worker_connections 8192; }}
http {{
  access_log off; keepalive_requests 100000000; client_body_buffer_size 64k;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream engine {{ server 127.0.0.1:{engine}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://engine; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}
"""


def nginx(folder: Path, engine: int, stack: contextlib.ExitStack) -> Target | None:
    """Start nginx as a plain proxy, the yardstick; None where it is not installed."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        print("nginx is not installed: no ratios", file=sys.stderr)
        return None
    port, log = free_port(), folder / "nginx.log"
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, engine=engine, port=port))
    process = stack.enter_context(
        running([program, "-p", str(folder), "-c", str(folder / "nginx.conf")], TARGET_CPU, log)
    )
    wait_for(f"http://127.0.0.1:{port}/health", process, log)
    return Target("nginx", port, process)


def gateway(folder: Path, engine: int, stack: contextlib.ExitStack) -> Target:
    """Start the gateway as it is delivered, with the stand-in as its external engine."""
    port, log = free_port(), folder / "gateway.log"
    deployment = {"model": "qwen", "engine": "external", "url": f"http://127.0.0.1:{engine}", "max_in_flight": 8192}
    (folder / "gateway.yaml").write_text(json.dumps({"deployments": [deployment]}))  # JSON is YAML
    process = stack.enter_context(
        running(
            [sys.executable, "-m", "gateway", "serve"],
            TARGET_CPU,
            log,
            GATEWAY_CONFIG=str(folder / "gateway.yaml"),
            GATEWAY_DATA_DIR=str(folder / "data"),
            GATEWAY_HOST="127.0.0.1",
            GATEWAY_PORT=str(port),
            GATEWAY_ADMIN_PORT=str(free_port()),
            GATEWAY_ADMIN_KEY="adm-bench-0123456789abcdef",
            GATEWAY_CLIENT_KEY=KEY,
            GATEWAY_WORKERS="1",
        )
    )
    wait_for(f"http://127.0.0.1:{port}/readyz", process, log)
    return Target("gateway", port, process)


def peer(name: str, python: str, folder: Path, engine: int, stack: contextlib.ExitStack) -> Target:
    """Start another router: ``sglang-router`` or ``vllm-router``."""
    port, log = free_port(), folder / f"{name}.log"
    module = {"sglang-router": "sglang_router.launch_router", "vllm-router": "vllm_router.launch_router"}[name]
    argv = [python, "-m", module, "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin"]
    argv += ["--worker-urls", f"http://127.0.0.1:{engine}", "--log-level", "warn" if "sglang" in name else "warning"]
    argv += ["--backend", "openai", "--prometheus-port", str(free_port())] if "sglang" in name else []
    process = stack.enter_context(running(argv, TARGET_CPU, log))
    wait_for(f"http://127.0.0.1:{port}/health", process, log)
    return Target(name, port, process)


def measure(target: Target, stage: str, seconds: float, requests: dict[bool, Path]) -> dict[str, Any]:
    """Put one load on one target."""
    mode, connections = STAGES[stage]
    warm_up = max(1.0, seconds / 2) if stage != "paced" else CHUNKS * GAP_US / 1e6
    argv = ["taskset", "-c", ENGINE_CPU, str(BUILD / "load"), str(target.port), mode, connections, str(seconds)]
    argv += [str(warm_up), str(requests[mode == "stream"]), "200", *map(str, target.pids())]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + warm_up + 30, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "target": target.name, "stage": stage, "memory": target.memory()}


def median(rows: list[dict[str, Any]], target: str, stage: str, key: str) -> float:
    """Return the median over the rounds."""
    found = [row[key] for row in rows if row["target"] == target and row["stage"] == stage]
    return statistics.median(found) if found else float("nan")


def ratio(rows: list[dict[str, Any]], target: str, other: str, stage: str, key: str) -> float:
    """Return the median of the ratios round by round."""
    mine = [row[key] for row in rows if row["target"] == target and row["stage"] == stage]
    theirs = [row[key] for row in rows if row["target"] == other and row["stage"] == stage]
    return statistics.median(a / b for a, b in zip(mine, theirs, strict=True)) if mine and theirs else float("nan")


def table(rows: list[dict[str, Any]], names: list[str]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| target | answers/s | µs CPU/answer | ratio to nginx | p50/p99 ms at 200/s | added first chunk ms"
        " | µs CPU/chunk | ratio to nginx | chunk p99 ms | MB | errors |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        errors = sum(
            row[key] for row in rows if row["target"] == name for key in ("bad_status", "bad_connection", "bad_stream")
        )
        added = median(rows, name, "first", "first_p50_us") - median(rows, "direct", "first", "first_p50_us")
        lines.append(
            f"| {name} | {median(rows, name, 'whole', 'answers_per_second'):,.0f}"
            f" | {median(rows, name, 'whole', 'cpu_us'):.1f}"
            f" | {ratio(rows, name, 'nginx', 'whole', 'answers_per_second'):.2f}"
            f" | {median(rows, name, 'rate', 'latency_p50_us') / 1000:.2f}/{median(rows, name, 'rate', 'latency_p99_us') / 1000:.2f}"
            f" | {added / 1000:.2f}"
            f" | {median(rows, name, 'paced', 'cpu_us'):.1f}"
            f" | {ratio(rows, name, 'nginx', 'paced', 'cpu_us'):.2f}"
            f" | {median(rows, name, 'paced', 'transit_p99_us') / 1000:.1f}"
            f" | {max((row['memory'] for row in rows if row['target'] == name), default=0):.0f} | {errors} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run it all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time of each load")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument(
        "--peer", action="append", default=[], metavar="NAME=PYTHON", help="another router and its Python"
    )
    parser.add_argument("--json", type=Path, help="write every measurement there")
    given = parser.parse_args()
    rounds, seconds = (1, 1.5) if given.quick else (given.rounds, given.seconds)
    build()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as made, contextlib.ExitStack() as stack:
        folder = Path(made)
        requests = {stream: request(folder, stream=stream) for stream in (False, True)}
        engine = free_port()
        process = stack.enter_context(running([str(BUILD / "engine"), str(engine)], ENGINE_CPU, folder / "engine.log"))
        wait_for(f"http://127.0.0.1:{engine}/health", process, folder / "engine.log")
        targets = [Target("direct", engine), nginx(folder, engine, stack), gateway(folder, engine, stack)]
        targets += [peer(*text.split("=", 1), folder, engine, stack) for text in given.peer]
        present = [target for target in targets if target is not None]
        for number in range(rounds):
            for target in present if number % 2 == 0 else present[::-1]:
                rows += [measure(target, stage, seconds, requests) for stage in STAGES]
        print(table(rows, [target.name for target in present]))
    if given.json is not None:
        given.json.write_text("\n".join(json.dumps(row) for row in rows) + "\n")


if __name__ == "__main__":
    main()
