"""Which texts are kept."""

import time
from hashlib import sha256

import pytest

from gateway.audit.texts import Keep, Masked, Texts, digest, masked
from tests.timing import cpu_seconds

SAID = "我的手机是13812345678，身份证11010519491231002X，邮箱 li.lei@example.com。"
MASKED = "我的手机是[phone]，身份证[id_card]，邮箱 [email]。"
PLAIN = "订单 2024-09-21 的第18项：1381234567890"


@pytest.mark.parametrize(
    ("keep", "violation", "kept"),
    [("full", False, True), ("violations", False, False), ("violations", True, True), ("none", True, False)],
)
def test_what_is_not_kept_leaves_length_and_digest(keep: Keep, violation: bool, kept: bool) -> None:
    """Either way the text can be recognised when somebody shows it."""
    found = Texts(keep).of(PLAIN, violation=violation)
    assert found is not None
    assert (found.chars, found.sha256) == (len(PLAIN), sha256(PLAIN.encode()).hexdigest())
    assert found.text == (PLAIN if kept else None)
    assert Texts(keep).of("", violation=violation) is None


def test_named_kinds_are_masked() -> None:
    """Numbers and addresses leave a mark; other digits stay."""
    found = Texts("full", ("phone", "id_card", "email")).of(SAID + " 订单 1381234567890", violation=False)
    assert found is not None
    assert found.text == "我的手机是[phone]，身份证[id_card]，邮箱 [email]。 订单 1381234567890"


@pytest.mark.parametrize("keep", ["full", "violations", "none"])
@pytest.mark.parametrize("masked", [(), ("phone",)])
def test_the_digest_says_no_number(keep: Keep, masked: tuple[Masked, ...]) -> None:
    """Who tries all numbers finds none: each gives the same digest, whatever is kept."""
    texts = Texts(keep, masked)
    found = {texts.of(f"打给{number}", violation=False).sha256 for number in ("13812345678", "+86 139-8765-4321")}  # type: ignore[union-attr]
    assert found == {sha256("打给[phone]".encode()).hexdigest()}
    assert digest(SAID) == sha256(MASKED.encode()).hexdigest()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a@b.cn,c.d+e@f-g.com.cn。", "[email],[email]。"),
        ("写信给li@x.cn吧 @somebody b@c", "[email] @somebody b@c"),  # letters of every script may stand in an address
        ("@x.cn a@@b.cn", "@x.cn a@@b.cn"),
        ("é" * 70 + "@b.cn", "é" * 6 + "[email]"),
        ("a@b.cn@c.cn", "[email]@c.cn"),
    ],
)
def test_addresses(text: str, kept: str) -> None:
    """What stands before the sign goes, too; a sign alone is no address."""
    assert masked(text, ("email",)) == kept


@pytest.mark.usefixtures("untraced")
def test_no_text_takes_long() -> None:
    """Every answer has its digest, and the person waits: 100 000 characters took 85 ms where one was an @."""
    for text in ("x@y.com " + "字" * 100_000, "第12项 " * 20_000, "a@" * 50_000):
        assert cpu_seconds(lambda text=text: digest(text), 0.06, time.thread_time) < 0.06  # type: ignore[misc]
