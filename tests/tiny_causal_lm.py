"""A tiny causal language model with random weights, made on the spot: a real Qwen2, two layers, no download."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_SAMPLE = [
    'You find records that describe the same real-world entity. {"answer": "yes"} {"answer": "no"} {"answer": "1"}',
    "Each record stands between record and record. Candidates: query record title name year price brand sony canon",
]


def save_qwen2(folder: Path, *, answer: str | None = None, n_positions: int = 4096, chat_template: bool = True) -> Path:
    """Write the model and its byte-level BPE tokenizer.

    With an `answer`, the weights are set so that each token of ``{"answer": "..."}`` makes the next one the likeliest:
    the model always gives that answer.
    """
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    pieces = Tokenizer(models.BPE())
    words = Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+")
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    pieces.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator(_SAMPLE * 4, trainer)
    config = Qwen2Config(
        vocab_size=pieces.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=n_positions,
        eos_token_id=2,
        bos_token_id=0,
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(config)
    if answer is not None:
        chain = pieces.encode(f'\n{{"answer": "{answer}"}}<|im_end|>').ids
        with torch.no_grad():
            for layer in model.model.layers:  # what is left is each token's own embedding
                layer.self_attn.o_proj.weight.zero_()
                layer.mlp.down_proj.weight.zero_()
            embeddings = torch.nn.functional.normalize(model.model.embed_tokens.weight, dim=1)
            model.model.embed_tokens.weight.copy_(embeddings)
            model.lm_head.weight.zero_()
            for token, following in pairwise(chain):
                model.lm_head.weight[following] += embeddings[token]
    model.save_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=pieces, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=n_positions
    )
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder
