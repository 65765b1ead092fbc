"""What a refusal says: polite, without the words that caused it."""

from policies.strikes import Standing
from policies.verdict import Verdict

REFUSED = "抱歉，这个问题我无法回答。如果您有其他问题，我很乐意帮助您。"
CUT = "抱歉，以下内容无法继续提供。"
SUSPENDED = "由于您多次输入违反使用规定的内容，服务已暂停。如有异议，请联系管理员申诉。"


def refusal(verdict: Verdict) -> str:
    """Return the answer to an utterance that is refused."""
    del verdict
    return REFUSED


def cut(verdict: Verdict) -> str:
    """Return what stands in the place where an answer was cut."""
    del verdict
    return CUT


def suspension(standing: Standing) -> str:
    """Return the answer to a person who is suspended."""
    del standing
    return SUSPENDED
