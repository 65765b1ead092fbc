"""Writes a tiny GGUF model that always answers one sentence: real llama.cpp, an answer known beforehand.

`write(path, ["你好", "，", "世界", "。"])` makes a Qwen3 of one layer. Its attention and feed-forward weights are zero, so
that the next token depends on the last one alone, and its output matrix leads from each word of the sentence to the
following one: at temperature 0 whatever is asked is answered with the words in their order, one token a word.
"""

from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt

WIDTH = 64
HEADS = 2
HEAD_WIDTH = 16
FEED_FORWARD = 32
CONTEXT = 4096
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Weights = npt.NDArray[np.float32]


class Vocabulary:
    """The 256 bytes, what the merges of the words make of them, and the tokens of a chat."""

    def __init__(self, words: Sequence[str]) -> None:
        self.byte = _printable_bytes()
        self.tokens = [self.byte[number] for number in range(256)]
        self.merges: list[str] = []
        self.sentence = [self._add(word) for word in words]
        self.normal = len(self.tokens)
        self.tokens += [END_OF_TEXT, TURN_START, TURN_END]

    def _add(self, word: str) -> int:
        """Make *word* a token, by merges from the left; return its id."""
        letters = [self.byte[number] for number in word.encode()]
        made = letters[0]
        for letter in letters[1:]:
            merge = f"{made} {letter}"
            if merge not in self.merges:
                self.merges.append(merge)
            made += letter
            if made not in self.tokens:
                self.tokens.append(made)
        return self.tokens.index(made)

    def id(self, token: str) -> int:
        """Return the id of *token*."""
        return self.tokens.index(token)


def write(path: Path, words: Sequence[str]) -> None:
    """Write the model that answers *words* to *path*; a word must not come twice."""
    if len(set(words)) != len(words) or not all(words):
        raise ValueError("a word that comes twice, or an empty one, has no single follower")
    vocabulary = Vocabulary(words)
    writer = gguf.GGUFWriter(str(path), "qwen3")
    _write_shape(writer)
    _write_tokenizer(writer, vocabulary)
    for name, weights in _weights(vocabulary).items():
        writer.add_tensor(name, weights)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _write_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
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


def _write_tokenizer(writer: gguf.GGUFWriter, vocabulary: Vocabulary) -> None:
    special = len(vocabulary.tokens) - vocabulary.normal
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types([gguf.TokenType.NORMAL] * vocabulary.normal + [gguf.TokenType.CONTROL] * special)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(vocabulary.id(TURN_END))
    writer.add_pad_token_id(vocabulary.id(END_OF_TEXT))
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(TEMPLATE)


def _weights(vocabulary: Vocabulary) -> dict[str, Weights]:
    embedding = np.random.default_rng(0).standard_normal((len(vocabulary.tokens), WIDTH)).astype(np.float32)
    block = {
        "attn_q": (HEADS * HEAD_WIDTH, WIDTH),
        "attn_k": (HEAD_WIDTH, WIDTH),
        "attn_v": (HEAD_WIDTH, WIDTH),
        "attn_output": (WIDTH, HEADS * HEAD_WIDTH),
        "ffn_gate": (FEED_FORWARD, WIDTH),
        "ffn_up": (FEED_FORWARD, WIDTH),
        "ffn_down": (WIDTH, FEED_FORWARD),
    }
    norms = {"attn_norm": WIDTH, "ffn_norm": WIDTH, "attn_q_norm": HEAD_WIDTH, "attn_k_norm": HEAD_WIDTH}
    return {
        "token_embd.weight": embedding,
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "output.weight": _followers(vocabulary, embedding),
        **{f"blk.0.{name}.weight": np.zeros(shape, np.float32) for name, shape in block.items()},
        **{f"blk.0.{name}.weight": np.ones(width, np.float32) for name, width in norms.items()},
    }


def _followers(vocabulary: Vocabulary, embedding: Weights) -> Weights:
    """Return the output matrix: the row of a token points where its predecessor's embedding points."""
    output = np.zeros_like(embedding)
    directions = embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
    line_end = vocabulary.tokens.index(vocabulary.byte[ord("\n")])  # what the template ends with
    chain = [line_end, *vocabulary.sentence, vocabulary.id(TURN_END)]
    for token, follower in zip(chain, chain[1:], strict=False):
        output[follower] += 8 * directions[token]
    return output


def _printable_bytes() -> dict[int, str]:
    """Return GPT-2's spelling of bytes: printable ones stand for themselves, the others for U+0100 and on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [number for number in range(256) if number not in printable]
    spelled = {number: chr(number) for number in printable}
    return spelled | {number: chr(256 + place) for place, number in enumerate(others)}
