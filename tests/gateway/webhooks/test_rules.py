"""Receivers as they are set."""

import pytest
from pydantic import ValidationError

from gateway.webhooks.rules import Event, Webhook, signing_key, twice

SECRET = "x" * 24


def hook(url: str, secret: str = SECRET) -> Webhook:
    return Webhook(url=url, secret=secret)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b",
        "a/b",
        "http://",
        "https://a:99999/",
        "http://a/#b",
        "http://a/ b",
        "http://a/é",
        "file:///etc/passwd",
        "",
    ],
)
def test_no_other_address_is_taken(url: str) -> None:
    """Only http and https, with a host."""
    with pytest.raises(ValidationError) as caught:
        hook(url)
    assert [("url",)] == [error["loc"] for error in caught.value.errors()]


@pytest.mark.parametrize("secret", ["x" * 23, "whsec_", "whsec_!!!!", f"whsec_{'A' * 28}"])
def test_a_weak_secret_is_refused(secret: str) -> None:
    """As is one whose base64 is broken."""
    with pytest.raises(ValidationError) as caught:
        hook("https://a/", secret)
    assert [("secret",)] == [error["loc"] for error in caught.value.errors()]


def test_a_secret_is_a_text_or_base64() -> None:
    """As Standard Webhooks write it, and as people do."""
    assert (b"y" * 24, b"\0" * 24) == (signing_key("y" * 24), signing_key("whsec_" + "A" * 32))


def test_nothing_of_the_url_is_shown_but_its_host() -> None:
    """What follows may be a secret; two URLs of one host are two receivers."""
    one, two = hook("https://me:pass@a.example:8443/t/123?k=v"), hook("https://a.example:8443/t/124")
    assert ("https://a.example:8443", "https://a.example:8443") == (one.host, two.host)
    assert one.id != two.id
    assert "http://[::1]:80" == hook("http://[::1]:80/x").host


def test_a_url_that_stands_twice_is_found() -> None:
    """It would get everything twice."""
    hooks = [hook("http://a/1"), hook("http://a/2"), hook("http://a/1")]
    assert (None, 2) == (twice(hooks[:2]), twice(hooks))


def test_every_event_is_told_by_default() -> None:
    """Whoever wants less says which."""
    assert set(hook("http://a").events) == set(Event)
