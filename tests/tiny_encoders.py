"""Tiny encoders and a small labelled task, made on the spot: real architectures, two layers, no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from er_distill.pairs import Pairs

WORDS = ["sony", "canon", "bosch", "philips", "camera", "lens", "kettle", "drill", "phone", "mixer", "red", "blue"]
WORDS += ["black", "white", "small", "large", "pro", "mini", "air", "max", "one", "two", "three", "four", "five", "six"]
N_QUERIES, N_CANDIDATES = 16, 5


def save_bert(folder: Path, *, n_positions: int = 64, tokenizer: bool = True) -> Path:
    """Write a WordPiece BERT with random weights."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    letters = [f"{prefix}{letter}" for prefix in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = {word: k for k, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *letters])}
    pieces = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer()
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=n_positions,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    torch.manual_seed(0)
    BertForMaskedLM(config).save_pretrained(folder)
    if tokenizer:
        special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        PreTrainedTokenizerFast(tokenizer_object=pieces, **special).save_pretrained(folder)
    return folder


def save_roberta(folder: Path) -> Path:
    """Write a byte-level BPE RoBERTa with random weights: other special tokens, no token types, shifted positions."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast, RobertaConfig, RobertaForMaskedLM

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pieces.train_from_iterator([" ".join(WORDS)], trainer)
    pieces.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    config = RobertaConfig(
        vocab_size=pieces.get_vocab_size(),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=66,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    RobertaForMaskedLM(config).save_pretrained(folder)
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>", "sep_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=pieces, **special).save_pretrained(folder)
    return folder


def product_task(seed: int = 0) -> tuple[list[str], list[str], Pairs, np.ndarray]:
    """Return left texts, right texts, candidate lists and labels; each fourth query has no match."""
    rng = np.random.default_rng(seed)
    names = [" ".join(rng.choice(WORDS, rng.integers(3, 7), replace=False)) for _ in range(N_QUERIES * N_CANDIDATES)]
    left_texts = [f"{names[k * N_CANDIDATES]} {rng.choice(WORDS)}" for k in range(N_QUERIES)]
    left = np.repeat(np.arange(N_QUERIES), N_CANDIDATES)
    right = np.arange(N_QUERIES * N_CANDIDATES)
    target = ((right % N_CANDIDATES == 0) & (left % 4 != 3)).astype(np.float32)
    for k in range(3, N_QUERIES, 4):
        left_texts[k] = " ".join(rng.choice(WORDS, 4, replace=False))
    shuffled = rng.permutation(len(right))
    return left_texts, names, Pairs(left[shuffled], right[shuffled], N_QUERIES, len(names)), target[shuffled]
