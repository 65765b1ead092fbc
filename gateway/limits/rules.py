"""Settings of rate limits, of a key or of a person (`limits.key`, `limits.person`)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Bound = Annotated[int, Field(ge=1, le=2**53)]


class Bounds(BaseModel):
    """What may be used; None: no bound."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    requests_per_minute: Bound | None = None
    tokens_per_minute: Bound | None = None
    """Of prompts and answers together: estimated when a request comes, settled when its answer has ended."""
    parallel_streams: Bound | None = None
    """Answers that are being streamed at once."""
