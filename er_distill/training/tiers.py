"""The second tier of a student while it is made: an encoder, or a language model that reads whole candidate lists.

The stages of `fit_student` train, export and score either of them in the same way, and everything after that sees
logits of pairs alone.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from er_distill.artefact import Question
from er_distill.training import export, export_causal, precheck
from er_distill.training.adapters import keep_layers
from er_distill.training.causal import CausalModel, load_causal
from er_distill.training.encoder import EncoderConfig, train_encoder
from er_distill.training.exporter import Exporter
from er_distill.training.folds import LabelledTask
from er_distill.training.generative.config import GenerativeConfig, Sft
from er_distill.training.labels import Labels
from er_distill.training.pretrained import EncoderModel, choose_device, load_base, quiet_transformers
from er_distill.training.runs import UNFINISHED

if TYPE_CHECKING:
    from er_distill.training.recipe import DistillConfig

# By the model's type alone transformers would make the tokenizer anew from its words, and lose what else it does.
_TOKENIZER_AS_IT_IS = '{"tokenizer_class": "PreTrainedTokenizerFast"}\n'

Part = tuple[LabelledTask, np.ndarray]
"""A task, and which of its labelled pairs are meant."""


class Trained(Protocol):
    """A second tier that has been trained."""

    @property
    def max_length(self) -> int:
        """Tokens that it reads, for the manifest."""

    @property
    def question(self) -> Question | None:
        """How it is asked, for the manifest."""

    def predict(self, task: LabelledTask, rows: np.ndarray) -> np.ndarray:
        """Return the model's own logits of labelled pairs."""

    def export(self, folder: Path, variants: Sequence[str], exporter: Exporter) -> None:
        """Write the graphs of `variants`."""

    def graph_logits(
        self, graph: Path, variant: str, task: LabelledTask, rows: np.ndarray, progress: Callable[[int], object]
    ) -> np.ndarray:
        """Return a graph's logits of labelled pairs, as a student computes them."""


class Tier(Protocol):
    """A kind of second tier, with its settings.

    Attributes
    ----------
    variants : tuple of str
        Graphs that can be made.
    one_by_one : frozenset of str
        Variants whose pairs must each be a batch of their own.
    shares : mapping of str to float
        Size of each variant's graph, as a share of the weights in float32.
    in_training : float
        What training leaves on the disk at most, as a share of the weights in float32.
    """

    variants: tuple[str, ...]
    one_by_one: frozenset[str]
    shares: Mapping[str, float]
    in_training: float

    @property
    def stops_early(self) -> bool:
        """Whether training needs labels of its own to stop by."""

    def open_base(self) -> Any:
        """Load what training starts from, as a model of transformers, or say what is wrong with it."""

    def graph(self, variant: str) -> str:
        """Return the name of a variant's graph."""

    def train(self, learned: Sequence[Part], stop_on: Sequence[Part], folder: Path, *, progress: bool) -> None:
        """Train, and leave weights and ``tokenizer.json`` in a stage's folder, where a killed attempt goes on."""

    def load(self, folder: Path) -> Trained:
        """Load what :meth:`train` left."""


def tier_of(config: DistillConfig) -> Tier:
    """Return the second tier that a student is to have."""
    reader = config.reader
    return EncoderTier(reader) if isinstance(reader, EncoderConfig) else GenerativeTier(reader)


class EncoderTier:
    """A cross-encoder: see `er_distill.training.encoder`."""

    variants: tuple[str, ...] = export.VARIANTS
    one_by_one: frozenset[str] = export.ONE_BY_ONE
    shares: Mapping[str, float] = {"fp32": 1.0, "fp16": 0.5, "int8": 0.3}
    in_training = 8.0  # two checkpoints at a time, each of the weights, the best weights so far and two moments

    def __init__(self, config: EncoderConfig) -> None:
        self.config = config

    @property
    def stops_early(self) -> bool:
        """Whether training needs labels of its own to stop by."""
        return self.config.patience > 0

    def open_base(self) -> Any:
        """Load what training starts from."""
        model = precheck.open_base(self.config.base, self.config.max_length).model
        keep_layers(model, self.config.layers)
        return model

    def graph(self, variant: str) -> str:
        """Return the name of a variant's graph."""
        return f"encoder.{variant}.onnx"

    def train(self, learned: Sequence[Part], stop_on: Sequence[Part], folder: Path, *, progress: bool) -> None:
        """Train, and leave weights and tokenizer in `folder`."""
        to_learn, to_stop = (
            [task.encoder_task(rows) for task, rows in parts if len(rows)] for parts in (learned, stop_on)
        )
        source = dataclasses.replace(self.config, base=precheck.weights_of(self.config.base))
        trained = train_encoder(to_learn, source, held_out=to_stop, checkpoints=folder / UNFINISHED, progress=progress)
        with quiet_transformers():
            trained.model.save_pretrained(folder)
        trained.tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(_TOKENIZER_AS_IT_IS, encoding="utf-8")

    def load(self, folder: Path) -> Trained:
        """Load what :meth:`train` left."""
        model = load_base(folder, self.config.max_length)
        model.model.to(choose_device(self.config.device))
        return _TrainedEncoder(model)


@dataclasses.dataclass(frozen=True)
class _TrainedEncoder:
    model: EncoderModel
    question: Question | None = None

    @property
    def max_length(self) -> int:
        return self.model.max_length

    def predict(self, task: LabelledTask, rows: np.ndarray) -> np.ndarray:
        return self.model.predict(*task.texts, task.pairs(rows))

    def export(self, folder: Path, variants: Sequence[str], exporter: Exporter) -> None:
        export.export_encoder(self.model, folder, variants=variants, exporter=exporter)

    def graph_logits(
        self, graph: Path, variant: str, task: LabelledTask, rows: np.ndarray, progress: Callable[[int], object]
    ) -> np.ndarray:
        one_by_one = variant in export.ONE_BY_ONE
        return export.graph_logits(
            graph, self.model, *task.texts, task.pairs(rows), one_by_one=one_by_one, progress=progress
        )


class GenerativeTier:
    """A causal language model with adapters: see `er_distill.training.generative`."""

    variants: tuple[str, ...] = export_causal.VARIANTS
    one_by_one: frozenset[str] = frozenset()
    # Embeddings stay floats where matrices are quantised, and in a small model they are up to half of it.
    shares: Mapping[str, float] = {"fp32": 1.0, "fp16": 0.5, "int8": 0.65, "int4": 0.6}
    in_training = 2.0  # the adapters with their checkpoints, and the merged model

    def __init__(self, config: GenerativeConfig) -> None:
        self.config = dataclasses.replace(config, base=precheck.weights_of(config.base))

    @property
    def stops_early(self) -> bool:
        """Whether training needs labels of its own to stop by: it takes them from those it is given."""
        return False

    def open_base(self) -> Any:
        """Load what training starts from."""
        from er_distill.training.generative.base import load_learner

        return load_learner(self.config).student.model

    def graph(self, variant: str) -> str:
        """Return the name of a variant's graph."""
        return export_causal.graph_name(variant)

    def train(self, learned: Sequence[Part], stop_on: Sequence[Part], folder: Path, *, progress: bool) -> None:
        """Train adapters, merge them, and leave the merged model in `folder`."""
        from er_distill.training.generative.adapter import merge_adapter
        from er_distill.training.generative.data import choices_of
        from er_distill.training.generative.fit import fit_generative

        choices = [
            choice
            for task, rows in learned
            if len(rows)
            for choice in choices_of(task.candidates, _only(task, rows), seed=self.config.seed)
        ]
        unfinished = folder / UNFINISHED
        unfinished.mkdir(exist_ok=True)
        adapter, merged = unfinished / "adapter", unfinished / "merged"
        if not adapter.is_dir():  # it is there whole or not at all
            fit_generative(choices, self.config, adapter, progress=progress)
        shutil.rmtree(merged, ignore_errors=True)
        for path in merge_adapter(adapter, merged).iterdir():
            path.rename(folder / path.name)

    def load(self, folder: Path) -> Trained:
        """Load what :meth:`train` left."""
        from er_distill.training.generative.adapter import frame_in

        model = load_causal(folder, frame_in(folder))
        model.model.to(choose_device(self.config.device))
        method = self.config.method
        return _TrainedCausal(model, isinstance(method, Sft) and method.explanations == "after")


@dataclasses.dataclass(frozen=True)
class _TrainedCausal:
    model: CausalModel
    explains: bool

    @property
    def max_length(self) -> int:
        return self.model.frame.max_length

    @property
    def question(self) -> Question | None:
        return export_causal.question_of(self.model)

    def predict(self, task: LabelledTask, rows: np.ndarray) -> np.ndarray:
        # Among all candidates, labelled or not, as it will be served.
        return self.model.predict(*task.texts, task.candidates.pairs, task.known[rows])

    def export(self, folder: Path, variants: Sequence[str], exporter: Exporter) -> None:
        export_causal.export_causal(self.model, folder, variants=variants, explains=self.explains, exporter=exporter)

    def graph_logits(
        self, graph: Path, variant: str, task: LabelledTask, rows: np.ndarray, progress: Callable[[int], object]
    ) -> np.ndarray:
        pairs = task.candidates.pairs
        return export_causal.list_logits(graph, self.model, *task.texts, pairs, task.known[rows], progress=progress)


def _only(task: LabelledTask, rows: np.ndarray) -> Labels:
    target = np.full(len(task.candidates.pairs), np.nan, dtype=np.float32)
    target[task.known[rows]] = task.target[rows]
    return dataclasses.replace(task.labels, target=target)
