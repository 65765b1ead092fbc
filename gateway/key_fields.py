"""What may be said of a key: one set of rules for REST and for the shell."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from gateway.keys import DEFAULT_TENANT
from gateway.limits.rules import Bound

LATEST = 253_402_300_799
"""The last second of the year 9999: beyond it no calendar goes."""
LONGEST_GRACE = 30 * 86_400


def _name(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise PydanticCustomError("name", "Must be printable characters, without blanks at its ends")
    return text


Name = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_name)]
ModelName = Annotated[str, Field(min_length=1, max_length=512)]
ContentLabel = Literal["interface", "suffix", "none"]
EmbeddingsGuard = Literal["block", "observe"]
Priority = Literal["high", "normal", "low"]


class KeyLimits(BaseModel):
    """What a key, and each of its people, may use up; null: as the settings `limits.key` and `limits.person` say."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: Bound | None = None
    tokens_per_minute: Bound | None = None
    parallel_streams: Bound | None = None
    person_requests_per_minute: Bound | None = None
    person_tokens_per_minute: Bound | None = None
    person_parallel_streams: Bound | None = None


class KeyFields(BaseModel):
    """What can be set of a key."""

    model_config = ConfigDict(extra="forbid")

    tenant: Name = DEFAULT_TENANT
    models: list[ModelName] = Field(default=[], max_length=1000, description="Public model names; none: all.")
    trusts_user_header: bool = Field(False, description="Believe its X-User-Id header.")
    exempt: bool = Field(False, description="Its people are never struck.")
    allows_remote_images: bool = Field(False, description="Its messages may carry URLs that an engine fetches.")
    content_label: ContentLabel = Field(
        "interface",
        description="How generated text is labelled (GB 45438-2025): `interface`: by a steady line beside it, nothing "
        "is added; `suffix`: by its last words; `none`: not at all, by an agreement with the user.",
    )
    label_agreement: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="The agreement's id, where `content_label` is `none`."
    )
    embeddings_guard: EmbeddingsGuard = Field(
        "block",
        description="What follows from a blocked word in an embeddings input or a rerank query: `block`: the request "
        "is refused; `observe`: it is counted, for keys that index documents.",
    )
    priority: Priority = Field("normal", description="Who goes first where requests wait for a replica.")
    limits: KeyLimits = KeyLimits()
    expires_at: Annotated[int, Field(ge=0, le=LATEST)] | None = Field(None, description="Unix time.")


class NewKey(KeyFields):
    """A key to be made."""

    name: Name


class KeyChanges(KeyFields):
    """Changes to a key; what is absent stays."""

    name: Name = "unchanged"


class Rotation(BaseModel):
    """How a key is rotated."""

    model_config = ConfigDict(extra="forbid")

    grace_seconds: Annotated[int, Field(ge=0, le=LONGEST_GRACE)] = Field(
        0, description="How long the old secret works on."
    )
