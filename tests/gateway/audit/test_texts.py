"""Which texts are kept."""

from hashlib import sha256

import pytest

from gateway.audit.texts import Keep, Texts

SAID = "我的手机是13812345678，身份证11010519491231002X，邮箱 li.lei@example.com。"


@pytest.mark.parametrize(
    ("keep", "violation", "kept"),
    [("full", False, True), ("violations", False, False), ("violations", True, True), ("none", True, False)],
)
def test_what_is_not_kept_leaves_length_and_digest(keep: Keep, violation: bool, kept: bool) -> None:
    """Either way the text can be recognised when somebody shows it."""
    found = Texts(keep).of(SAID, violation=violation)
    assert found is not None
    assert (found.chars, found.sha256) == (len(SAID), sha256(SAID.encode()).hexdigest())
    assert found.text == (SAID if kept else None)
    assert Texts(keep).of("", violation=violation) is None


def test_named_kinds_are_masked() -> None:
    """Numbers and addresses leave a mark; other digits stay."""
    found = Texts("full", ("phone", "id_card", "email")).of(SAID + " 订单 1381234567890", violation=False)
    assert found is not None
    assert found.text == "我的手机是[phone]，身份证[id_card]，邮箱 [email]。 订单 1381234567890"
