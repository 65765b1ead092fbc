"""The evasion table, its harmless neighbours and what holds for any text."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.folding import SPACED, SQUEEZED, has_ideographs, is_word
from keywords.forms import Form, forms
from tests.timing import cpu_seconds

MB = 1_000_000


def holds(form: Form, term: str) -> bool:
    """Return whether *term* is found in *form* as the library looks for terms."""
    if has_ideographs(term):
        folded = SQUEEZED.text(term)
        return len(folded) >= form.fewest and folded in SQUEEZED.text(form.text)
    folded = "".join(c if is_word(c) else " " for c in SPACED.text(form.text))
    return len(term) >= form.fewest and f" {term} " in f" {folded} "


def hits(text: str, term: str) -> set[str]:
    return {form.name for form in forms(text) if holds(form, term)}


@pytest.mark.parametrize(
    ("name", "text", "term"),
    [
        ("repeats", "法轮轮轮功", "法轮功"),
        ("repeats", "法法轮轮功功", "法轮功"),
        ("repeats", "什么是法法法轮功", "法轮功"),
        ("repeats", "法法法轮轮功功", "法轮功"),
        ("repeats", "法法轮轮轮轮功功", "法轮功"),
        ("repeats", "fuuuuck", "fuck"),
        ("repeats", "FUUUuuCK you", "fuck"),
        ("repeats", "kiiilll", "kill"),
        ("repeats", "asssss", "ass"),
        ("repeats", "ffuucckk", "fuck"),
        ("repeats", "fuuuuck asssss", "fuck"),
        ("separated", "法，轮，功", "法轮功"),
        ("separated", "请问法。轮。功是什么", "法轮功"),
        ("separated", "法\n轮\n功", "法轮功"),
        ("separated", "法\r\n轮\r\n功", "法轮功"),
        ("separated", "法、轮；功", "法轮功"),
        ("separated", "f.u.c.k", "fuck"),
        ("separated", "f u c k", "fuck"),
        ("separated", "f u c k you", "fuck"),
        ("separated", "f-u_c*k", "fuck"),
        ("separated", "f\nu\nc\nk", "fuck"),
        ("separated", "是f.u.c.k吧", "fuck"),
        ("separated", "what a f u c k", "fuck"),
        ("separated", "如何做b，o，m，b", "bomb"),
        ("separated", "法a轮a功", "法轮功"),
        ("separated", "什么是法1轮1功呢", "法轮功"),
        ("homoglyphs", "fuсk", "fuck"),  # Cyrillic с
        ("homoglyphs", "βomb", "bomb"),
        ("homoglyphs", "ꜰᴜᴄᴋ", "fuck"),
        ("homoglyphs", "🇫🇺🇨🇰", "fuck"),
        ("homoglyphs", "🅵🆄🅲🅺", "fuck"),
        ("homoglyphs", "b0mb", "bomb"),
        ("homoglyphs", "k1ll", "kill"),
        ("homoglyphs", "he11", "hell"),
        ("homoglyphs", "b!tch!!", "bitch"),
        ("homoglyphs", "@ss a$$", "ass"),
        ("homoglyphs", "怎么做b０mb", "bomb"),
        ("homoglyphs", "5ex", "sex"),
        ("separated+homoglyphs", "p 0 r n", "porn"),
        ("reversed", "功轮法", "法轮功"),
        ("reversed", "请介绍功轮法的历史\n谢谢", "法轮功"),
        ("reversed", "kcuf", "fuck"),
        ("components", "氵去车仑工力", "法轮功"),
        ("components", "色忄青小说", "色情"),
        ("components", "火乍药", "炸药"),
        ("components", "訁侖文", "论文"),
        ("components+separated", "氵去，车仑，功", "法轮功"),
        ("separated+components", "氵，去，车，仑，功", "法轮功"),
        ("base64", base64.b64encode("法轮功".encode()).decode(), "法轮功"),
        ("base64+separated", base64.b64encode(b"f.u.c.k").decode(), "fuck"),
        ("base64+reversed", base64.b64encode("功轮法".encode()).decode(), "法轮功"),
        ("hex", "e6b395e8bdaee58a9f", "法轮功"),
        ("url", "%E6%B3%95%E8%BD%AE%E5%8A%9F", "法轮功"),
        ("entities", "&#x6cd5;&#x8f6e;&#x529f;", "法轮功"),
        ("escapes", r"\u6cd5\u8f6e\u529f", "法轮功"),
        ("rot13", "what is shpx", "fuck"),
    ],
)
def test_a_hidden_word_is_seen(name: str, text: str, term: str) -> None:
    assert name in hits(text, term)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("哈哈哈哈哈", "哈"),
        ("1000000", "10"),
        ("100000元", "10"),
        ("!!!", "!"),
        ("高高兴兴上班，平平安安回家", "法轮功"),
        ("法，我们说轮，他有功", "法轮功"),
        ("方法，轮子，功夫", "法轮功"),
        ("办法。轮到我了。功课做完了。", "法轮功"),
        ("u.s. fuel, rock", "fuck"),
        ("suck it up", "fuck"),
        ("如何 suсk".replace("с", "c"), "fuck"),
        ("сор вор суп", "cop"),  # Russian alone
        ("Боже мой, какой ужас", "bomb"),
        ("ηλεκτρονικός υπολογιστής", "bomb"),
        ("Samsung A55", "ass"),
        ("A4纸 5G MP3 H1N1 B2B", "ass"),
        ("455", "ass"),
        ("$100 @home", "ass"),
        ("user@ssl.example.com", "ass"),
        ("Lana 穿得很 snug", "anal"),
        ("Lana 穿得很 snug", "guns"),
        ("live bats", "evil"),
        ("情色", "色情"),
        ("干女儿和女干部", "法轮功"),
        ("女子木目", "色情"),
        ("id=5f3b9c2e7d1a4f60 token=dQw4w9WgXcQ", "fuck"),
        ("https://example.com/a/b?c=1&d=2#top", "fuck"),
        ("for (i = 0; i < n; i++) { a[i] = b[i] + c[k]; }", "fuck"),
        ("x = y + z\nf = u * c / k2", "fuck"),
        ("assessment of classic bass", "ass"),
        ("The green nun", "terra nun"),
        ("1. 法律 2. 轮船 3. 功能", "法轮功"),
        ("3月5日3时", "月日"),
    ],
)
def test_harmless_neighbours_stay_harmless(text: str, term: str) -> None:
    assert hits(text, term) == set()


@pytest.mark.parametrize(
    "text", ["今天天气很好，我们去公园散步吧！", "请列举三种水果：苹果、香蕉、橙子。\n谢谢。", "哈哈哈哈", "1000000"]
)
def test_an_ordinary_text_has_nothing_but_its_reverse(text: str) -> None:
    assert {form.name for form in forms(text)} == {"reversed"}


def test_origins_lead_back() -> None:
    text = "请问氵去，车仑，功"
    form = next(form for form in forms(text) if form.name == "components+separated")
    assert form.text == "请问法轮功"
    assert form.origin is not None
    assert list(form.origin) == [0, 1, 2, 5, 8]


HOSTILE = [
    "a" * MB, "法" * MB, "ab" * (MB // 2), "aab" * (MB // 3), "法法轮" * (MB // 3), "a " * (MB // 2), "法，" * (MB // 2), " a  bc" * (MB // 6),
    "法a" * (MB // 2), "a0" * (MB // 2), "!" * MB, "a!" * (MB // 2), "аa " * (MB // 3), "🇫" * MB, "氵去" * (MB // 2), "aabbcc " * (MB // 7),
    "法法轮轮轮" * (MB // 5), "aaa" + "ab" * (MB // 2), "live " * (MB // 5), " " * MB, "\n" * MB, "aaabbbccc " * (MB // 10),
]  # fmt: skip


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:9]))
def test_hostile_texts_are_read_in_linear_time(text: str) -> None:
    assert cpu_seconds(lambda: [None for _ in forms(text)], 6) < 6


PIECES = [
    "法",
    "轮",
    "轮轮轮",
    "fuuu",
    "a",
    "b",
    " ",
    "，",
    "\n",
    "0",
    "氵",
    "去",
    "сa",
    "%E6",
    "QUJD",
    "\\u6cd5",
    "🇫",
    "\ud800",
    "İ",
    "ß",
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)))
def test_each_character_of_a_form_has_an_origin(text: str) -> None:
    for form in forms(text):
        if form.origin is not None:
            assert len(form.text) == len(form.origin)
            assert all(0 <= index < len(text) for index in form.origin)
        SQUEEZED.traced(form.text)
