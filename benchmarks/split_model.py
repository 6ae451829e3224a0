"""The encoder of `split_student`: a BERT whose lowest layers read records, its graphs, and the time they take."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from er_distill.threads import thread_count

_TURN = 64  # pairs, or records, that a thread takes at a time


@dataclass(frozen=True)
class Records:
    """Token ids of records, [CLS] first and [SEP] last."""

    ids: list[np.ndarray]

    def padded(self, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ids at `rows` in one block, and what of it is no padding."""
        width = max(len(self.ids[row]) for row in rows)
        block, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width), bool)
        for k, row in enumerate(rows):
            block[k, : len(self.ids[row])], mask[k, : len(self.ids[row])] = self.ids[row], True
        return torch.from_numpy(block), torch.from_numpy(mask)


class Split(torch.nn.Module):
    """A BERT with one logit, whose lowest `k` layers read each record alone.

    With k = 0 the records meet in the embeddings already, and the second one's positions go on after the first one's.
    """

    def __init__(self, model: Any, k: int) -> None:
        super().__init__()
        self.model, self.k = model, k

    def records(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """What the lowest layers make of records."""
        hidden = self.model.bert.embeddings(input_ids=ids)
        for layer in self.model.bert.encoder.layer[: self.k]:
            hidden = layer(hidden, additive(mask))
        return hidden

    def pairs(self, hidden: torch.Tensor, second: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The logits of pairs, from both records' tokens one after the other; `second` is 1 at those of the second."""
        types = self.model.bert.embeddings.token_type_embeddings.weight
        hidden = hidden + second[..., None] * (types[1] - types[0])
        for layer in self.model.bert.encoder.layer[self.k :]:
            hidden = layer(hidden, additive(mask))
        return self.model.classifier(self.model.bert.pooler(hidden))[:, 0]

    def forward(self, records: Records, first: Sequence[int], second: Sequence[int]) -> torch.Tensor:
        """The logits of pairs of records, for training: every record of the batch once."""
        if not self.k:
            ids = [np.concatenate([records.ids[a], records.ids[b][1:]]) for a, b in zip(first, second, strict=True)]
            block, mask = Records(ids).padded(range(len(ids)))
            lengths = torch.tensor([len(records.ids[a]) for a in first])
            types = ((torch.arange(block.shape[1]) >= lengths[:, None]) & mask).long()
            logits: torch.Tensor = self.model(input_ids=block, attention_mask=mask.long(), token_type_ids=types).logits
            return logits[:, 0]
        rows, place = np.unique([*first, *second], return_inverse=True)
        ids, mask = records.padded(rows.tolist())
        hidden = self.records(ids, mask)
        a, b = torch.from_numpy(place[: len(first)]), torch.from_numpy(place[len(first) :])
        where = torch.cat([torch.zeros_like(mask[a]), torch.ones_like(mask[b])], 1).float()
        return self.pairs(torch.cat([hidden[a], hidden[b]], 1), where, torch.cat([mask[a], mask[b]], 1))


def additive(mask: torch.Tensor) -> torch.Tensor:
    """0 where a token may be attended to, and very little elsewhere."""
    return (~mask)[:, None, None, :].float() * -1e4


class _RecordsAlone(torch.nn.Module):
    def __init__(self, split: Split) -> None:
        super().__init__()
        self.split = split

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.split.records(ids, torch.ones_like(ids, dtype=torch.bool))


class _PairsAlone(torch.nn.Module):
    def __init__(self, split: Split) -> None:
        super().__init__()
        self.split = split

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        second = torch.cat([torch.zeros_like(a[..., 0]), torch.ones_like(b[..., 0])], 1)
        return self.split.pairs(torch.cat([a, b], 1), second, torch.ones_like(second, dtype=torch.bool))


class _Whole(torch.nn.Module):
    def __init__(self, split: Split) -> None:
        super().__init__()
        self.model = split.model

    def forward(self, ids: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(ids, torch.ones_like(ids), types).logits
        return logits[:, 0]


@dataclass(frozen=True)
class Graphs:
    """int8 graphs: of pairs, and of records where there is one."""

    pairs: Path
    records: Path | None


def export(model: Split, folder: Path) -> Graphs:
    """Write the graphs, quantised as the package quantises its encoders."""
    model.eval()
    model.model.set_attn_implementation("eager")
    hidden = torch.ones((1, 4, model.model.config.hidden_size))
    ids = torch.ones((1, 4), dtype=torch.int64)
    if not model.k:
        return Graphs(_written(_Whole(model), (ids, torch.zeros_like(ids)), ("ids", "types"), folder / "whole"), None)
    upper = _written(_PairsAlone(model), (hidden, hidden), ("a", "b"), folder / f"pairs-{model.k}")
    return Graphs(upper, _written(_RecordsAlone(model), (ids,), ("ids",), folder / f"records-{model.k}"))


def _written(module: torch.nn.Module, example: tuple[torch.Tensor, ...], names: tuple[str, ...], stem: Path) -> Path:
    path = stem.with_suffix(".onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter: it says a lot of itself
        axes = {name: {1: f"{name}_tokens"} for name in names} | {"out": {1: "out_tokens"} if len(names) == 1 else {}}
        torch.onnx.export(
            module,
            example,
            str(stem),
            input_names=list(names),
            output_names=["out"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    quantize_dynamic(stem, path, per_channel=True, weight_type=QuantType.QInt8, reduce_range=True)
    return path


def seconds_of(graphs: Graphs, records: Records, first: np.ndarray, second: np.ndarray) -> float:
    """Time all pairs, each alone, over all threads; each record's pass once, where there is one."""
    pairs_graph, records_graph = _open(graphs.pairs), _open(graphs.records)
    kept: list[np.ndarray] = [np.empty(0)] * len(records.ids)

    def keep(rows: np.ndarray) -> None:
        for row in rows.tolist():
            kept[row] = records_graph.run(None, {"ids": records.ids[row][None]})[0]

    def score(rows: np.ndarray) -> None:
        for a, b in zip(first[rows].tolist(), second[rows].tolist(), strict=True):
            if records_graph is None:
                ids = np.concatenate([records.ids[a], records.ids[b][1:]])
                types = (np.arange(len(ids)) >= len(records.ids[a])).astype(np.int64)
                pairs_graph.run(None, {"ids": ids[None], "types": types[None]})
            else:
                pairs_graph.run(None, {"a": kept[a], "b": kept[b]})

    with ThreadPoolExecutor(thread_count()) as pool:
        started = time.perf_counter()
        if records_graph is not None:
            list(pool.map(keep, _turns(np.unique([first, second]))))
        list(pool.map(score, _turns(np.arange(len(first)))))
        return time.perf_counter() - started


def _turns(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[begin : begin + _TURN] for begin in range(0, len(rows), _TURN))


def _open(path: Path | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return None if path is None else onnxruntime.InferenceSession(str(path), options)
