"""Several students of one base into one, by their weights.

Students fine-tuned from one base on different domains can be merged weight by weight: as an average ("soup", Wortsman
et al. 2022), on the sphere (SLERP, Shoemake 1985), by what each changed of the base, trimmed and with the signs agreed
on (TIES, Yadav et al. 2023), or thinned at random and scaled up (DARE, Yu et al. 2024). What TIES and DARE do to a
tensor is peft's; it works for adapters and for full weights alike.

A merged model is a base like any other: distil from it to get a student with its own trees, calibration and threshold.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from er_distill import artefact
from er_distill.errors import InputError, did_you_mean
from er_distill.training import missing_extra

try:
    import torch
    from peft.utils import merge_utils
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
except ImportError as error:
    raise missing_extra(error) from error

Method = Literal["soup", "slerp", "ties", "dare"]

_ADAPTER_CONFIG = "adapter_config.json"
_NEARLY_PARALLEL = 1e-4  # radians below which SLERP is a plain average
_Rule = Callable[[list[torch.Tensor], torch.Tensor | None, "MergeConfig", torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class MergeConfig:
    """How to merge.

    Raises
    ------
    InputError
        When a value is none that merging knows or can use.
    """

    method: Method = "soup"
    weights: tuple[float, ...] | None = None  # of the models; by default all alike; they are scaled to a sum of 1
    density: float = 0.5  # share of its changes that a model keeps in TIES and DARE
    seed: int = 0  # of DARE's choice

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise InputError(
                f"MergeConfig: there is no method {self.method!r}. {did_you_mean(self.method, get_args(Method))}"
            )
        if not 0 < self.density <= 1:
            raise InputError(f"MergeConfig: density must be above 0 and at most 1, not {self.density!r}.")
        if self.weights is not None and not (all(w >= 0 for w in self.weights) and sum(self.weights) > 0):
            raise InputError(f"MergeConfig: weights must be 0 or above and not all 0, not {self.weights!r}.")


def merge(models: Sequence[str | Path], output: Path, config: MergeConfig, *, base: str | Path | None = None) -> Path:
    """Merge models, or adapters, of one base.

    Parameters
    ----------
    models : sequence of str or Path
        Two or more: student folders with ``weights/``, model folders (config.json and safetensors), or adapter folders
        of peft. All of one kind and with the same tensors.
    output : Path
        Becomes a folder of that kind, with the first model's config and tokenizer; must not exist.
    config : MergeConfig
    base : str or Path, optional
        Folder of the model all were trained from. TIES and DARE of full weights need it; an adapter's base counts as 0.

    Returns
    -------
    Path
        `output`.

    Raises
    ------
    InputError
        When a folder has no weights, the models do not fit each other, or the base is missing.
    StudentError
        When a student's ``weights/`` were left out or altered.

    Notes
    -----
    Tensors the base does not have (a new head) are averaged. One tensor of each model is in memory at a time, and the
    merged model.
    """
    if len(models) < 2:
        raise InputError(f"merge got {len(models)} model(s). Name at least two.")
    if output.exists():
        raise InputError(f"{output} is there already. Name another output, or remove it first.")
    weights = _weights(config, len(models))
    folders = [weights_folder(model) for model in models]
    is_adapter = [(folder / _ADAPTER_CONFIG).is_file() for folder in folders]
    if any(is_adapter) and not all(is_adapter):
        raise InputError(
            f"{folders[is_adapter.index(False)]} holds full weights, another holds an adapter. Merge one kind."
        )
    if all(is_adapter):
        _check_same_adapters(folders)
    elif config.method in ("ties", "dare") and base is None:
        raise InputError(f"{config.method} looks at what each model changed: name the base all were trained from.")
    rule = _RULES[config.method]
    merged = {}
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(config.seed)
    try:
        with ExitStack() as stack, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The density 1", UserWarning)  # everything kept: asked for
            readers = [stack.enter_context(_tensors(folder)) for folder in folders]
            _check_same_tensors(folders, readers)
            of_base = {} if base is None else stack.enter_context(_tensors(weights_folder(base)))
            for name in sorted(readers[0]):
                values = [read(name) for read in (reader.__getitem__ for reader in readers)]
                origin = _origin(name, of_base, values[0], adapters=all(is_adapter))
                merged[name] = _merged(values, origin, weights, rule, config)
    finally:
        torch.random.set_rng_state(torch_state)
    return _write(merged, folders[0], output)


def weights_by_fit(log_likelihoods: Sequence[np.ndarray]) -> tuple[float, ...]:
    """Weigh models by how well each fits labels that none was trained on.

    Parameters
    ----------
    log_likelihoods : sequence of ndarray of float64, shape (n,)
        For each model, the log-likelihood it gives to each held-out label, in one order.

    Returns
    -------
    tuple of float
        In proportion to the geometric mean of the likelihoods; the sum is 1.
    """
    means = np.array([np.mean(values) for values in log_likelihoods], dtype=np.float64)
    if not np.isfinite(means).all():
        raise InputError("weights_by_fit needs at least one finite log-likelihood of each model.")
    likelihoods = np.exp(means - means.max())
    return tuple(float(weight) for weight in likelihoods / likelihoods.sum())


def weights_folder(model: str | Path) -> Path:
    """Return where a model's weights are: in the folder itself, or in a student's ``weights/``."""
    folder = Path(model)
    if (folder / artefact.MANIFEST).is_file():
        return artefact.weights(folder)
    if not any(folder.glob("*.safetensors")):
        raise InputError(f"{folder} holds no *.safetensors. Name a student, model or adapter folder on this disk.")
    return folder


class _Tensors(Mapping[str, torch.Tensor]):
    """The tensors of a folder's safetensors, read one at a time, as float32."""

    def __init__(self, handles: Sequence[Any]) -> None:
        self._handle = {name: handle for handle in handles for name in handle.keys()}  # noqa: SIM118 - no mapping

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._handle[name].get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._handle)

    def __len__(self) -> int:
        return len(self._handle)


@contextmanager
def _tensors(folder: Path) -> Iterator[_Tensors]:
    with ExitStack() as stack:
        try:
            handles = [stack.enter_context(safe_open(path, "pt")) for path in sorted(folder.glob("*.safetensors"))]
        except SafetensorError as error:
            raise InputError(f"the weights in {folder} cannot be read ({error}). Get the folder anew.") from error
        yield _Tensors(handles)


def _weights(config: MergeConfig, n_models: int) -> torch.Tensor:
    weights = config.weights or (1.0,) * n_models
    if len(weights) != n_models:
        raise InputError(f"MergeConfig has {len(weights)} weights for {n_models} models. Give one each.")
    return torch.tensor(weights, dtype=torch.float32) / sum(weights)


def _check_same_adapters(folders: Sequence[Path]) -> None:
    configs = [json.loads((folder / _ADAPTER_CONFIG).read_text(encoding="utf-8")) for folder in folders]
    for folder, config in zip(folders[1:], configs[1:], strict=True):
        for name in ("peft_type", "base_model_name_or_path", "r", "lora_alpha"):
            if config.get(name) != configs[0].get(name):
                raise InputError(
                    f"the adapters {folders[0]} and {folder} differ in {name} ({configs[0].get(name)!r} and "
                    f"{config.get(name)!r}). Merge each into its base first, then merge the models."
                )


def _check_same_tensors(folders: Sequence[Path], readers: Sequence[_Tensors]) -> None:
    for folder, reader in zip(folders[1:], readers[1:], strict=True):
        odd = sorted(set(reader) ^ set(readers[0])) or [
            name for name in sorted(reader) if reader[name].shape != readers[0][name].shape
        ]
        if odd:
            raise InputError(
                f"{folders[0]} and {folder} differ in the tensor {odd[0]!r}: they are not of one base. "
                "Merge models that were trained from the same one."
            )


def _origin(
    name: str, of_base: Mapping[str, torch.Tensor], like: torch.Tensor, *, adapters: bool
) -> torch.Tensor | None:
    """What a tensor was before training; None where nobody knows."""
    if adapters:
        return torch.zeros_like(like, dtype=torch.float32)
    # A base saved without a head names its tensors without the prefix of the encoder within the classifier.
    known = next((key for key in (name, name.partition(".")[2]) if key in of_base), None)
    return None if known is None or of_base[known].shape != like.shape else of_base[known].float()


def _merged(
    values: list[torch.Tensor], origin: torch.Tensor | None, weights: torch.Tensor, rule: _Rule, config: MergeConfig
) -> torch.Tensor:
    if not values[0].is_floating_point():  # positions and the like, which training does not touch
        return values[0]
    return rule([value.float() for value in values], origin, config, weights).to(values[0].dtype).contiguous()


def _soup(
    values: list[torch.Tensor], origin: torch.Tensor | None, config: MergeConfig, weights: torch.Tensor
) -> torch.Tensor:
    return merge_utils.task_arithmetic(values, weights)


def _slerp(
    values: list[torch.Tensor], origin: torch.Tensor | None, config: MergeConfig, weights: torch.Tensor
) -> torch.Tensor:
    """Go from the first model along the great circle to each next one, by its share of the weight so far."""
    result, total = values[0], weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total = total + weight
        result = _between(result, value, float(weight / total) if total > 0 else 0.0)
    return result


def _between(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    lengths = start.norm() * end.norm()
    angle = torch.acos((torch.sum(start * end) / lengths).clamp(-1, 1)) if lengths > 0 else torch.tensor(0.0)
    if angle < _NEARLY_PARALLEL or angle > np.pi - _NEARLY_PARALLEL:  # no arc, or no one arc
        return (1 - share) * start + share * end
    return (torch.sin((1 - share) * angle) * start + torch.sin(share * angle) * end) / torch.sin(angle)


def _ties(
    values: list[torch.Tensor], origin: torch.Tensor | None, config: MergeConfig, weights: torch.Tensor
) -> torch.Tensor:
    if origin is None:
        return _soup(values, origin, config, weights)
    # peft divides by the number of models that keep a place, so weights of mean 1 make an average of them.
    changes = [value - origin for value in values]
    return origin + merge_utils.ties(changes, weights * len(weights), config.density)


def _dare(
    values: list[torch.Tensor], origin: torch.Tensor | None, config: MergeConfig, weights: torch.Tensor
) -> torch.Tensor:
    if origin is None:
        return _soup(values, origin, config, weights)
    return origin + merge_utils.dare_linear([value - origin for value in values], weights, config.density)


_RULES: Mapping[str, _Rule] = {"soup": _soup, "slerp": _slerp, "ties": _ties, "dare": _dare}


def _write(tensors: dict[str, torch.Tensor], like: Path, output: Path) -> Path:
    """Write the tensors beside the config and tokenizer files of `like`, whole or not at all."""
    arriving = output.with_name(f".{output.name}.partial")
    shutil.rmtree(arriving, ignore_errors=True)  # of a run that was stopped here
    arriving.mkdir(parents=True)
    try:
        for path in like.iterdir():
            if path.is_file() and path.suffix not in (".safetensors", ".bin") and "index" not in path.name:
                shutil.copy(path, arriving)
        name = "adapter_model.safetensors" if (like / _ADAPTER_CONFIG).is_file() else "model.safetensors"
        save_file(tensors, arriving / name, metadata={"format": "pt"})
        arriving.rename(output)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
    return output
