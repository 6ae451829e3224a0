"""A training run on disk, so that a run that was killed goes on where it was.

One safetensors file holds all of it: the parameters that are trained, the optimiser's state, the state of the random
numbers and the step. It holds numbers and text alone; nothing in it is ever unpickled. What a run starts from (base,
labels, the plan of its epochs) is made anew by the same call: the file names it, and is taken only where it fits.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from er_distill.errors import InputError
from er_distill.files import check_writable, whole
from er_distill.training import missing_extra

try:
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file
except ImportError as error:
    raise missing_extra(error) from error

log = logging.getLogger(__name__)

FILE = "training.safetensors"


@dataclass
class Standing:
    """How far a run is, beside its model and its optimiser.

    Attributes
    ----------
    step : int
        Steps done.
    best_loss : float
        The lowest loss on the held-out lists so far.
    best : dict of str to Tensor
        The trained parameters that had it.
    waited : int
        Epochs since then.
    """

    step: int = 0
    best_loss: float = math.inf
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    waited: int = 0


def trained_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the parameters that require a gradient, by name; shared ones once."""
    return {name: values for name, values in model.named_parameters() if values.requires_grad}


class Checkpoints:
    """Keeps the last state of a run in a folder.

    Parameters
    ----------
    folder : Path
        Made when it is not there. It holds one file, which is replaced whole.
    run : str
        What the run starts from, in any form that differs where that differs.
    model : torch.nn.Module
        On its device; the parameters that require a gradient are kept.
    optimizer : torch.optim.Optimizer
        Of these parameters.
    seconds : float
        From one checkpoint to the next.

    Raises
    ------
    InputError
        When the folder cannot be written, or its disk has no room.
    """

    def __init__(
        self, folder: Path, run: str, model: torch.nn.Module, optimizer: torch.optim.Optimizer, seconds: float
    ) -> None:
        self.path = folder / FILE
        self._run, self._model, self._optimizer, self._seconds = run, model, optimizer, seconds
        self._device = next(model.parameters()).device
        self._saved_at = time.monotonic()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            check_writable(self.path)
            for partial in folder.glob(f".{FILE}.*"):  # of runs that were killed while they wrote it
                partial.unlink()
            free = shutil.disk_usage(folder).free
        except OSError as error:
            raise InputError(f"{folder} cannot take checkpoints: {error.strerror}. Choose another folder.") from error
        # Parameters, two moments and the best parameters so far; the new file stands beside the old one for a moment.
        needed = 2 * 4 * sum(values.nbytes for values in trained_parameters(model).values())
        if free < needed:
            raise InputError(
                f"{folder} cannot take checkpoints: they need {needed / 1e9:.1f} GB and its disk has "
                f"{free / 1e9:.1f} GB left. Free some space or choose another folder."
            )

    def resume(self) -> Standing:
        """Bring model, optimiser and random numbers to where this run was; a run of other inputs is not taken up."""
        if not self.path.exists():
            return Standing()
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                if about.get("run") != self._run:
                    log.info("%s is of other inputs: training begins anew and replaces it", self.path)
                    return Standing()
                kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.path} cannot be read: {error}. Remove it to train from the start.") from error
        with torch.no_grad():
            for name, values in trained_parameters(self._model).items():
                values.copy_(kept[f"parameter.{name}"])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, values in kept.items():
            if name.startswith("optimizer."):
                _, number, key = name.split(".")
                moments.setdefault(int(number), {})[key] = values
        self._optimizer.load_state_dict(self._optimizer.state_dict() | {"state": moments})
        torch.set_rng_state(kept["random.cpu"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(kept["random.cuda"], self._device)
        best = {
            name.removeprefix("best."): values.to(self._device)
            for name, values in kept.items()
            if name.startswith("best.")
        }
        standing = Standing(best=best, **json.loads(about["standing"]))
        log.info("training goes on after step %d, from %s", standing.step, self.path)
        return standing

    def save_when_due(self, standing: Standing) -> None:
        """Save when the last checkpoint is old enough."""
        if time.monotonic() - self._saved_at >= self._seconds:
            self.save(standing)

    def save(self, standing: Standing) -> None:
        """Replace the checkpoint.

        Raises
        ------
        InputError
            When it cannot be written; the checkpoint before it then still is there.
        """
        tensors = {f"parameter.{name}": values.detach() for name, values in trained_parameters(self._model).items()}
        tensors |= {f"best.{name}": values for name, values in standing.best.items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{key}": values for key, values in state.items()}
        tensors["random.cpu"] = torch.get_rng_state()
        if self._device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self._device)
        # JSON's infinity is Python's own, which is who reads it.
        told = {"step": standing.step, "best_loss": standing.best_loss, "waited": standing.waited}
        with whole(self.path) as partial:
            try:
                save_file(tensors, partial, {"run": self._run, "standing": json.dumps(told)})
            except SafetensorError as error:
                raise OSError(str(error)) from error
        self._saved_at = time.monotonic()
