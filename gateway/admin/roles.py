"""Who may do what: one table from route to role."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from gateway.problems import Problem

READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing, whatever the route."""


class Role(StrEnum):
    """What an admin may do; each may do what those before it may."""

    VIEWER = "viewer"
    MODERATOR = "moderator"
    ADMIN = "admin"

    def may(self, needed: "Role") -> bool:
        """Return whether this role is enough where *needed* is asked for."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


VIEWER, MODERATOR, ADMIN = Role


class Row(NamedTuple):
    """A route, or all that begin with it, and the roles that it takes."""

    route: str
    to_read: Role
    to_change: Role


TABLE = (
    # these change nothing
    Row("/admin/keywords/test", VIEWER, VIEWER),
    Row("/admin/keywords/impact", VIEWER, VIEWER),
    Row("/admin/people/lookup", VIEWER, VIEWER),
    Row("/admin/audit/verify", VIEWER, VIEWER),
    # what goes live for everybody is an admin's; the draft that it is made of is not
    Row("/admin/keywords/versions/{n}/publish", ADMIN, ADMIN),
    Row("/admin/keywords/rollback", ADMIN, ADMIN),
    Row("/admin/keywords", VIEWER, MODERATOR),
    Row("/admin/people", VIEWER, MODERATOR),
    Row("/admin/aliases", VIEWER, MODERATOR),
    # what people wrote to staff, or what was made of it
    Row("/admin/appeals", MODERATOR, MODERATOR),
    Row("/admin/complaints", MODERATOR, MODERATOR),
    Row("/admin/labels", MODERATOR, MODERATOR),
    Row("/admin/audit/export", MODERATOR, MODERATOR),
    Row("/admin/backends/{deployment_id}/replicas/{n}/log", MODERATOR, ADMIN),
    Row("/admin/audit", VIEWER, MODERATOR),
    # deliveries are tried again by whoever looks after people
    Row("/admin/webhooks", VIEWER, MODERATOR),
)
"""The first row that fits counts. A route in no row: `VIEWER` reads, `ADMIN` changes."""

ELSE = Row("", VIEWER, ADMIN)
SEARCHED = "text"
"""The parameter by which the words of people are searched."""
TEXTS = "texts"
"""The parameter that has a route give them."""
NOT_ASKED = frozenset({"", "0", "false", "f", "no", "n", "off"})
"""What such a parameter may say that asks for none."""
FROM_PEOPLE = ("source", "audit")
"""The parameter that has a trial made on what people wrote."""


def changes(method: str, route: str) -> bool:
    """Return whether a request may change something: all but reading, and what every viewer may do."""
    return method not in READING and _row(route).to_change is not VIEWER


def needed(method: str, route: str, query: Iterable[tuple[str, str]] = ()) -> Role:
    """Return the role that a request needs; *route* is its path with the parameters by name."""
    row = _row(route)
    role = row.to_read if method in READING else row.to_change
    return MODERATOR if role is VIEWER and any(_of_people(name, value) for name, value in query) else role


def _of_people(name: str, value: str) -> bool:
    return (name, value) == FROM_PEOPLE or name == SEARCHED or (name == TEXTS and value.lower() not in NOT_ASKED)


def _row(route: str) -> Row:
    return next((row for row in TABLE if route == row.route or route.startswith(f"{row.route}/")), ELSE)


class RoleMissing(Problem):
    """The admin is known and may not do this."""

    def __init__(self, has: Role, wants: Role) -> None:
        super().__init__(403, f"This needs the role `{wants}`; yours is `{has}`.", code="role_missing")
