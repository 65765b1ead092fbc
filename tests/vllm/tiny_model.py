"""Writes a tiny Qwen3 for vLLM that always says the same words; run by the Python that has transformers and torch.

`python tests/vllm/tiny_model.py DIRECTORY`. Constructed like `tests/tiny_gguf.py`: its layers add nothing, and the output
matrix leads from each word to the next.
"""

import json
import sys
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

WORDS = ("你好", "，", "这里", "是", "一个", "很小", "的", "模型", "。")
WIDTH = 64
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def alphabet() -> list[str]:
    """Return GPT-2's printable character for each byte."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte if byte in seen else next(others)) for byte in range(256)]


def tokenizer() -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer in which each word is one token."""
    letters = alphabet()
    tokens, merges = list(letters), []
    for word in WORDS:
        made, *rest = [letters[byte] for byte in word.encode()]
        for letter in rest:
            if (made, letter) not in merges:
                merges.append((made, letter))
            made += letter
            if made not in tokens:
                tokens.append(made)
    vocabulary = {token: number for number, token in enumerate([*tokens, *SPECIAL])}
    found = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    found.decoder = decoders.ByteLevel()
    found.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=found, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def model(words: PreTrainedTokenizerFast) -> Qwen3ForCausalLM:
    """Return the model that says the words in their order."""
    torch.manual_seed(0)
    end = words.convert_tokens_to_ids("<|im_end|>")
    config = Qwen3Config(
        vocab_size=len(words),
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
        eos_token_id=end,
        pad_token_id=words.convert_tokens_to_ids("<|endoftext|>"),
    )
    made = Qwen3ForCausalLM(config)
    embeddings = torch.randn(len(words), WIDTH)
    directions = embeddings / embeddings.norm(dim=1, keepdim=True)
    output = torch.zeros(len(words), WIDTH)
    letters = alphabet()
    ids = [words.convert_tokens_to_ids("".join(letters[byte] for byte in word.encode())) for word in WORDS]
    newline = words("\n", add_special_tokens=False)["input_ids"][0]  # the template ends with it
    for token, following in [(newline, ids[0]), *zip(ids, [*ids[1:], end], strict=True)]:
        output[following] += 8 * directions[token]
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" not in name:
                parameter.zero_()
        made.model.embed_tokens.weight.copy_(embeddings)
        made.lm_head.weight.copy_(output)
    return made.to(torch.bfloat16)


def main(directory: Path) -> None:
    """Write tokenizer and model."""
    words = tokenizer()
    words.save_pretrained(directory)
    model(words).save_pretrained(directory)
    config = directory / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": TEMPLATE}, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
