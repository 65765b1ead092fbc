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
    members = [member for group in fleet.groups for member in group.members]
    banner.say("\n".join(f"{member.replica.id}: {member.state.value}" for member in members))
    ready = [member.deployment for member in members if member.state is ReplicaState.READY]
    uses = {d.model: "embeddings" if "embed" in d.tasks else "chat" for d in ready}
    banner.say(banner.how_to_use(settings, uses, client_key))
