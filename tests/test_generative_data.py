"""Candidate lists as choices, explanations put into their order, settings, and when a model has stopped choosing."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from er_distill.errors import InputError, MissingExtraError
from er_distill.pairs import Pairs
from er_distill.records import Records
from er_distill.selecting import MAX_OPTIONS, option_ids
from er_distill.training.generative.config import Dpo, GenerativeConfig, Grpo, Reward, Sft
from er_distill.training.generative.data import (
    NO_CANDIDATE,
    Choice,
    Explanation,
    check_choices,
    choices_of,
    renumber,
    shortened,
)
from er_distill.training.labels import Candidates, Labels


def task(votes: list[list[float]]) -> tuple[Candidates, Labels]:
    """Query k has the votes `votes[k]` on its candidates, which no other query shares."""
    sizes = [len(row) for row in votes]
    n = sum(sizes)
    left = Records.from_frame(
        pa.table({"id": list(range(len(votes))), "name": [f"query {k}" for k in range(len(votes))]}), name="l"
    )
    right = Records.from_frame(pa.table({"id": list(range(n)), "name": [f"candidate {k}" for k in range(n)]}), name="r")
    pairs = Pairs(np.repeat(np.arange(len(votes)), sizes), np.arange(n), len(votes), n)
    return Candidates("shop", left, right, pairs), Labels(np.concatenate(votes).astype(np.float32), ())


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0, 0.5, 0.3, float("nan")]), min_size=1, max_size=25), min_size=1),
    st.integers(0, 9),
)
def test_every_right_candidate_is_asked_for_once(votes: list[list[float]], seed: int) -> None:
    candidates, labels = task(votes)
    target = labels.target
    if not (~np.isnan(target)).any():
        return
    try:
        found = choices_of(candidates, labels, seed=seed)
    except InputError:
        found = []
    right = [choice.candidates[choice.answer - 1] for choice in found if choice.answer]
    assert sorted(right) == sorted(f"candidate {k}" for k in np.flatnonzero(target > 0.5))
    for choice in found:
        assert 1 <= len(choice.candidates) <= MAX_OPTIONS
        shown = [int(text.split()[1]) for text in choice.candidates]
        assert len(set(shown)) == len(shown)
        assert not np.isnan(target[shown]).any()
        assert [k for k in shown if target[k] > 0.5] == ([shown[choice.answer - 1]] if choice.answer else [])
        assert sorted((*choice.wrong, choice.answer)) == list(range(len(shown) + 1))


def test_position_tells_nothing_and_the_seed_decides() -> None:
    candidates, labels = task([[0.0, 0.0, 1.0]] * 300)
    found = choices_of(candidates, labels)
    assert np.bincount([choice.answer for choice in found], minlength=4)[1:].min() > 70
    assert found == choices_of(candidates, labels)
    assert found != choices_of(candidates, labels, seed=1)


def test_votes_that_favour_nothing_are_left_out() -> None:
    found = choices_of(*task([[0.5, 0.5], [0.4, 0.0], [0.5, 0.0], [0.0, 0.0]]))
    assert [choice.answer for choice in found] == [0, 0]  # .4 against .6 for none, and nothing against all


def test_of_records_that_read_alike_one_is_shown() -> None:
    left = Records.from_frame(pa.table({"id": [0], "name": ["a"]}), name="left")
    right = Records.from_frame(pa.table({"id": [0, 1, 2], "name": ["a", "a", "b"]}), name="right")
    pairs = Pairs(np.zeros(3, np.int64), np.arange(3), 1, 3)
    (choice,) = choices_of(Candidates("t", left, right, pairs), Labels(np.array([1.0, 0.0, 0.0], np.float32), ()))
    assert sorted(choice.candidates) == ["a", "b"]
    assert choice.candidates[choice.answer - 1] == "a"


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(InputError, match=r"shop has no labelled candidate list"):
        choices_of(*task([[float("nan")]]))
    candidates, labels = task([[1.0]])
    with pytest.raises(InputError, match=r"shop has 1 pairs and 0 labels"):
        choices_of(candidates, dataclasses.replace(labels, target=labels.target[:0]))
    with pytest.raises(InputError, match=r"None of the 2 choices .* has a right candidate"):
        check_choices([Choice("a", ("b",), 0)] * 2)
    with pytest.raises(InputError, match=r"All 2 choices have one candidate"):
        check_choices([Choice("a", ("b",), 1)] * 2)


def test_explanations_follow_the_order_shown() -> None:
    candidates, labels = task([[0.0, 1.0, 0.0], [0.0, 0.0]])
    why = {
        0: Explanation("Candidate [1] has the name; [2], [3] and [9] do not.", 1, shown=(1, 0, 2)),
        1: Explanation("[1] differs, so [0].", NO_CANDIDATE, shown=(4, 3)),
    }
    for seed in range(5):
        matched, unmatched = choices_of(candidates, labels, seed=seed, explanations=why)
        place = {text: str(number) for number, text in enumerate(matched.candidates, start=1)}
        first, second, third = place["candidate 1"], place["candidate 0"], place["candidate 2"]
        assert matched.explanation == f"Candidate ({first}) has the name; ({second}), ({third}) and do not."
        place = {text: str(number) for number, text in enumerate(unmatched.candidates, start=1)}
        assert unmatched.explanation == f"({place['candidate 4']}) differs, so (0)."
    other = {0: Explanation("The year.", 2)}
    assert choices_of(candidates, labels, explanations=other)[0].explanation is None


@pytest.mark.parametrize(
    ("text", "shown", "expected"),
    [
        ("Record [2] fits.", (7, 8), "Record (1) fits."),
        ("Record [2] fits.", None, "Record fits."),
        ("[1, 2] fit", (7, 8), "(2, 1) fit"),
        ("[1] [COL] name", (7, 8), "(2) (COL) name"),
        ("Candidate 2 fits.", (7, 8), None),
        ("as candidate (1) shows", (7, 8), None),
        ("Record 1,200 mAh, model number 12", (7, 8), "Record 1,200 mAh, model number 12"),
    ],
)
def test_renumber(text: str, shown: tuple[int, ...] | None, expected: str | None) -> None:
    assert renumber(text, shown, (8, 7)) == expected


def test_shortened_keeps_whole_sentences() -> None:
    text = "The names agree.  The year is missing. So it is the same."
    assert shortened(text, lambda kept: len(kept) <= 40) == "The names agree. The year is missing."
    assert shortened(text, lambda kept: len(kept) <= 10) == ""


def test_settings_that_cannot_be_used() -> None:
    for wrong in (
        lambda: Sft(epochs=0),
        lambda: Sft(explanations="first"),  # type: ignore[arg-type]
        lambda: Dpo(beta=0),
        lambda: Grpo(group=1),
        lambda: Reward(right=0),
        lambda: Reward(short=-1),
        lambda: GenerativeConfig("base", held_out=1),
        lambda: GenerativeConfig("base", batch=8, batch_at_once=3),
        lambda: GenerativeConfig("base", Grpo(group=8), batch=4),
    ):
        with pytest.raises(InputError):
            wrong()
    assert GenerativeConfig(Path("b"), Grpo()).about()["method"]["Grpo"]["reward"]["right"] == 0.5


def test_without_trl_the_extra_is_named() -> None:
    code = "import sys; sys.modules['trl'] = None; from er_distill.training.generative import trainers; trainers()"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    assert MissingExtraError.__name__ in result.stderr
    assert 'Run: pip install "er-distill[generative,train]"' in result.stderr


@pytest.mark.train
@pytest.mark.needs("peft", "trl")
def test_when_a_model_has_stopped_choosing() -> None:
    from er_distill.training.generative.watch import check_of, collapse

    asked = [Choice("q", ("a", "b"), k % 3) for k in range(30)]
    right = np.eye(3)[[choice.answer for choice in asked]]
    always_none, random = np.eye(3)[[0] * 30], np.random.default_rng(0).normal(size=(30, 3))
    good, bad = check_of(right, asked, 0), check_of(always_none, asked, 5)
    assert (good.accuracy, good.constant) == (1.0, False)
    assert (bad.said, bad.share, bad.constant) == (0, 1.0, True)
    assert 'in step 5 it says "none" to 100%' in str(bad)
    assert collapse([good, bad], 20) is bad
    assert collapse([check_of(random, asked, 0), bad], 20) is None  # it was no better before
    assert collapse([bad] * 5, 10) is None
    assert collapse([bad] * 6, 10) is bad  # for half of the run
    all_none = [Choice("q", ("a", "b"), 0)] * 30
    assert not check_of(always_none, all_none, 0).constant  # which is right


def test_a_tokenizer_without_digits_is_refused() -> None:
    letters = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    with pytest.raises(InputError, match=r"does not read each number after '\[' as a token of its own"):
        option_ids(letters)
