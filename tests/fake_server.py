"""The fake engine as a program that takes llama-server's flags, for deployments that need many quick processes.

It says as many words as `max_tokens` asks for, one each `PACE_SECONDS`, and is healthy unless the file named by the
variable FAKE_ILL is there; where that of FAKE_BROKEN is, it ends at once.
"""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fakes import END, SSE, FakeEngine, Pause, Received, Send, Step, answer, chunk, delta, event, head, whole_chat

PACE_SECONDS = 0.02
ROOT = Path(__file__).parent.parent


def write(folder: Path) -> Path:
    """Write the program; return where it is: the `binary` of a deployment on the engine `llama_server`."""
    program = folder / "fake-server"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.fake_server import main\nmain(sys.argv)\n"
    )
    program.chmod(0o755)
    return program


def words(count: int) -> Iterator[Step]:
    """Yield a stream of *count* words, and its end."""
    yield Send(head(SSE) + chunk(event(delta({"role": "assistant", "content": ""}))))
    for i in range(count):
        yield Pause(PACE_SECONDS)
        yield Send(chunk(event(delta({"content": f"{i} "}, "stop" if i == count - 1 else None))))
    yield Send(chunk(event(b"[DONE]")) + END)


def script(received: Received) -> Sequence[Step]:
    """Answer as a healthy engine, at its own pace."""
    if received.path == "/health":
        ill = os.environ.get("FAKE_ILL")
        return answer({}, "503 Service Unavailable" if ill and Path(ill).exists() else "200 OK")
    if received.path == "/metrics":
        return answer(b"llamacpp:requests_processing 3\nllamacpp:requests_deferred 1\n")
    if received.method == "GET":
        return answer({"object": "list", "data": []})
    body = received.json()
    count = body.get("max_tokens") or body.get("max_completion_tokens") or 3
    return list(words(count)) if body.get("stream") else answer(whole_chat(" ".join(map(str, range(count)))))


def main(argv: Sequence[str]) -> None:
    """Serve on the port of llama-server's ``--port`` until the end."""
    broken = os.environ.get("FAKE_BROKEN")
    if broken and Path(broken).exists():
        sys.exit("it is broken")
    asyncio.run(_serve(int(argv[argv.index("--port") + 1])))


async def _serve(port: int) -> None:
    await FakeEngine(script).listen(port)
    sys.stderr.write(f"listening on {port}\n")
    await asyncio.Event().wait()
