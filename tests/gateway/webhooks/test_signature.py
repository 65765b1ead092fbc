"""The signature is that of Standard Webhooks."""

from gateway.webhooks.signature import headers


def test_a_known_signature() -> None:
    """The example of the scheme's own documents (docs.svix.com, "Verifying webhooks manually")."""
    made = headers(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" == made["webhook-signature"]
    assert ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330") == (made["webhook-id"], made["webhook-timestamp"])
