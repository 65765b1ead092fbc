"""Labels on generated text: GB 45438-2025, 标识办法."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

IS_GENERATED = "1"
"""Of the standard's three: it is, it may be (2), it is suspected to be (3)."""
HEADER = b"x-aigc"

Words = Annotated[str, Field(min_length=1, max_length=200)]


def implicit(producer: str, content_id: str) -> dict[str, Any]:
    """Return the implicit label of one content. Whoever produces it also passes it on; the reserved codes are empty."""
    return {
        "AIGC": {
            "Label": IS_GENERATED,
            "ContentProducer": producer,
            "ProduceID": content_id,
            "ReservedCode1": "",
            "ContentPropagator": producer,
            "PropagateID": content_id,
            "ReservedCode2": "",
        }
    }


class Labels(BaseModel):
    """What is put on generated text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Words = "（本内容由人工智能生成）"
    """The explicit label, for keys whose `content_label` is `suffix`."""
    producer: Words | None = None
    """The producer's code as it was filed; none: no implicit label anywhere, for none is made up."""
    header: bool = False
    """Whether each answer carries the implicit label as the header ``X-AIGC``; needs `producer`."""

    def headers(self, content_id: str) -> list[tuple[bytes, bytes]]:
        """Return the header of one answer, if there is one."""
        if not self.header or self.producer is None:
            return []
        return [(HEADER, json.dumps(implicit(self.producer, content_id)).encode("ascii"))]
