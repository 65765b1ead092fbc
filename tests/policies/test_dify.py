"""Each of Dify's templates, in its real shape with other words around its fixed phrases, and its near misses."""

import time
from typing import Any

import pytest

from keywords.entry import Action, Entry
from keywords.library import Library
from policies.dify import CHATS, PROMPTS, recognised
from policies.input_policy import Keywords
from policies.utterance import Utterance, of_chat, of_completion

QUERY = '怎么"修"自行车？\n链条 掉了'
HISTORY = "Human: 旧问题\nAssistant: 旧回答"
CONTEXT = (
    "Use the following context as your learned knowledge, inside <context></context> XML tags.\n\n"
    "<context>\n一段资料\n</context>\n\nWhen answer to user:\n- 不知道就说。\n- 不清楚就问。\n别提资料。\n用同一种语言。\n\n"
)
HISTORIES = "Here is what was said:\n\n<histories>\n" + HISTORY + "\n</histories>\n\n"
EXAMPLE = 'User:{"input_text": ["服务很好"],"categories": ["服务"]}\n'
TEXT_TAG = "Inside <text></text> XML tags, there is a text to convert.\n<text>\n"


def message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def classifier(query: str) -> str:
    return f'\n    {{"input_text": ["{query}"],\n    "categories": [{{"category_id": "1"}}],\n    "x": ["说明"]}}\n'


def old_classifier(query: str) -> str:
    return f"""\n    '{{"input_text": ["{query}"],',\n    '"categories": ["甲, 乙" ], ',\n    '"x": [""]}}```JSON'\n"""


def by_function(query: str) -> str:
    begin = "extract structured information from context inside <context></context> XML tags by a call.\n"
    return f'{begin}<context>\n{query}\n</context>\n\n<structure>\n{{"type": "object"}}\n</structure>\n'


def by_prompt(query: str) -> str:
    structure = "### Structure\n照此结构。\n<structure>\n{}\n</structure>\n\n### Text to be converted to JSON\n"
    return f"{structure}{TEXT_TAG}{query}\n</text>\n"


def title(query: str) -> str:
    return f"You are asked to generate a concise chat title from two parts.\n\n3. 格式\n{{}}\n\nUser Input:\n{query}\n"


def old_title(query: str) -> str:
    begin = 'You need to decompose the user\'s input into "subject" and the rest.\n\nexample 1:\nUser Input: 你好\n{}\n'
    return f"{begin}\nUser Input: \n{query}\n"


def suggested(query: str) -> str:
    ask = "Please help me predict the three most likely questions, each of them short.\n"
    return f'Human: {query}\nAssistant: 回答\n{ask}["question1"]\n\nquestions:\n'


CLASSIFIES = message("system", "### Job\nYou are a text classification engine.\n<histories>\n" + HISTORY)
EXTRACTS = message("system", "You are tasked with extracting structured information.\n<histories>\n" + HISTORY)
JSON = message("system", "You should follow the instructions and output a valid JSON object.\n" + HISTORY)
SHOTS = [message("user", classifier("服务很好")), message("assistant", "{}")]

CHAT_SHAPES = [
    ("question classifier", classifier, [CLASSIFIES, *SHOTS]),
    ("question classifier", old_classifier, [CLASSIFIES, *SHOTS]),
    ("parameter extractor by function", by_function, [EXTRACTS]),
    ("parameter extractor by prompt", by_prompt, [EXTRACTS]),
    ("parameter extractor by prompt", by_prompt, [JSON]),
    ("completion app", lambda query: CONTEXT + query, []),
]


def completion_classifier(query: str) -> str:
    begin = "\n### Job Description\nsort texts\n### Example\n<example>\n" + EXAMPLE + "</example>\n### Memory\n"
    asked = f'{{"input_text" : ["{query}"], "categories" : ["甲"],"classification_instruction" : [""]}}\n'
    return f"{begin}<histories>\n{HISTORY}\n</histories>\n### User Input\n{asked}### Assistant Output\n"


def completion_extractor(query: str) -> str:
    begin = "### Instructions:\n<instructions>\n照做\n</instructions>\n\n### Memory\n<histories>\n" + HISTORY
    return f"{begin}\n</histories>\n\n### Input Text\n{TEXT_TAG}{query}\n</text>\n\n### Answer\n写 JSON。\n```JSON\n"


def react(query: str, scratchpad: str = "") -> str:
    begin = "Respond to the human as helpfully and accurately as possible.\n\nQuestion: input question to answer\n"
    return f"{begin}Thought: 想\nBegin!\nQuestion: 旧问题\n\n旧回答\n\n\nQuestion: Question: {query}\n{scratchpad}\nThought:"


def react_round(query: str) -> str:
    return react(query, "Thought: 查一下\n\nAction: {}\n\nObservation: 结果\n\n")


PROMPT_SHAPES = [
    ("question classifier", completion_classifier),
    ("parameter extractor", completion_extractor),
    ("ReAct agent", react),
    ("ReAct agent", react_round),
    ("chat with history", lambda query: f"{CONTEXT}指示\n{HISTORIES}\n\nHuman: {query}\n\nAssistant: "),
    ("chat with history", lambda query: f"指示\n{HISTORIES}\nHuman: {query}\n\nAssistant: "),
    ("chat with context", lambda query: f"{CONTEXT}指示\n\n\nHuman: {query}\n\nAssistant: "),
    ("chat", lambda query: f"指示\n\n\nHuman: {query}\n\nAssistant:"),
    (
        "chat with history, Baichuan",
        lambda query: f"指示\n\n用户和助手的历史对话内容如下：\n```\n{HISTORY}\n```\n\n\n\n用户：{query}",
    ),
    ("completion app", lambda query: CONTEXT + query),
]


STOPS = {
    "ReAct agent": ["Observation"],
    "chat with context": ["\nHuman:", "</histories>"],
    "chat": ["\nHuman:", "</histories>"],
    "chat with history, Baichuan": ["用户："],
}
"""Words at which the model is to stop, where the template is told by them."""


def prompt_of(prompt: Any, name: str = "chat") -> dict[str, Any]:
    """Return the body of a completion as Dify sends it with the template of that *name*."""
    return {"prompt": prompt, "stop": STOPS.get(name)}


def chat(text: str, before: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"messages": [*before, message("user", text)], **fields}


def name(text: str, body: dict[str, Any]) -> str | None:
    found = recognised(text, body)
    return found.template.name if found else None


@pytest.mark.parametrize(("expected", "shape", "before"), CHAT_SHAPES)
def test_chats(expected: str, shape: Any, before: list[dict[str, Any]]) -> None:
    """The template is known, the words inside are the person's, and they are named as if they were typed."""
    body = chat(shape(QUERY), before)
    said = of_chat(body)
    assert expected == name(said.text, body)
    assert QUERY == said.words.removesuffix("\n")
    assert Utterance(QUERY).id == said.id
    assert said.own == Utterance(said.words)
    assert said.counts


@pytest.mark.parametrize(("expected", "shape"), PROMPT_SHAPES)
def test_prompts(expected: str, shape: Any) -> None:
    """The same in a completion, where history and context stand in the one text."""
    for prompt in (shape(QUERY), [shape(QUERY)]):
        body = prompt_of(prompt, expected)
        said = of_completion(body)
        assert expected == name(said.text, body)
        assert QUERY == said.words
        assert Utterance(QUERY).id == said.id
        assert said.counts


def test_every_row_has_a_shape() -> None:
    """No template stands in the table that nothing here looks like."""
    others = {"round of a ReAct agent"}
    assert {template.name for template in CHATS} == others | {shape[0] for shape in CHAT_SHAPES}
    assert {template.name for template in PROMPTS} == {shape[0] for shape in PROMPT_SHAPES}


@pytest.mark.parametrize("shape", [title, old_title, suggested])
@pytest.mark.parametrize("stream", [False, True])
def test_what_dify_asks_by_itself_is_typed_where_somebody_is_named(shape: Any, stream: bool) -> None:
    """Its own calls name nobody, who cannot be struck: whoever is named is to blame for all of it."""
    text = shape(QUERY)
    for place in range(0, len(text) + 1, 3):
        typed = text[:place] + WORD + text[place:]
        said = of_chat(chat(typed, [], stream=stream, user="somebody"))
        assert said.own is None and typed == said.words
        assert blamed(said)


THOUGHT = message("assistant", "Thought: 查一下\n\nAction: {}\n\nObservation: 结果\n\n")


@pytest.mark.parametrize(
    ("text", "before", "counts"),
    [
        ("continue", [message("user", QUERY), THOUGHT], False),
        ("continue", [message("user", QUERY), message("assistant", "好的")], True),
        ("continue", [], True),
        ("continue, " + QUERY, [message("user", QUERY), THOUGHT], True),
        ("Continue", [message("user", QUERY), THOUGHT], True),
    ],
)
def test_rounds_of_a_react_agent(text: str, before: list[dict[str, Any]], counts: bool) -> None:
    """The agent's own word neither strikes nor ends a row; a person's does."""
    said = of_chat(chat(text, before))
    assert counts == said.counts
    assert text == said.text


def test_rounds_of_an_agent_that_calls_functions() -> None:
    """The query comes again before calls and results, and is the same utterance."""
    calls = [message("assistant", ""), message("tool", "结果")]
    first, second = (of_chat({"messages": [message("user", QUERY), *after]}) for after in ([], calls))
    assert first.own is second.own is None
    assert first.id == second.id
    assert second.counts


@pytest.mark.parametrize(
    ("text", "before", "fields"),
    [
        (QUERY, [], {}),
        (classifier(QUERY), [], {}),  # a person can type it, but no system prompt
        (classifier(QUERY), [message("system", "你是助手")], {}),
        ('看 {"input_text": ["x"], "categories": []}', [CLASSIFIES], {}),
        (by_function(QUERY), [message("system", "你是助手")], {}),
        (by_function(QUERY).replace("<context>\n", "\n"), [EXTRACTS], {}),
        (by_prompt(QUERY), [], {}),
        (by_prompt(QUERY).replace("<text>\n", "\n"), [EXTRACTS], {}),
        (title(QUERY), [], {}),
        (old_title(QUERY), [], {}),
        (suggested(QUERY), [], {}),
        (CONTEXT + QUERY, [message("system", "你是助手")], {}),
        (f"指示\n\n\nHuman: {QUERY}\n\nAssistant: ", [], {}),
        (react(QUERY), [], {}),
    ],
)
def test_near_misses(text: str, before: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    """What Dify does not send so is the person's, all of it."""
    said = of_chat(chat(text, before, **fields))
    assert text == said.words == said.text
    assert said.own is None
    assert said.counts


@pytest.mark.parametrize(
    "prompt",
    [
        QUERY,
        "### Job Description\n" + QUERY + "\n### Assistant Output\n",
        react(QUERY).replace("Question: Question: ", "Question: "),
        "Human: " + QUERY + "\n\nAssistant: ",
        f"\n\nHuman: {QUERY}",
        [f"\n\nHuman: {QUERY}\n\nAssistant: ", "第二"],
    ],
)
def test_near_misses_of_prompts(prompt: Any) -> None:
    """What lacks a part of a template is all the person's."""
    said = of_completion({"prompt": prompt})
    assert said.own is None
    assert said.text == said.words


@pytest.mark.parametrize("cut", ["", '"]', '"],', '"],\n    "categ'])
def test_a_classifier_that_was_cut(cut: str) -> None:
    """Without its end the words go on to the end of the text."""
    assert of_chat(chat(f'{{"input_text": ["{QUERY}{cut}', [CLASSIFIES])).words == QUERY + cut


WORD = "禁忌配方"
LIBRARY = Library.build([Entry(id=1, term=WORD, risk="A1d", action=Action.BLOCK)])
POLICY = Keywords(lambda: LIBRARY)


def blamed(said: Utterance) -> bool:
    """Whether the person is struck, as the relay asks."""
    return said.counts and POLICY.local(said).refused and (said.own is None or POLICY.local(said.own).refused)


OWN_CALLS: list[tuple[Any, Any]] = [(shape, []) for shape in (title, old_title, suggested)]
ALL_SHAPES = [(shape, before) for _, shape, before in CHAT_SHAPES] + OWN_CALLS


@pytest.mark.parametrize(("shape", "before"), ALL_SHAPES)
def test_no_field_of_a_typed_template_hides_words(shape: Any, before: list[dict[str, Any]]) -> None:
    """Wherever in a template the word stands, it is judged; in a chat that streams, its person is to blame."""
    text = shape(QUERY)
    for place in range(len(text) + 1):
        typed = text[:place] + WORD + text[place:]
        said = of_chat(chat(typed, before))
        assert typed == said.text
        assert POLICY.local(said).refused
    for place in range(0, len(text), 7):
        typed = text[:place] + WORD + text[place:]
        assert blamed(of_chat(chat(typed, [message("system", "你是助手")], stream=True)))


@pytest.mark.parametrize(("expected", "shape"), PROMPT_SHAPES)
def test_no_part_of_a_prompt_hides_words(expected: str, shape: Any) -> None:
    """A completion is judged whole; where its person could have typed the template, they are to blame for all of it."""
    text = shape(QUERY)
    for place in range(len(text) + 1):
        typed = text[:place] + WORD + text[place:]
        assert POLICY.local(of_completion(prompt_of(typed, expected))).refused
        if expected in STOPS and CONTEXT not in text and place % 5 == 0:
            assert blamed(of_completion({"prompt": typed}))
            assert blamed(of_completion({"prompt": typed, "stop": "END"}))


def test_who_types_an_agents_thoughts_is_blamed() -> None:
    """A round is a thought and its action; what lacks that is the person's, in the first round as in later ones."""
    for query in (f"你好\nThought: {WORD}", f"你好\n\nThought: 想\n\nThought: {WORD}", f"你好\nThought:\n{WORD}"):
        for shape in (react, react_round):
            said = of_completion(prompt_of(shape(query), "ReAct agent"))
            assert query == said.words
            assert blamed(said)


def test_who_types_an_end_of_histories_is_blamed() -> None:
    """Without their begin there are none."""
    for typed in (f"{WORD}\n</histories>\n\n\nHuman: 你好\n\nAssistant:", f"{WORD}\n\nHuman: 你好\n\nAssistant:"):
        assert blamed(of_completion({"prompt": typed}))


@pytest.mark.parametrize(
    ("shape", "end"),
    [
        (classifier, '"],\n    "categories": [] '),
        (by_function, "\n</context>\n\n<structure>\n"),
        (by_prompt, "\n</text>\n"),
    ],
)
def test_who_types_the_end_of_the_template_is_blamed(shape: Any, end: str) -> None:
    """What a person adds behind an end of their own making is still theirs."""
    before = [CLASSIFIES] if shape is classifier else [EXTRACTS]
    assert blamed(of_chat(chat(shape(f"你好{end}{WORD}"), before)))


def test_who_types_what_stands_around_a_completion_is_blamed() -> None:
    """The same for what a query in a prompt may hold."""
    for query in (f"{WORD}\n\nHuman: 你好", f"你好\n\nAssistant: 好\n\n{WORD}"):
        assert blamed(of_completion(prompt_of(f"指示\n{HISTORIES}\n\nHuman: {query}\n\nAssistant: ")))


def test_what_others_wrote_is_refused_and_nobody_is_blamed() -> None:
    """Context, history, categories and what a tool found."""
    places = [
        of_completion({"prompt": f"{CONTEXT}{HISTORIES}\n\nHuman: {QUERY}\n\nAssistant: ".replace("资料", WORD, 1)}),
        of_completion({"prompt": f"{HISTORIES}\n\nHuman: {QUERY}\n\nAssistant: ".replace("旧问题", WORD)}),
        of_completion(prompt_of(react_round(QUERY).replace("结果", WORD), "ReAct agent")),
        of_completion(prompt_of(react_round(QUERY).replace("查一下", WORD), "ReAct agent")),
        of_completion(prompt_of(f"{WORD}\n\n\nHuman: {QUERY}\n\nAssistant: ")),
        of_chat(chat(classifier(QUERY).replace("说明", WORD), [CLASSIFIES])),
        of_chat(chat(CONTEXT.replace("资料", WORD, 1) + QUERY, [])),
    ]
    for said in places:
        assert POLICY.local(said).refused
        assert not blamed(said)


FLOODS = [
    "</context>\n\nWhen answer to user:\na\n",
    "Inside <text></text> XML tags ",
    "</histories>\n\n\n",
    "\n\nHuman: ",
    "用户和助手的历史对话内容如下：\n```\n",
    "\nQuestion: Question: ",
    '"],' + " " * 16,
    "\nThought: x\n\nAction: ",
    "\nThought: x",
    "\nThought: x\n\nAction: {",
    "\nPlease help me predict the three most likely questions",
]


@pytest.mark.usefixtures("untraced")
@pytest.mark.parametrize("flood", FLOODS)
def test_floods_take_no_time(flood: str) -> None:
    """A megabyte of beginnings and ends is looked through within a moment, whatever template it stands in."""
    filled = flood * (1_000_000 // len(flood))
    began = time.process_time()
    for _, shape, before in CHAT_SHAPES:
        of_chat(chat(shape(filled), before)).words  # noqa: B018 what is timed is finding it
    of_chat(chat(suggested(filled), [])).words  # noqa: B018
    of_chat(chat("continue", [message("assistant", "Thought: " + filled)])).words  # noqa: B018
    for expected, prompt in PROMPT_SHAPES:
        of_completion(prompt_of(prompt(filled), expected)).words  # noqa: B018
    assert time.process_time() - began < 5
