import pytest

from gateway import keys
from gateway.keys import KeyRefused, KeyRing, MissingKey, WrongKey

SECRET = keys.new_secret()


def ring(**fields: object) -> KeyRing:
    return KeyRing({keys.digest(SECRET): {"key_id": "k", "name": "n", "tenant": "t", **fields}})


@pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER  {} ", " Bearer {}"])
def test_the_scheme_is_read_with_tolerance(form: str) -> None:
    """Case and blanks around the scheme do not matter."""
    assert ring().caller(form.format(SECRET).encode(), 0).key_id == "k"


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Bearer  ", b"Basic abc", b"Bearer a b", SECRET.encode()])
def test_without_a_bearer_key_one_is_asked_for(header: bytes | None) -> None:
    """What carries no key is told how to send one."""
    with pytest.raises(MissingKey, match="didn't provide an API key"):
        ring().caller(header, 0)


@pytest.mark.parametrize("secret", [SECRET + "x", SECRET[:-1], keys.new_secret(), "\xff\xfe", keys.digest(SECRET)])
def test_a_wrong_key_is_refused_without_repeating_it(secret: str) -> None:
    """A wrong key is refused, and the answer does not hold all of it."""
    with pytest.raises(WrongKey) as caught:
        ring().caller(f"Bearer {secret}".encode("latin-1"), 0)
    assert secret not in str(caught.value)


def test_an_expired_key_is_refused_from_its_moment_on() -> None:
    """A key that was accepted a moment ago is looked at again each time."""
    held = ring(expires_at=100)
    header = f"Bearer {SECRET}".encode()
    assert held.caller(header, 99.9)
    with pytest.raises(KeyRefused, match="expired"):
        held.caller(header, 100.0)


def test_many_different_wrong_keys_take_no_memory() -> None:
    """Only keys that were found are remembered."""
    held = ring()
    for i in range(10):
        with pytest.raises(WrongKey):
            held.caller(b"Bearer sk-%d" % i, 0)
    assert not held._cache


def test_models_restrict() -> None:
    """A key without a list may use every model."""
    assert ring().caller(f"Bearer {SECRET}".encode(), 0).may_use("any")
    assert not ring(models=["a"]).caller(f"Bearer {SECRET}".encode(), 0).may_use("b")
