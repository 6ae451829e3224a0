"""Questions that a tiny model can learn: which candidate has the query's words, in another order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tiny_causal_lm import save_qwen2

from er_distill.selecting import select_prompt
from er_distill.training.generative.data import Choice

_NOUNS = "sony canon nikon bosch philips lens drill kettle camera radio lamp phone watch piano guitar chair"
WORDS = tuple(_NOUNS.split())


def choices(n: int, *, seed: int = 0, candidates: int = 3, explained: bool = False) -> list[Choice]:
    """Return `n` questions, "none" right as often as each number."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        names = [" ".join(rng.choice(WORDS, 2, replace=False)) for _ in range(candidates)]
        right = k % (candidates + 1)
        query = " ".join(names[right - 1].split()[::-1]) if right else " ".join(rng.choice(WORDS, 2, replace=False))
        why = f"The words of candidate ({right}) agree." if right else "No words agree."
        found.append(Choice(query, tuple(names), right, why if explained else None))
    return found


def save_base(folder: Path) -> Path:
    """Write a random model that adapters alone can teach; its tokenizer knows the words of the questions."""
    return save_qwen2(
        folder,
        width=64,
        heads=4,
        spread=0.2,
        chat_template="{{ messages[0]['content'] }}\n{% if add_generation_prompt %}<|im_start|>{% endif %}",
        also_reads=[select_prompt(word, [word]) for word in WORDS],
    )
