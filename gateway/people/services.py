"""What the routes and the commands for people work on."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.log import Chain
from gateway.keys import Publish
from gateway.people.aliases import Aliases
from gateway.people.ledger import Ledger
from gateway.people.measures import People
from gateway.people.register import Register
from gateway.people.roster import Roster


@dataclass(frozen=True, slots=True)
class PeopleServices:
    """What is done about people, their aliases, what is known of them, and the workers' copy of that."""

    measures: People
    aliases: Aliases
    roster: Roster
    register: Register

    @classmethod
    def over(
        cls, engine: AsyncEngine, ledger: Ledger, chain: Chain, publish: Publish, *, counted: bool = True
    ) -> "PeopleServices":
        """Return them over one database, one state server and the writer of this process."""
        measures = People(engine, ledger, chain, publish, counted=counted)
        return cls(measures, Aliases(measures), Roster(engine, ledger), Register(engine))
