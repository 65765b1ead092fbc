"""How a message is signed: the scheme of Standard Webhooks (standardwebhooks.com), version 1."""

import base64
import hmac
from hashlib import sha256

from gateway.webhooks.rules import signing_key


def headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of one attempt to deliver *body*; *timestamp* in Unix seconds."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp, body)
    digest = hmac.new(signing_key(secret), signed, sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
