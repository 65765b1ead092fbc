"""A Ray cluster's stand-in for tests: its nodes' part is the real one, in this process, and can fail as nodes do."""

from pathlib import Path
from typing import Any

from backends import shim
from backends.launch.ray_client import Absent, Cluster, Gone, NoPlace, RayTrouble, Where
from backends.launch.ray_host import Host

SHIM_SOURCE = Path(shim.__file__).read_text()


class InProcess(Cluster):
    """Actors by name. *room*: whether there is a place; *away*: the cluster does not answer; `lose` ends a node."""

    def __init__(self, owner: str = "me") -> None:
        super().__init__(Where("", ""), lambda: owner, 0.2)
        self.hosts: dict[str, Host] = {}
        self.lost: set[str] = set()
        self.room = True
        self.away = False
        self.placed = 0

    async def call(self, name: str, method: str, *arguments: Any) -> Any:
        """Call the real thing."""
        self._look(name)
        if name not in self.hosts:
            raise Absent(name)
        return getattr(self.hosts[name], method)(*arguments)

    async def create(self, name: str, orphan_seconds: float, needs: dict[str, Any]) -> dict[str, Any]:
        """Place an actor at once, or not at all."""
        self.lost.discard(name)
        self._look(name)
        if not self.room:
            raise NoPlace(f"no room for {needs['num_gpus']:g} GPU")
        self.hosts[name] = Host(self.owner(), SHIM_SOURCE, orphan_seconds, "127.0.0.1")
        self.placed += 1
        return self.hosts[name].where()

    async def kill(self, name: str) -> None:
        """Forget it; its engine was ended before, or is ended here as with its actor."""
        if self.away:
            raise RayTrouble("away")
        host = self.hosts.pop(name, None)
        if host is not None:
            end(host)

    def lose(self, name: str) -> None:
        """End the actor's node with all that runs there."""
        end(self.hosts.pop(name))
        self.lost.add(name)

    def _look(self, name: str) -> None:
        if self.away:
            raise RayTrouble("away")
        if name in self.lost:
            raise Gone("its node has ended")


def end(host: Host) -> None:
    """End what *host* has started, and remove its folder."""
    host.orphan_seconds = 0  # what ends itself in silence is this process
    if host._shim is not None:
        host.stop()
        host._shim.wait(20)
    host.clear()
