"""llama.cpp's server from the xllamacpp wheel, behind llama-server's own flags.

`python -m backends.engines.xllamacpp_server -m FILE.gguf --port 6006 …` stands in for `llama-server`. SIGTERM ends it
with 0, and by the signal itself while the model still loads; a bad model path or a busy port ends it with 1 and one
line that says so.
"""

import argparse
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SIGNAL_SECONDS = 0.1
"""Between two looks whether a signal has come."""
QUIET = 2
"""Errors and warnings. llama.cpp's own default of 3 writes seven lines for every request."""


def parser() -> argparse.ArgumentParser:
    """Return the flags: those of llama-server that a deployment uses."""
    flags = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    flags.add_argument("-m", "--model", required=True)
    flags.add_argument("-a", "--alias")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8080)
    flags.add_argument("-c", "--ctx-size", type=int, default=0)
    flags.add_argument("-np", "--parallel", type=int, default=1)
    flags.add_argument("-t", "--threads", type=int)
    flags.add_argument("-ngl", "--gpu-layers", "--n-gpu-layers", type=int)
    flags.add_argument("-ts", "--tensor-split")
    flags.add_argument("--api-key")
    flags.add_argument("--metrics", action="store_true")
    flags.add_argument("--slots", action=argparse.BooleanOptionalAction, default=True)
    flags.add_argument("--embeddings", action="store_true")
    flags.add_argument("--reranking", action="store_true")
    flags.add_argument("--pooling", choices=("none", "mean", "cls", "last", "rank"))
    flags.add_argument("--jinja", action=argparse.BooleanOptionalAction, default=True)
    flags.add_argument("--lora", action="append", default=[], metavar="FILE")
    flags.add_argument("--rope-scaling", choices=("none", "linear", "yarn"))
    flags.add_argument("--rope-scale", type=float)
    flags.add_argument("--yarn-orig-ctx", type=int)
    flags.add_argument("-lv", "--verbosity", type=int, default=QUIET)
    return flags


def parameters(xllamacpp: Any, given: argparse.Namespace) -> Any:
    """Return xllamacpp's parameters for the flags."""
    made = xllamacpp.CommonParams()
    made.model.path = given.model
    made.model_alias = {given.alias or given.model}
    made.hostnames = [given.host]
    made.port = given.port
    made.n_ctx = given.ctx_size
    made.n_parallel = given.parallel
    made.endpoint_metrics = given.metrics
    made.endpoint_slots = given.slots
    made.use_jinja = given.jinja
    made.ui = False
    made.verbosity = given.verbosity
    if given.threads is not None:
        made.cpuparams.n_threads = made.cpuparams_batch.n_threads = given.threads
    if given.gpu_layers is not None:
        made.n_gpu_layers = given.gpu_layers
    if given.tensor_split is not None:
        shares = [float(share) for share in given.tensor_split.split(",")]
        made.tensor_split = shares + [0.0] * (len(made.tensor_split) - len(shares))
    if given.api_key is not None:
        made.api_keys = [given.api_key]
    if given.embeddings or given.reranking:
        made.embedding = True
    pooling = "rank" if given.reranking else given.pooling
    if pooling is not None:
        made.pooling_type = getattr(xllamacpp.llama_pooling_type, f"LLAMA_POOLING_TYPE_{pooling.upper()}")
    if given.lora:
        made.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path) for path in given.lora]
    _set_rope(xllamacpp, made, given)
    return made


def _set_rope(xllamacpp: Any, made: Any, given: argparse.Namespace) -> None:
    if given.rope_scaling is not None:
        name = f"LLAMA_ROPE_SCALING_TYPE_{given.rope_scaling.upper()}"
        made.rope_scaling_type = getattr(xllamacpp.llama_rope_scaling_type, name)
    if given.rope_scale is not None:
        made.rope_freq_scale = 1.0 / given.rope_scale
    if given.yarn_orig_ctx is not None:
        made.yarn_orig_ctx = given.yarn_orig_ctx


def _check(given: argparse.Namespace) -> str | None:
    """Return why the server could not start; llama.cpp itself says so only after loading."""
    if not Path(given.model).is_file():
        return f"--model: there is no file {given.model}"
    for path in given.lora:
        if not Path(path).is_file():
            return f"--lora: there is no file {path}"
    with socket.socket(socket.AF_INET6 if ":" in given.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((given.host, given.port))
        except OSError as error:
            return f"--port: cannot listen on {given.host}:{given.port}: {error.strerror}"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    given = parser().parse_args(argv)
    complaint = _check(given)
    if complaint is not None:
        print(complaint, file=sys.stderr, flush=True)  # noqa: T201 - the log of the engine
        return 1
    import xllamacpp  # noqa: PLC0415 - after the checks: it is 100 MB

    try:
        server = xllamacpp.Server(parameters(xllamacpp, given))
    except Exception as error:  # noqa: BLE001 - whatever it is, this is the end
        print(f"llama.cpp does not start: {error}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):  # not before: loading keeps the interpreter from any handler
        signal.signal(number, lambda *_: stop.set())
    print(f"listening on {server.listening_address}", file=sys.stderr, flush=True)  # noqa: T201
    # the kernel may hand a signal to a thread of llama.cpp, which wakes nobody here: so look
    while not stop.wait(SIGNAL_SECONDS):
        pass
    del server
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # llama.cpp's threads must not hold up the end
