"""Training a part of an encoder: its lowest layers, low-rank adapters beside its matrices, or all but frozen layers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from er_distill.errors import InputError
from er_distill.training import missing_extra

try:
    import torch
    from peft import LoraConfig, LoraModel
except ImportError as error:
    raise missing_extra(error) from error


def keep_layers(model: Any, n: int) -> None:
    """Drop all but the lowest `n` layers of an encoder.

    Source: Sajjad et al. (2023), "On the effect of dropping layers of pre-trained transformer models", Computer Speech
    & Language 77, arXiv 2004.03844 ("Poor man's BERT"): of the ways to choose them, dropping the top ones and training
    what is left loses least.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Changed in place, its configuration too: what is saved of it has `n` layers.
    n : int
        0 drops nothing.

    Raises
    ------
    InputError
        When it has fewer layers, or none that can be told apart.
    """
    if not n:
        return
    _, layers = _layers(model)
    if n > len(layers):
        raise InputError(f"EncoderConfig: layers is {n}, but the base has {len(layers)}. Keep no more than that.")
    del layers[n:]
    model.config.num_hidden_layers = n
    if kinds := getattr(model.config, "layer_types", None):  # of bases that name each layer's kind of attention
        model.config.layer_types = kinds[:n]


def freeze_layers(model: Any, n: int) -> None:
    """Freeze the lowest `n` layers of an encoder, and the embeddings below them.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Changed in place.
    n : int
        0 freezes nothing; all layers leave what stands above them: a pooler, the head.

    Raises
    ------
    InputError
        When it has fewer layers, or none that can be told apart.
    """
    if not n:
        return
    prefix, layers = _layers(model)
    if n > len(layers):
        raise InputError(f"EncoderConfig: frozen_layers is {n}, but the base has {len(layers)} layers.")
    frozen, below = tuple(f"{prefix}.{k}." for k in range(n)), _below(model, prefix)
    for name, values in model.named_parameters():
        if name in below or name.startswith(frozen):
            values.requires_grad = False


def add_adapters(model: Any, rank: int, alpha: int) -> Callable[[], Any]:
    """Put a low-rank adapter beside each matrix of the layers that are not frozen, and train these alone.

    Source: Hu et al. (2022), "LoRA: Low-rank adaptation of large language models", on all linear maps of a layer as in
    Dettmers et al. (2023), "QLoRA". What stands above the layers is new, or belongs to what the model was used for
    before, and is trained whole.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Changed in place.
    rank : int
        Of the adapters.
    alpha : int
        The adapters' product is added times ``alpha / rank``.

    Returns
    -------
    callable
        Adds the adapters to the matrices they stand beside and returns the model, ordinary again.

    Raises
    ------
    InputError
        When the base has no layers that can be told apart, or all are frozen.
    """
    prefix, _ = _layers(model)
    inside, below = f"{prefix}.", _below(model, prefix)
    trained = {name for name, values in model.named_parameters() if values.requires_grad}
    above = {name for name in trained - below if not name.startswith(inside)}
    targets = [
        name
        for name, module in model.named_modules()
        if name.startswith(inside) and isinstance(module, torch.nn.Linear) and f"{name}.weight" in trained
    ]
    if not targets:
        raise InputError("EncoderConfig: frozen_layers leaves no layer for adapters. Freeze fewer, or set lora_rank=0.")
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets)
    adapted = LoraModel(model, config, "default")
    for name, values in model.named_parameters():
        values.requires_grad |= name in above
    return adapted.merge_and_unload


def _layers(model: Any) -> tuple[str, torch.nn.ModuleList]:
    """Return the name and the list of the encoder's layers."""
    n_layers = getattr(model.config, "num_hidden_layers", None)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_layers:
            return name, module
    raise InputError(
        f"A base of the kind {model.config.model_type} shows no list of its layers: layers, frozen_layers and "
        "lora_rank need one. Set them to 0, or name a base like BERT or RoBERTa."
    )


def _below(model: Any, prefix: str) -> set[str]:
    """Return the parameters that are registered before the layers: embeddings, and what normalises them."""
    names = [name for name, _ in model.named_parameters()]
    return set(itertools.takewhile(lambda name: not name.startswith(f"{prefix}."), names))
