"""What a person who starts the gateway sees of its engines."""

import asyncio
import time

from backends.endpoint import ReplicaState
from gateway import banner
from gateway.fleet.fleet import Fleet
from gateway.settings import Settings

PROGRESS_SECONDS = 1.0


async def show_progress(settings: Settings, fleet: Fleet, client_key: str | None) -> None:
    """Say what is loading until nothing is, then how to use it."""
    progress, began = banner.Progress(), time.monotonic()
    while loading := fleet.coming():
        progress.show(f"loading {', '.join(loading)}", time.monotonic() - began)
        await asyncio.sleep(PROGRESS_SECONDS)
    progress.end()
    states = {m.replica.id: "loaded on demand" if m.replica.asleep else m.state.value for m in fleet.members}
    banner.say("\n".join(f"{name}: {state}" for name, state in states.items()))
    ready = [m.deployment for m in fleet.members if m.state is ReplicaState.READY or m.replica.asleep]
    uses = {d.model: "embeddings" if "embed" in d.tasks else "chat" for d in ready}
    banner.say(banner.how_to_use(settings, uses, client_key))
