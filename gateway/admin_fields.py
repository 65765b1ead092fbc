"""What may be said of an admin: one set of rules for REST and for the shell."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.admin.roles import Role
from gateway.key_fields import LATEST, Name

Expiry = Annotated[int, Field(ge=0, le=LATEST)] | None


class NewAdmin(BaseModel):
    """An admin to be made."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    role: Role = Field(description="`viewer` reads, `moderator` also handles people, `admin` may do everything.")
    expires_at: Expiry = Field(None, description="Unix time from which the key is refused; null: it does not expire.")


class AdminChanges(BaseModel):
    """Changes to an admin; what is absent stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name = "unchanged"
    role: Role = Role.VIEWER
    expires_at: Expiry = Field(None, description="Unix time from which the key is refused; null: it does not expire.")
