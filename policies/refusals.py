"""What a refusal says: polite, without the words that caused it."""

from policies.strikes import BY_HAND, IN_A_DAY, IN_A_ROW
from policies.verdict import Verdict

REFUSED = "抱歉，这个问题我无法回答。如果您有其他问题，我很乐意帮助您。"
CUT = "抱歉，以下内容无法继续提供。"
BANNED = 0
"""In place of what a suspension is for: somebody has banned the person."""
REASONS = {
    IN_A_ROW: "由于您连续多次输入违反使用规定的内容",
    IN_A_DAY: "由于您在一天内多次输入违反使用规定的内容",
    BY_HAND: "经管理员审核",
    BANNED: "经管理员审核",
}


def refusal(verdict: Verdict) -> str:
    """Return the answer to an utterance that is refused."""
    del verdict
    return REFUSED


def cut(verdict: Verdict) -> str:
    """Return what stands in the place where an answer was cut."""
    del verdict
    return CUT


def busy(seconds: int) -> str:
    """Return what a person is told whom no engine has time for; *seconds* say when to come again."""
    return f"当前使用的人较多，请 {seconds} 秒后再试。"


def frequent(seconds: int) -> str:
    """Return what a person is told who asks more than they may; *seconds* say when to come again."""
    return f"您的提问过于频繁，请 {seconds} 秒后再试。"


def several(seconds: int) -> str:
    """Return what a person is told who has as many answers under way as they may have at once."""
    return f"您同时进行的回答过多，请 {seconds} 秒后再试。"


def suspension(why: int, end: str | None, contact: str) -> str:
    """Return the answer to a person who is suspended or banned.

    *why* is one of `REASONS`, *end* the moment at which it is over, None: not set; *contact* says where to complain.
    """
    over = f"，恢复时间：{end}（北京时间）" if end is not None else ""
    return f"抱歉，{REASONS[why]}，现已暂停为您提供服务{over}。如有异议，{contact}。"
