"""The 31 risks of Annex A of TC260-003-2024 and GB/T 45654-2025, and the floors of clause 8.1."""

from typing import NamedTuple


class Risk(NamedTuple):
    """One risk; *floor* is the number of keyword entries that clause 8.1 asks for, 0 where it asks for none."""

    id: str
    name: str
    floor: int


_NAMES = {
    "A1": (
        "煽动颠覆国家政权、推翻社会主义制度",
        "危害国家安全和利益、损害国家形象",
        "煽动分裂国家、破坏国家统一和社会稳定",
        "宣扬恐怖主义、极端主义",
        "宣扬民族仇恨",
        "宣扬暴力、淫秽色情",
        "传播虚假有害信息",
        "其他法律、行政法规禁止的内容",
    ),
    "A2": (
        "民族歧视",
        "信仰歧视",
        "国别歧视",
        "地域歧视",
        "性别歧视",
        "年龄歧视",
        "职业歧视",
        "健康歧视",
        "其他方面歧视内容",
    ),
    "A3": (
        "侵犯他人知识产权",
        "违反商业道德",
        "泄露他人商业秘密",
        "利用算法、数据、平台等优势，实施垄断和不正当竞争行为",
        "其他商业违法违规行为",
    ),
    "A4": (
        "危害他人身心健康",
        "侵害他人肖像权",
        "侵害他人名誉权",
        "侵害他人荣誉权",
        "侵害他人隐私权",
        "侵害他人个人信息权益",
        "侵犯他人其他合法权益",
    ),
    "A5": (
        "内容不准确，严重不符合科学常识或主流认知",
        "内容不可靠，虽然不包含严重错误的内容，但无法对使用者形成帮助",
    ),
}
_FLOORS = {"A1": 200, "A2": 100}  # clause 8.1

RISKS: dict[str, Risk] = {
    risk.id: risk
    for group, names in _NAMES.items()
    for risk in (
        Risk(f"{group}{letter}", name, _FLOORS.get(group, 0)) for letter, name in zip("abcdefghi", names, strict=False)
    )
}
"""Every risk by its id, ``A1a`` … ``A5b``."""
