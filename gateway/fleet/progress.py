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
    endpoints = fleet.endpoints()
    banner.say("\n".join(f"{one.replica}: {one.state.value}" for one in endpoints))
    ready = [one for one in endpoints if one.state is ReplicaState.READY]
    uses = {one.model: "embeddings" if "embed" in one.tasks else "chat" for one in ready}
    banner.say(banner.how_to_use(settings, uses, client_key))
