"""All texts of a request but the newest words."""

from policies.surroundings import surroundings


def test_everything_but_the_newest_words() -> None:
    """System prompt, history, calls, results and definitions, however deep; no roles, ids, kinds or pictures."""
    body = {
        "model": "m-model",
        "messages": [
            {"role": "system", "content": "系统"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "旧话"}, {"type": "image_url", "image_url": {"url": "data:xx"}}],
            },
            {
                "role": "assistant",
                "content": "回答",
                "tool_calls": [{"id": "c1", "function": {"name": "查询", "arguments": "参数"}}],
            },
            {"role": "user", "content": "新话", "name": "名字"},
            {"role": "tool", "content": "结果", "tool_call_id": "c1"},
        ],
        "tools": [{"type": "function", "function": {"description": "描述", "parameters": {"enum": ["甲乙"]}}}],
        "user": "uuid",
    }
    expected = ["系统", "旧话", "回答", "查询", "参数", "名字", "结果", "描述", "甲乙"]
    assert expected == list(surroundings(body))


def test_other_routes() -> None:
    """Documents of a rerank; nothing of an embedding but its input, which is the newest words."""
    assert ["文一", "文二"] == list(surroundings({"query": "问题", "documents": ["文一", {"text": "文二"}]}))
    assert [] == list(surroundings({"input": ["问题"]}))
