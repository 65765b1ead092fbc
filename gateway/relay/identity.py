"""Who is speaking: the key's tenant and the person that the request names."""

from dataclasses import dataclass

from gateway.keys import Caller
from gateway.relay.wire import Request
from gateway.relay.wire import named as first_named


@dataclass(frozen=True, slots=True)
class Person:
    """One person of one tenant; the id is the client's own name for them."""

    tenant: str
    id: str


def person(caller: Caller, request: Request, header: str | None) -> Person | None:
    """Return who speaks: ``user``, else ``safety_identifier``, else *header* (X-User-Id) of a trusted key.

    None: nobody is named; the text is judged all the same, and nobody can be struck, the key least of all.
    """
    return named_by(caller, request.user, header)


def named_by(caller: Caller, named: str | None, header: str | None) -> Person | None:
    """Return the person called *named*, else, of a trusted key, the one that *header* names."""
    found = first_named(named, header if caller.trusts_user_header else None)
    return None if found is None else Person(caller.tenant, found)
