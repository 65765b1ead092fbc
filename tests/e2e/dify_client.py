"""Runs Dify's own client code against a gateway and prints what it got, as JSON.

`python -m tests.e2e.dify_client BASE_URL KEY CHAT_MODEL EMBEDDINGS_MODEL`; in a process of its own, since importing
the SDK patches the whole interpreter.
"""

from dify_plugin.interfaces.model.openai_compatible.llm import OAICompatLargeLanguageModel  # isort: skip - patches first
import json
import sys
from typing import Any

from dify_plugin.entities.model.message import SystemPromptMessage, UserPromptMessage
from dify_plugin.interfaces.model.openai_compatible.rerank import OAICompatRerankModel
from dify_plugin.interfaces.model.openai_compatible.text_embedding import OAICompatEmbeddingModel

USER = "6f6d9f0c-2c1c-4c56-9c41-0f7a8b0d5c11"


def main(base_url: str, key: str, chat: str, embeddings: str) -> dict[str, Any]:
    """Validate and invoke everything that Dify's provider has."""
    found: dict[str, Any] = {}
    credentials = {"endpoint_url": base_url, "api_key": key, "mode": "chat", "context_size": "2048"}
    model = OAICompatLargeLanguageModel([])
    messages = [SystemPromptMessage(content="你是一个助手。"), UserPromptMessage(content="你好")]
    for mode in ("chat", "completion"):
        given = {**credentials, "mode": mode}
        asked = messages if mode == "chat" else [UserPromptMessage(content="\n")]
        model.validate_credentials(chat, given)
        model.validate_credentials(chat, {**given, "stream_mode_auth": "use"})
        for stream in (True, False):
            parameters = {"temperature": 0, "max_tokens": 16}
            chunks = list(model.invoke(chat, given, asked, parameters, None, ["<stop>"], stream, USER))
            found[f"{mode} {'stream' if stream else 'whole'}"] = {
                "text": "".join(str(chunk.delta.message.content or "") for chunk in chunks),
                "usage": chunks[-1].delta.usage.total_tokens if chunks[-1].delta.usage else None,
                "finish": chunks[-1].delta.finish_reason,
            }
    encoder = OAICompatEmbeddingModel([])
    # the SDK cuts long texts by a tokenizer that it downloads; this machine has no internet
    encoder._get_num_tokens_by_gpt2 = len  # type: ignore[method-assign]
    encoder.validate_credentials(embeddings, credentials)
    result = encoder.invoke(embeddings, credentials, ["知识库的一段文字"], USER)
    found["embeddings"] = {"length": len(result.embeddings[0]), "tokens": result.usage.total_tokens}
    ranker = OAICompatRerankModel([])
    ranker.validate_credentials(embeddings, credentials)
    ranked = ranker.invoke(embeddings, credentials, "报销", ["天气", "差旅费报销"], None, 2, USER)
    found["rerank"] = [document.index for document in ranked.docs]
    try:
        list(model.invoke("nothing", credentials, messages, {}, None, None, True, USER))
    except Exception as error:  # noqa: BLE001 - its words are what a person in Dify reads
        found["error"] = str(error)
    return found


if __name__ == "__main__":
    json.dump(main(*sys.argv[1:]), sys.stdout, ensure_ascii=False)
