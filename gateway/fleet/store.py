"""Deployments that were added or changed by REST. SQL owns them; each belongs to the machine that runs its engines."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.fleet.tables import deployments
from gateway.keys import now


class Row(NamedTuple):
    """One of them as it is stored, with the key of an external engine."""

    id: str
    model: str
    spec: Mapping[str, Any]
    """The deployment, as the settings file would say it."""
    base: Mapping[str, Any] | None
    """What the settings file said when it was changed; None: it was added."""


class DeploymentStore:
    """Those of one machine."""

    def __init__(self, engine: AsyncEngine, node: str) -> None:
        self.engine = engine
        self.node = node

    async def rows(self) -> list[Row]:
        """Return them in the order in which they came."""
        query = select(deployments).where(deployments.c.node == self.node).order_by(deployments.c.number)
        async with self.engine.connect() as connection:
            found = (await connection.execute(query)).mappings()
            return [Row(row["id"], row["model"], row["spec"], row["base"]) for row in found]

    async def put(self, row: Row, who: str) -> None:
        """Store *row* in place of the one with its id."""
        values = {**row._asdict(), "node": self.node, "changed_by": who[:80], "changed_at": now()}
        async with self.engine.begin() as connection:
            await connection.execute(delete(deployments).where(*self._one(row.id)))
            await connection.execute(insert(deployments).values(values))

    async def remove(self, id_: str) -> None:
        """Forget one."""
        async with self.engine.begin() as connection:
            await connection.execute(delete(deployments).where(*self._one(id_)))

    def _one(self, id_: str) -> tuple[Any, ...]:
        return deployments.c.node == self.node, deployments.c.id == id_
