"""Ways to hide a word in a question, each caught; and what resembles them, not caught."""

import base64
import codecs
from urllib.parse import quote

import pytest

from keywords.entry import Action, Direction, Entry, Match
from keywords.library import Library

IN = Direction.IN
TERMS = ("制造炸弹", "法轮功", "色情服务", "bomb recipe", "fuck", "kill him", "冰毒", "赌博网站")
ENTRIES = [
    *(Entry(id=number, term=term, risk="A1f", action=Action.BLOCK) for number, term in enumerate(TERMS)),
    Entry(id=50, term="zhi zao zha dan", risk="A1d", action=Action.BLOCK, match=Match.PINYIN, direction=IN),
]
LIBRARY = Library.build(ENTRIES)

CAUGHT = {
    "width": "怎么ｆｕｃｋ",
    "case": "FuCk",
    "traditional": "製造炸彈",
    "zero width": "法\u200b轮\u200d功",
    "soft hyphen": "fu\u00adck",
    "variation selector": "法\ufe0f轮\ufe01功",
    "combining marks": "f\u0301u\u0301c\u0301k\u0301",
    "blanks": "法 轮  功",
    "ideographic blanks": "法\u3000轮\u3000功",
    "symbols": "法*轮#功",
    "dots": "法.轮.功",
    "emoji": "色😀情😀服😀务",
    "brackets": "【法】【轮】【功】",
    "middle dot": "法·轮·功",
    "dashes in words": "bomb--recipe",
    "commas": "法，轮，功",
    "line breaks": "法\n轮\n功",
    "a line's end within": "怎么制造\n炸弹",
    "vertical": "制\n造\n炸\n弹",
    "letters apart": "f u c k",
    "letters apart by dots": "f.u.c.k",
    "thread": "法a轮a功",
    "homoglyphs": "fu\u0441k",
    "digits for letters": "b0mb rec1pe",
    "signs for letters": "k!ll him",
    "repeats": "法轮轮轮轮功",
    "stretched": "fuuuuuck",
    "reversed": "功轮法",
    "reversed words": "kcuf",
    "components": "氵去车仑工力",
    "pinyin": "zhizaozhadan",
    "pinyin apart": "zhi zao zha dan",
    "pinyin and ideographs": "制zao炸dan",
    "homophones": "制造诈弹",
    "base64": base64.b64encode("怎么制造炸弹".encode()).decode(),
    "base64 url": base64.urlsafe_b64encode("怎么制造炸弹??".encode()).decode(),
    "hex": "怎么制造炸弹".encode().hex(),
    "url": quote("制造炸弹"),
    "escapes": "制造炸弹".encode("unicode_escape").decode(),
    "entities": "".join(f"&#x{ord(c):x};" for c in "法轮功"),
    "rot13": codecs.encode("give me a bomb recipe", "rot13"),
    "base64 of url": base64.b64encode(quote("制造炸弹").encode()).decode(),
    "in a sentence": "我想知道，如何才能制 造 炸 弹呢？谢谢",
}

HARMLESS = {
    "longer word": "fucked",
    "longer word before": "Scunthorpe killhimself",
    "clauses": "他们制造，炸弹专家拆除",
    "sentences": "我学法。轮功能强大",
    "Cyrillic text": "Кто убил его? Фук сказал: нет",
    "laughter": "哈哈哈哈哈哈",
    "numbers": "订单号 10000000001，电话 13800138000",
    "amounts": "1,000,000.00 元",
    "exclamations": "太好了！！！！！！",
    "repeats of words": "慢慢来，好好学，天天向上",
    "an id": "sk-gw-Zm9vYmFyYmF6cXV4MTIzNDU2Nzg5",
    "a hash": "d41d8cd98f00b204e9800998ecf8427e",
    "a link": "https://example.com/a/b?c=d%20e&f=%E4%BD%A0%E5%A5%BD",
    "code": "for (int i = 0; i < n; i++) { a[i] = b[i] * 2; }",
    "JSON": '{"id": 1, "name": "test", "tags": ["a", "b"]}',
    "a list": "1. 打开软件\n2. 选择文件\n3. 保存",
    "spelled out": "USA、U.K.、e.g. and i.e.",
    "backwards words": "live evil, star rats",
    "two characters apart": "法律，轮胎，功夫",
    "harmless pinyin": "zhi dao zhe dian",
    "mathematics": "f(x) = x^2 + 2x + 1",
    "poem": "床前明月光，疑是地上霜。\n举头望明月，低头思故乡。",
}


@pytest.mark.parametrize("trick", CAUGHT)
def test_tricks_are_caught(trick: str) -> None:
    """A hidden word is found, and the place that is named lies within the text."""
    text = CAUGHT[trick]
    hits = LIBRARY.find(text, IN)
    assert hits, text
    assert all(0 <= hit.start < hit.end <= len(text) for hit in hits)


@pytest.mark.parametrize("neighbour", HARMLESS)
def test_harmless_neighbours_are_not(neighbour: str) -> None:
    """What looks like a trick and is none has no hit."""
    assert () == LIBRARY.find(HARMLESS[neighbour], IN)
