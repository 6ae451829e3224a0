"""Does a generative student learn better from answers that say why, and is the why better said before or after?

    ER_DISTILL_DATA=<benchmark data> python -m benchmarks.explanations --base <folder or id of a causal language model>

One teacher's labels and explanations of the training tuples of the four open tasks; a fifth of the queries is held out,
and SELECT accuracy is the share of them answered as the teacher did. Gold is not read. A student that says why first is
asked twice: at once, as all are served, and after it has said why. Without ``--base`` a tiny model with random weights
is made on the spot: that shows that everything runs, and nothing about explanations.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gold import TASKS, data_folder
from benchmarks.provenance import Benchmark
from er_distill.selecting import ANSWER, prompt_text
from er_distill.training.causal import last_logits
from er_distill.training.generative.base import Learner, load_learner
from er_distill.training.generative.config import GenerativeConfig, Sft
from er_distill.training.generative.data import NO_CANDIDATE, Choice, Explanation, choices_of
from er_distill.training.generative.fit import fit_generative
from er_distill.training.labels import Candidates, read_answers, read_jsonl, read_task
from tests.tiny_causal_lm import save_qwen2

TEACHER = {"qwen2.5-32b": "Apache-2.0"}
PROMPT_SEED = 1924  # of the order in which the teacher saw the candidates (docs/benchmark-data.md)
ORDERS = ("none", "after", "before")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="default: a tiny model, made on the spot")
    parser.add_argument("--queries", type=int, help="of each task at most, for a quick look")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--max-tokens", type=int, default=2_048)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/explanations.json")
    args = parser.parse_args()
    benchmark = Benchmark("explanations", student=None, packages=("torch", "transformers", "peft", "trl"))
    trained, held_out = _choices(args.queries, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        base = args.base or save_qwen2(Path(folder) / "tiny", also_reads=[choice.query for choice in trained])
        config = GenerativeConfig(base, max_tokens=args.max_tokens, seed=args.seed)
        figures = {}
        for order in ORDERS:
            method = Sft(args.learning_rate, args.epochs, explanations=order)
            figures[order] = _measured(
                dataclasses.replace(config, method=method), trained, held_out, Path(folder) / order
            )
            print(order, figures[order], flush=True)
    answers = [choice.answer for choice in held_out]
    about = {
        "base": "tiny, random weights" if args.base is None else Path(args.base).name,
        "trained": len(trained),
        "with_explanation": sum(choice.explanation is not None for choice in trained),
        "held_out": len(held_out),
        "always_none": float(np.mean([answer == 0 for answer in answers])),
    }
    benchmark.write(about | {"select_accuracy": figures}, [], args.output)


def _choices(queries: int | None, seed: int) -> tuple[list[Choice], list[Choice]]:
    trained, held_out = [], []
    for name in TASKS:
        folder = data_folder() / name
        candidates, labels = read_task(folder, TEACHER, unlabelled=False)
        found = choices_of(candidates, labels, seed=seed, explanations=_explanations(folder, candidates))
        texts = sorted({choice.query for choice in found})
        order = [texts[k] for k in np.random.default_rng(seed).permutation(len(texts))[:queries]]
        apart = set(order[: len(order) // 5])
        held_out += [choice for choice in found if choice.query in apart]
        trained += [choice for choice in found if choice.query in set(order) - apart]
    return trained, held_out


def _explanations(folder: Path, candidates: Candidates) -> dict[int, Explanation]:
    """What the teacher said of its answers, by query, with the order in which it saw the candidates."""
    assert candidates.right is not None
    answers = read_answers(folder / "teachers" / f"{next(iter(TEACHER))}.jsonl.gz")
    left, right = _rows(candidates.left.ids), _rows(candidates.right.ids)
    found = {}
    for entry in read_jsonl(folder / "train_tuples.jsonl.gz"):
        answer = answers.get(str(entry["query_id"]))
        if answer is None or not answer.answered or not answer.explanation:
            continue
        rows = [right[str(candidate)] for candidate in entry["candidate_ids"]]
        # pandas.Series(rows).sample(frac=1, random_state=...) draws from numpy's legacy generator
        shown = tuple(rows[k] for k in np.random.RandomState(PROMPT_SEED).permutation(len(rows)))
        said = NO_CANDIDATE if answer.answer_id is None else right[answer.answer_id]
        found[left[str(entry["query_id"])]] = Explanation(answer.explanation, said, shown)
    return found


def _rows(ids: np.ndarray) -> dict[str, int]:
    return {str(value): row for row, value in enumerate(ids.tolist())}


def _measured(
    config: GenerativeConfig, trained: Sequence[Choice], held_out: Sequence[Choice], folder: Path
) -> dict[str, float | None]:
    """SELECT accuracy of a student trained so, against the teacher's held-out labels."""
    learner = load_learner(config, fit_generative(trained, config, folder))
    right = np.array([choice.answer for choice in held_out])
    measured: dict[str, Any] = {"at_once": _share(learner.option_logits(held_out), right), "after_saying_why": None}
    if isinstance(config.method, Sft) and config.method.explanations == "before":
        spoken = np.stack([_after_why(learner, choice, config.method.explanation_tokens) for choice in held_out])
        measured["after_saying_why"] = _share(spoken, right)
    return measured


def _share(logits: np.ndarray, right: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == right).mean())


def _after_why(learner: Learner, choice: Choice, max_tokens: int) -> np.ndarray:
    """The options' logits once the model has said why, or as much of it as `max_tokens` allow."""
    student = learner.student
    prompt = prompt_text(student.tokenizer, choice.query, choice.candidates, student.frame).removesuffix(ANSWER)
    ids = torch.tensor([student.tokenizer.encode(prompt, add_special_tokens=False).ids], device=student.model.device)
    said = student.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=max_tokens,
        pad_token_id=learner.tokenizer.eos_token_id,
        stop_strings=[ANSWER],
        tokenizer=learner.tokenizer,
    )[0, ids.shape[1] :]
    why = learner.tokenizer.decode(said, skip_special_tokens=True).partition(ANSWER)[0].strip()
    whole = student.tokenizer.encode(f"{prompt}{why}\n{ANSWER}", add_special_tokens=False).ids
    asked = torch.tensor([whole], device=student.model.device)
    with torch.inference_mode():
        logits = last_logits(student.model, asked, torch.ones_like(asked))[0].float().cpu().numpy()
    options: np.ndarray = logits[list(student.options)]
    return np.where(np.arange(len(options)) <= len(choice.candidates), options, -np.inf)


if __name__ == "__main__":
    main()
