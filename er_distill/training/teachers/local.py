"""A language model on this machine, its answers read from the logits of the options: nothing is generated."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from er_distill.errors import BudgetSpent, InputError
from er_distill.training import missing_extra
from er_distill.training.labels import Candidates
from er_distill.training.prompts import Prompt
from er_distill.training.teachers.base import Answer, Attempt, NoRecorder, Question, Recorder, Request
from er_distill.training.teachers.demonstrations import Demonstrations
from er_distill.training.teachers.interview import Interview, Model, expected_requests
from er_distill.training.teachers.replies import read
from er_distill.training.teachers.sheet import Sheet
from er_distill.training.teachers.strategies import Elicitation

try:
    from er_distill.training.pretrained import choose_device
    from er_distill.training.teachers.causal import CausalModel
except ImportError as error:
    raise missing_extra(error) from error


class TransformersTeacher:
    """Asks a causal language model on this machine.

    An answer is read at one position: the logits of the options' tokens right after the opening of an answer give a
    probability for each candidate and for none. Text is generated for explanations alone.

    Parameters
    ----------
    path_or_id : str or Path
        A folder with config.json, weights and tokenizer, or a model id.
    strategy, variants, keep, confirm, explain, seed, demonstrations, value_chars
        How to ask: see :class:`er_distill.training.teachers.strategies.Elicitation`.
    device : str
        ``"auto"`` takes CUDA where there is one.
    dtype : str
        ``"auto"`` takes that of the weights, and float32 on a CPU.
    batch_size : int
        Prompts at once.
    max_explanation_tokens : int
    recorder : Recorder, optional
        Sees every attempt.
    licence : str
        What the model's answers stand under.

    Raises
    ------
    InputError
        When the model cannot be loaded, or an argument is none of those allowed.
    DeviceError
        When there is no such device.
    """

    def __init__(
        self,
        path_or_id: str | Path,
        *,
        strategy: str = "select",
        variants: Sequence[str] = ("plain",),
        keep: int = 4,
        confirm: str | None = None,
        explain: str | None = None,
        seed: int = 0,
        demonstrations: Demonstrations | None = None,
        value_chars: int = 400,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 8,
        max_explanation_tokens: int = 200,
        recorder: Recorder | None = None,
        licence: str = "unknown",
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}. Give 1 or more.")
        path = str(path_or_id)
        name = Path(path).resolve().name if Path(path).is_dir() else path
        self.name, self.licence = f"transformers:{name}", licence
        self.how = Elicitation(strategy, tuple(variants), keep, confirm, explain, seed, demonstrations, value_chars)
        self.recorder: Recorder = recorder or NoRecorder()
        self._batch_size = batch_size
        self._lm = CausalModel(path, choose_device(device), dtype)
        self._model = Model(self.name, name, {"read": "option logits"}, 0, max_explanation_tokens)

    def __repr__(self) -> str:
        return f"TransformersTeacher({self.name!r}, strategy={self.how.strategy!r})"

    def answer(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[tuple[int, Answer]]:
        """Yield (position in `questions`, answer), in about their order.

        Raises
        ------
        BudgetSpent
            When the recorder refuses a request: what was answered is yielded before.
        InputError
            When the tokenizer cannot tell the options apart.
        """
        sheet = Sheet(candidates, self.how.value_chars)
        waiting = (
            (position, Interview(self._model, sheet, question, self.how)) for position, question in enumerate(questions)
        )
        at_work = list(islice(waiting, self._batch_size))
        while at_work:
            spent = self._hear([interview for _, interview in at_work])
            for position, interview in at_work:
                if interview.answer is not None:
                    yield position, interview.answer
            if spent is not None:
                raise spent
            at_work = [(position, interview) for position, interview in at_work if interview.answer is None]
            at_work += islice(waiting, self._batch_size - len(at_work))

    def requests(self, candidates: Candidates, questions: Sequence[Question]) -> Iterator[list[Request]]:
        """Yield the requests of each question, as in the longest run: for a dry run."""
        yield from expected_requests(self._model, candidates, questions, self.how)

    def _hear(self, interviews: Sequence[Interview]) -> BudgetSpent | None:
        """Answer what is asked now; return the recorder's refusal, once what it had allowed is answered."""
        asked = [(prompt, request) for interview in interviews for prompt, request in interview.asked]
        # Prompts of a length go together: the shorter ones of a batch are padded.
        order = sorted(range(len(asked)), key=lambda at: (asked[at][1].max_prompt_tokens, at))
        attempts: dict[int, Attempt] = {}
        spent: BudgetSpent | None = None
        while order and spent is None:
            batch: list[tuple[int, Any]] = []
            while order and len(batch) < self._batch_size and spent is None:
                request = asked[order[0]][1]
                known = self.recorder.known(request)
                if known is not None:
                    attempts[order.pop(0)] = known
                    continue
                try:
                    batch.append((order[0], self.recorder.reserve(request)))
                    order.pop(0)
                except BudgetSpent as refusal:
                    spent = refusal
            answered = self._attempts([asked[at] for at, _ in batch]) if batch else []
            for (at, reservation), attempt in zip(batch, answered, strict=True):
                self.recorder.record(reservation, attempt)
                attempts[at] = attempt
        at = 0
        for interview in interviews:
            mine = range(at, at + len(interview.asked))
            at = mine.stop
            if mine and all(place in attempts for place in mine):
                interview.hear([[attempts[place]] for place in mine])
        return spent

    def _attempts(self, asked: Sequence[tuple[Prompt, Request]]) -> list[Attempt]:
        started, clock = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"), time.perf_counter()
        replies = self._lm.replies([prompt for prompt, _ in asked], [request for _, request in asked])
        seconds = (time.perf_counter() - clock) / len(asked)
        return [
            Attempt(
                request=request,
                text=reply.text,
                error=reply.error,
                choice=None if reply.text is None else read(prompt, reply.text).choice,
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
                seconds=seconds,
                started=started,
                logprobs=reply.logprobs,
            )
            for (prompt, request), reply in zip(asked, replies, strict=True)
        ]
