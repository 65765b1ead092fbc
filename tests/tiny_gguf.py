"""Writes a tiny Qwen3 model for llama.cpp that always says the same words: 200 KB, up in under a second.

Not trained but constructed: its layers add nothing, so the last token's embedding alone decides the next token, and the
output matrix maps each word of the sentence to the one after it, the last one to the end of the turn, and everything
else to the first word. One token a word, so a stream has as many content chunks as words.
"""

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

WORDS = ("你好", "，", "这里", "是", "一个", "很小", "的", "模型", "。")
WIDTH, HEADS, HEAD_WIDTH, FEED_FORWARD, CONTEXT = 64, 2, 16, 32, 4096
TOOL_CALL = ("<tool_call>", " ", '{"name": "weather",', ' "arguments": {"city":', ' "北京"', "}}", "</tool_call>")
"""Words that are a call of the tool `weather`, in Qwen's way of writing them."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


TOOL_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n# Tools\n\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools>"
    "<|im_end|>\n{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}"
    "{% if m.tool_calls %}{% for call in m.tool_calls %}<tool_call> "
    '{"name": {{ call.function.name | tojson }}, "arguments": {{ call.function.arguments | tojson }}}'
    "</tool_call>{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A template from which llama.cpp learns how this model writes its calls."""


def byte_alphabet() -> list[str]:
    """Return GPT-2's printable character for each byte: those that can be seen stand for themselves."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def vocabulary(words: Sequence[str]) -> tuple[list[str], list[str], list[int]]:
    """Return tokens, merges, and the token ids of *words*: each word is merged into one token, byte by byte."""
    alphabet = byte_alphabet()
    tokens, merges = list(alphabet), []
    for word in words:
        letters = [alphabet[byte] for byte in word.encode()]
        made = letters[0]
        for letter in letters[1:]:
            merge = f"{made} {letter}"
            made += letter
            if merge not in merges:
                merges.append(merge)
            if made not in tokens:
                tokens.append(made)
    whole = ["".join(alphabet[byte] for byte in word.encode()) for word in words]
    return [*tokens, *SPECIAL], merges, [tokens.index(word) for word in whole]


def output_matrix(embeddings: np.ndarray, ids: Sequence[int], starts: Sequence[int], end: int) -> np.ndarray:
    """Return the matrix that turns each word into the next one."""
    directions = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    matrix = np.zeros_like(embeddings)
    for token, following in zip(ids, [*ids[1:], end], strict=True):
        matrix[following] += 8 * directions[token]
    for token in starts:
        matrix[ids[0]] += 8 * directions[token]
    return matrix


def write(path: Path, words: Sequence[str] = WORDS, template: str = TEMPLATE) -> Path:
    """Write the model that says *words* (all different) at temperature 0."""
    tokens, merges, ids = vocabulary(words)
    end = tokens.index("<|im_end|>")
    writer = gguf.GGUFWriter(path, "qwen3")
    _describe(writer, tokens, merges, end)
    writer.add_chat_template(template)
    embeddings = np.random.default_rng(0).standard_normal((len(tokens), WIDTH)).astype(np.float32)
    newline = tokens.index(byte_alphabet()[10])  # the template ends with it
    _add_tensors(writer, embeddings, output_matrix(embeddings, ids, [newline], end))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_adapter(path: Path, words: Sequence[str] = WORDS, first: int = 1) -> Path:
    """Write a LoRA adapter of rank 1 with which the model of *words* begins at the word number *first*."""
    tokens, _, ids = vocabulary(words)
    embeddings = np.random.default_rng(0).standard_normal((len(tokens), WIDTH)).astype(np.float32)
    newline = embeddings[tokens.index(byte_alphabet()[10])]
    chosen = np.zeros((len(tokens), 1), np.float32)
    chosen[ids[first]] = 12.0  # the model's own words have 8
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 1.0)
    writer.add_tensor("output.weight.lora_a", (newline / np.linalg.norm(newline)).reshape(1, WIDTH))
    writer.add_tensor("output.weight.lora_b", chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: gguf.GGUFWriter, tokens: list[str], merges: list[str], end: int) -> None:
    writer.add_name("tiny-qwen3")
    writer.add_block_count(1)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD_WIDTH)
    writer.add_value_length(HEAD_WIDTH)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    kinds = [gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.NORMAL for token in tokens]
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)


def _add_tensors(writer: gguf.GGUFWriter, embeddings: np.ndarray, output: np.ndarray) -> None:
    writer.add_tensor("token_embd.weight", embeddings)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    writer.add_tensor("output.weight", output)
    query = HEADS * HEAD_WIDTH
    silent = {
        "attn_q": (query, WIDTH),
        "attn_k": (HEAD_WIDTH, WIDTH),
        "attn_v": (HEAD_WIDTH, WIDTH),
        "attn_output": (WIDTH, query),
        "ffn_gate": (FEED_FORWARD, WIDTH),
        "ffn_up": (FEED_FORWARD, WIDTH),
        "ffn_down": (WIDTH, FEED_FORWARD),
    }
    for name, shape in silent.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
    ones = {"attn_norm": WIDTH, "ffn_norm": WIDTH, "attn_q_norm": HEAD_WIDTH, "attn_k_norm": HEAD_WIDTH}
    for name, length in ones.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(length, np.float32))
