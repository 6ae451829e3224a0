"""torch as sentence-transformers' `CrossEncoder.predict` batches it: what benchmarks.gpu measures against."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.devices import Device
from er_distill.pairs import Pairs
from er_distill.records import Records

PEER_BATCHES = (32, 128, 512, 2_048)
"""The default of `CrossEncoder.predict`, and larger ones."""


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def peer_on(weights: Path, device: Device, size: int, length: int) -> Callable[[Records, Records, Pairs], np.ndarray]:
    """torch in half precision on a GPU, in single on a CPU, which computes faster in it; probabilities."""
    import torch

    place = f"cuda:{device.number}" if device.on_gpu else "cpu"
    dtype = torch.float16 if device.on_gpu else torch.float32
    predict = (cross_encoder if has("sentence_transformers") else loop)(weights, place, dtype, length)

    def score(left: Records, right: Records, pairs: Pairs) -> np.ndarray:
        a, b = left.texts, right.texts
        both = [sorted((a[i], b[j])) for i, j in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)]
        return probability(predict(both, size))

    return score


def cross_encoder(weights: Path, place: str, dtype: Any, length: int) -> Callable[[list[list[str]], int], np.ndarray]:
    """sentence-transformers' own; logits."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(weights), max_length=length, device=place, model_kwargs={"dtype": dtype})
    return lambda both, size: model.predict(
        both, batch_size=size, show_progress_bar=False, activation_fn=torch.nn.Identity()
    )


def loop(weights: Path, place: str, dtype: Any, length: int) -> Callable[[list[list[str]], int], np.ndarray]:
    """What `CrossEncoder.predict` does, longest first; logits."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(weights)
    model = AutoModelForSequenceClassification.from_pretrained(weights, dtype=dtype).to(place).eval()
    options = {"padding": True, "truncation": True, "max_length": length, "return_tensors": "pt"}
    options["return_token_type_ids"] = model.config.type_vocab_size > 1

    @torch.inference_mode()
    def predict(both: list[list[str]], size: int) -> np.ndarray:
        order = np.argsort([-len(first) - len(second) for first, second in both])
        found = []
        for begin in range(0, len(order), size):
            batch = [both[k] for k in order[begin : begin + size]]
            inputs = tokenizer(batch, **options).to(place)
            found.append(model(**inputs).logits[:, 0])
        logits = np.empty(len(both), dtype=np.float32)
        logits[order] = torch.cat(found).float().cpu().numpy()
        return logits

    return predict


def probability(logits: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
