"""A tiny causal language model, made on the spot: a real Qwen2 with its tokenizer, no download."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SAMPLE = [
    'You find records that describe the same real-world entity. {"answer": "yes"} {"answer": "no"} {"answer": "1"}',
    "Each record stands between record and record. Candidates: query record title name year price brand sony canon",
]
_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def save_qwen2(
    folder: Path,
    *,
    obliging: bool = False,
    n_positions: int = 4096,
    chat_template: str | None = CHAT_TEMPLATE,
    width: int = 32,
    heads: int = 1,
    spread: float = 0.02,
    also_reads: Sequence[str] = (),
) -> Path:
    """Write the model and its byte-level BPE tokenizer.

    The weights are random, or those of an obliging model: it says ``{"answer": "yes"}`` where the prompt has "yes" in
    it, and else ``{"answer": "1"}``. Adapters alone can teach random weights only where these are not all small:
    `spread` is their standard deviation. The words of `also_reads` are tokens.
    """
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    pieces = _tokenizer(also_reads)
    config = Qwen2Config(
        vocab_size=pieces.get_vocab_size(),
        hidden_size=2 * pieces.get_vocab_size() if obliging else width,
        num_hidden_layers=1 if obliging else 2,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=n_positions,
        eos_token_id=pieces.token_to_id("<|im_end|>"),
        bos_token_id=pieces.token_to_id("<|endoftext|>"),
        tie_word_embeddings=False,
        initializer_range=spread,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    if obliging:
        _oblige(model, pieces)
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=n_positions
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(also_reads: Sequence[str]) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    pieces = Tokenizer(models.BPE())
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=_SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator([*_SAMPLE, *also_reads] * 4, trainer)
    return pieces


def _oblige(model: Any, pieces: Any) -> None:
    """Set the weights by hand, as a table of which token follows which and one look back at the prompt.

    Each token is an axis of the first half of the space. Even attention (queries and keys are zero) writes how frequent
    each token was so far into the second half.
    """
    import torch

    said = {word: pieces.encode(f'\n{{"answer": "{word}"}}<|im_end|>').ids for word in ("1", "yes")}
    one, yes = pieces.token_to_id("1"), pieces.token_to_id("yes")
    quote = said["1"][said["1"].index(one) - 1]
    n = pieces.get_vocab_size()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(float(name.endswith("norm.weight")))
        model.model.embed_tokens.weight[:, :n] = torch.eye(n)
        look_back = model.model.layers[0].self_attn
        look_back.v_proj.weight[:n, :n] = torch.eye(n)
        look_back.o_proj.weight[n:, :n] = torch.eye(n)
        for chain in said.values():
            for token, following in pairwise(chain):
                model.lm_head.weight[following, token] = 100.0
        model.lm_head.weight[yes, quote] = 99.9  # a little less than "1" has ...
        model.lm_head.weight[yes, n + yes] = 10.0  # ... unless there was a "yes"
