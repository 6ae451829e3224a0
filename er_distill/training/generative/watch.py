"""Held-out choices are answered now and then in training, and a model that has stopped choosing stops it.

DPO and GRPO can end in a model that says one thing to everything, "none" above all, while loss and reward look fine.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from er_distill.training import missing_extra
from er_distill.training.generative.base import Learner
from er_distill.training.generative.data import Choice

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise missing_extra(error) from error

GOOD = "good"
"""Folder, in that of the run, with the adapter as it was at the last check at which the model still chose."""
_LOG = "checks.jsonl"
_ALWAYS = 0.98  # share of one answer from which on a model no longer chooses
_UNLIKE = 0.25  # by how much that share must exceed the answer's share among the right ones
_PATIENCE = 5  # checks at least
_WORSE = 2.0  # standard errors of an accuracy, from which on a loss is no chance


@dataclass(frozen=True)
class Check:
    """How n held-out choices were answered.

    Attributes
    ----------
    step, n : int
    accuracy : float
        Share of the choices whose right option was said (SELECT accuracy against the labels).
    said : int
        The number said most often; 0 is none.
    share, right_share : float
        Of the choices, to how many it was said, and to how many it is right.
    """

    step: int
    n: int
    accuracy: float
    said: int
    share: float
    right_share: float

    @property
    def constant(self) -> bool:
        """Whether the model says one thing to everything, and the labels do not."""
        return self.share >= _ALWAYS and self.share - self.right_share >= _UNLIKE

    def __str__(self) -> str:
        said = '"none"' if self.said == 0 else f'"[{self.said}]"'
        return (
            f"in step {self.step} it says {said} to {self.share:.0%} of the held-out questions, where that is right "
            f"for {self.right_share:.0%} (accuracy {self.accuracy:.3f})"
        )


def check_of(logits: np.ndarray, choices: Sequence[Choice], step: int) -> Check:
    """Return how `choices` are answered by a model with these logits, shape (n, options)."""
    said, right = logits.argmax(axis=1), np.array([choice.answer for choice in choices])
    most = int(np.bincount(said).argmax())
    accuracy, share, right_share = (float(same.mean()) for same in (said == right, said == most, right == most))
    return Check(step, len(choices), accuracy, most, share, right_share)


def collapse(checks: Sequence[Check], planned: int) -> Check | None:
    """Return the check at which a model has stopped choosing, or None.

    Before it learns, a model may well say one thing to everything. It has collapsed when it does so and was better
    before, or has done so for half of the planned checks.

    Parameters
    ----------
    checks : sequence of Check
        All so far, the first before the first step.
    planned : int
        How many there will be.
    """
    last = checks[-1]
    if not last.constant:
        return None
    best = max(check.accuracy for check in checks)
    chance = _WORSE * math.sqrt(best * (1 - best) / last.n)
    patience = max(_PATIENCE, planned // 2)
    lasting = len(checks) > patience and all(check.constant for check in checks[-patience:])
    return last if last.accuracy < best - chance or lasting else None


class Watch(TrainerCallback):
    """Answers the held-out choices before the first step and `checks` times a run; stops the run at a collapse.

    Parameters
    ----------
    learner : Learner
    choices : sequence of Choice
        Not trained on.
    run : Path
        Folder of the run, in which the checks so far lie.
    checks : int
    """

    def __init__(self, learner: Learner, choices: Sequence[Choice], run: Path, checks: int) -> None:
        self._learner, self._choices, self._run, self._planned = learner, choices, run, checks
        self.checks: list[Check] = []
        self.collapsed: Check | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the checks of a run that was stopped, or look at the model as it begins."""
        log = self._run / _LOG
        if log.is_file():
            kept = [Check(**json.loads(line)) for line in log.read_text(encoding="utf-8").splitlines()]
            self.checks = [check for check in kept if check.step <= state.global_step]
        if not self.checks:
            self._look(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the model where a check is due."""
        if state.global_step % max(1, state.max_steps // self._planned) == 0:
            self._look(state.global_step)
            self.collapsed = collapse(self.checks, self._planned)
            control.should_training_stop = control.should_training_stop or self.collapsed is not None

    def finish(self, step: int) -> Check | None:
        """Look a last time; return the check at which the model collapsed, or at which it ends without choosing."""
        if self.collapsed is None:
            if self.checks[-1].step != step:
                self._look(step)
            self.collapsed = self.checks[-1] if self.checks[-1].constant else None
        return self.collapsed

    def _look(self, step: int) -> None:
        self.checks.append(check_of(self._learner.option_logits(self._choices), self._choices, step))
        lines = [json.dumps(asdict(check)) for check in self.checks]
        (self._run / _LOG).write_text("\n".join(lines) + "\n", encoding="utf-8")
        if not self.checks[-1].constant:
            self._learner.model.save_pretrained(self._run / GOOD, selected_adapters=["default"])
