"""What may be said of an admin: one set of rules for REST and for the shell."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.admin.roles import Role
from gateway.key_fields import LATEST, Name

RESERVED = ("gateway", "shell:")
"""How the log calls what the gateway does itself, and whoever is at the shell."""


def _unreserved(name: str) -> str:
    if name == RESERVED[0] or name.startswith(RESERVED[1]):
        raise ValueError("is a name that the log has for somebody else")
    return name


AdminName = Annotated[Name, AfterValidator(_unreserved)]
Expiry = Annotated[int, Field(ge=0, le=LATEST)] | None


class NewAdmin(BaseModel):
    """An admin to be made."""

    model_config = ConfigDict(extra="forbid")

    name: AdminName
    role: Role = Field(description="`viewer` reads, `moderator` also handles people, `admin` may do everything.")
    expires_at: Expiry = Field(None, description="Unix time from which the key is refused; null: it does not expire.")


class AdminChanges(BaseModel):
    """Changes to an admin; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    name: AdminName = "unchanged"
    role: Role = Role.VIEWER
    expires_at: Expiry = Field(None, description="Unix time from which the key is refused; null: it does not expire.")
