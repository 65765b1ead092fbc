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


@pytest.mark.parametrize(
    "header",
    [None, b"", b"Bearer", b"Bearer  ", b"Basic abc", b"Bearer a b", SECRET.encode()],
    ids=["none", "empty", "bare", "blank", "basic", "two", "key alone"],
)
def test_without_a_bearer_key_one_is_asked_for(header: bytes | None) -> None:
    """What carries no key is told how to send one."""
    with pytest.raises(MissingKey, match="didn't provide an API key"):
        ring().caller(header, 0)


@pytest.mark.parametrize(
    "secret",
    [SECRET + "x", SECRET[:-1], keys.new_secret(), "\xff\xfe", keys.digest(SECRET)],
    ids=["longer", "shorter", "another", "no text", "digest"],
)
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


@pytest.mark.parametrize(("tenant", "label"), [("default", "n"), ("acme", "acme/n"), ("", "n")])
def test_a_label_tells_tenants_apart(tenant: str, label: str) -> None:
    """Names are unique within a tenant only."""
    assert label == ring(tenant=tenant).caller(f"Bearer {SECRET}".encode(), 0).label


@pytest.mark.parametrize("secret", ["\udcff", "\udcff" * 40, "sk-\x00\x1b[31m" + "x" * 40, "密钥" * 20])
def test_what_is_shown_of_a_key_is_printable(secret: str) -> None:
    """Whatever a client sends as a key can be written into an answer and a log."""
    shown = keys.mask(secret).replace("…", "")
    assert shown.isascii()
    assert shown.isprintable()


def test_many_spellings_of_a_key_are_remembered_as_one() -> None:
    """Blanks around a key cost no memory."""
    held = ring()
    for i in range(300):
        assert held.caller(b"Bearer" + b" " * (1 + i * 100) + SECRET.encode() + b" " * i, 0).key_id == "k"
    assert list(held._cache) == [SECRET.encode()]


def test_long_keys_are_not_remembered() -> None:
    """The cache is bounded in bytes, not in entries alone."""
    secret = "x" * (keys.LONGEST_CACHED + 1)
    held = KeyRing({keys.digest(secret): {"key_id": "k", "name": "n", "tenant": "t"}})
    assert held.caller(f"Bearer {secret}".encode(), 0).key_id == "k"
    assert not held._cache


def test_only_bearer_is_looked_up() -> None:
    """A remembered key opens nothing under another scheme."""
    held = ring()
    assert held.caller(f"Bearer {SECRET}".encode(), 0)
    for scheme in ("Digest ", "BearerX", "BasicX ", ""):
        with pytest.raises(MissingKey):
            held.caller(f"{scheme}{SECRET}".encode(), 0)
