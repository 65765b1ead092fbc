"""The signature is that of Standard Webhooks."""

import re
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.webhooks.signature import headers


def test_a_known_signature() -> None:
    """The example of the scheme's own documents (docs.svix.com, "Verifying webhooks manually")."""
    made = headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == made["webhook-signature"]
    assert ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330") == (made["webhook-id"], made["webhook-timestamp"])


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a secret of plain words"])
def test_the_example_of_the_page_works(secret: str) -> None:
    """What docs/people.md tells receivers to do takes our messages, and no others."""
    page = (Path(__file__).parents[3] / "docs" / "people.md").read_text()
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {}
    exec(example[1], names)  # noqa: S102 - our own page
    now = int(time.time())
    good = headers(secret, "evt_1", now, b"{}")
    assert names["verified"](secret, good, b"{}")
    assert not names["verified"](secret, good, b"{ }")
    assert not names["verified"](secret, {**good, "webhook-id": "evt_2"}, b"{}")
    assert not names["verified"](secret, headers(secret, "evt_1", now - 301, b"{}"), b"{}")
    assert not names["verified"](secret + "B" * 4, good, b"{}")
