"""Choosing between students without gold: one number in [0, 1], the higher the better.

Whoever chooses a weight, a threshold or a method by how well it repeats a teacher's answers rewards what imitates the
teacher's mistakes. The criterion asks three things instead, and takes their geometric mean, so that a student that
fails at one cannot make up for it:

truth
    Expected F1 of the decisions on labelled pairs, out of fold, against the *likely* truth (`likely_truth`) instead of
    the labels.
consistency
    Unlabelled pairs, before one-to-one: of tables without duplicates no record has two matches, so each claim beyond
    one is a mistake that no label is needed to see. F1 between the raw claims and those that one-to-one keeps.
stability
    Unlabelled pairs: F1 between the decisions of fits to different parts of the labels, mean over the pairs of fits. A
    teacher's single mistakes, once learned, move decisions where they are left out.

The likely truth. A teacher's answer is evidence, worth what its error rates say; its prior is a *reference* student,
the same for all configurations that are compared, which has not seen the label in question. Rates and truth are found
together by EM, as in Raykar et al. (2010), "Learning from crowds", JMLR 11, for answers that name one of a list or
none. One teacher suffices: where `er_distill.training.agreement` needs three who contradict each other, here the
reference contradicts. Lastly no record matches two queries (`er_distill.training.exclusion`): a pick is doubted where
another query, labelled or not, has the better claim to the candidate.

What it cannot see: a mistake that the teachers, the reference and the structure of the tables all share.

What it is worth. It tells a good student from a bad one, not the best from the good. Its rank correlation with true F1
is .85 and .83 in two worlds of generated tables (`benchmarks.criterion_synthetic`) and .61 over 59 configurations of
the DistillER benchmark, .38 over 40 more that are within .02 of each other (``docs/benchmark.md``). For a while it was
agreement with the teachers times agreement with the reference on unlabelled pairs: .84, .95, and -.50 over those 40,
though frozen before it was computed there. This definition was taken back on all these figures, so its own are no
untouched test. Of two students within .02 of F1 it prefers the worse nearly as often as the better: where values are
close take the simpler one, and where it matters have a few hundred queries labelled by hand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from er_distill import matching
from er_distill.errors import InputError
from er_distill.pairs import Pairs
from er_distill.training.exclusion import at_most_one, exclusive

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

MOST_ROUNDS = 200
_TOLERANCE = 1e-6  # of the rates, for EM to end
_FIRST = (0.1, 0.1, 0.3)  # chance to miss, to pick a wrong candidate, to see a match where there is none
# Made-up answers (errors, others) beside the real ones, so that no rate is 0 or 1 on a few questions.
_MADE_UP = ((1.0, 4.0), (1.0, 4.0), (2.0, 2.0))


@dataclass(frozen=True)
class Criterion:
    """How good a student is likely to be.

    Attributes
    ----------
    value : float
        Geometric mean of the parts, in [0, 1].
    truth, stability : float
    consistency : float or None
        None where a record may have several matches.
    """

    value: float
    truth: float
    consistency: float | None
    stability: float


def likely_truth(pairs: Pairs, votes: npt.ArrayLike, reference: npt.ArrayLike, *, one_to_one: bool = True) -> Floats:
    """Estimate which labelled pairs are matches, from the teachers' answers, a reference student, and one-to-one.

    Parameters
    ----------
    pairs : Pairs
        All candidate pairs, labelled or not, each once. A left record is a query; its pairs are its list.
    votes : array_like of shape (n_teachers, m)
        The share of each teacher's answer that calls the pair the match, at most 1 a query; NaN on the pairs of a query
        that it did not answer. One teacher suffices.
    reference : array_like of shape (m,)
        Match probability by a student that has not seen the label of the pair, such as cross-fitted trees.
    one_to_one : bool
        Whether no record of either table has two matches.

    Returns
    -------
    ndarray of float64, shape (m,)
        Probability of a match; NaN for a pair of a query that no teacher answered.

    Raises
    ------
    InputError
        When an array does not fit the pairs, holds no probabilities, or holds no answer.
    """
    said = np.asarray(votes, dtype=np.float64)
    if said.ndim != 2 or said.shape[1] != len(pairs):
        raise InputError(f"votes has the shape {said.shape}. Give one row a teacher, one column for each pair.")
    chance = _probabilities("reference", reference, len(pairs))
    _, lists = _lists(pairs)
    questions = [rows for rows in lists if not np.isnan(said[:, rows]).all()]
    if not questions:
        raise InputError("votes holds no answer. Ask a teacher first.")
    priors = [at_most_one(chance[rows]) for rows in questions]
    answers = [_with_none(said[:, rows]) for rows in questions]
    labels = _weighed(priors, answers)
    if one_to_one:
        silent = [rows for rows in lists if np.isnan(said[:, rows]).all()]
        everything = [*labels, *(at_most_one(chance[rows]) for rows in silent)]
        labels = exclusive(everything, [pairs.right[rows].tolist() for rows in [*questions, *silent]])[: len(labels)]
    likely = np.full(len(pairs), np.nan)
    for rows, label in zip(questions, labels, strict=True):
        likely[rows] = label[:-1]
    return likely


def judge(
    pairs: Pairs,
    likely: npt.ArrayLike,
    scores: npt.ArrayLike,
    matched: npt.ArrayLike,
    refits: npt.ArrayLike,
    *,
    threshold: float = matching.DEFAULT_THRESHOLD,
    one_to_one: bool = True,
) -> Criterion:
    """Judge a student of one task without gold; see the module for what is counted.

    Parameters
    ----------
    pairs : Pairs
        All candidate pairs, labelled or not, each once.
    likely : array_like of shape (m,)
        What `likely_truth` returns; NaN marks the unlabelled pairs.
    scores : array_like of shape (m,)
        The student's probabilities; of a labelled pair by a fit that has not seen the labels of its query.
    matched : array_like of bool, shape (m,)
        Its decisions, by whatever rule it serves.
    refits : array_like of bool, shape (n_fits, m)
        Decisions of at least two fits to different parts of the labels, by the same rule. Only those on unlabelled
        pairs count.
    threshold : float
        From which a score is a claim.
    one_to_one : bool
        Whether no record has two matches. Without it there is no consistency.

    Returns
    -------
    Criterion

    Raises
    ------
    InputError
        When an array does not fit the pairs, or there is no labelled or no unlabelled pair.
    """
    truth = np.asarray(likely, dtype=np.float64)
    values = _probabilities("scores", scores, len(pairs))
    decided, others = np.asarray(matched, dtype=np.bool_), np.asarray(refits, dtype=np.bool_)
    for name, array, shape in (
        ("likely", truth, (len(pairs),)),
        ("matched", decided, (len(pairs),)),
        ("refits", others, (len(others), len(pairs))),
    ):
        if array.shape != shape:
            raise InputError(f"{name} has the shape {array.shape}, not {shape}. Give one value for each pair.")
    if len(others) < 2:
        raise InputError("refits holds fewer than two fits. Fit the student to two parts of the labels at least.")
    known = ~np.isnan(truth)
    if known.all() or not known.any():
        kind = "unlabelled" if known.all() else "labelled"
        raise InputError(f"there is no {kind} pair: the criterion needs both kinds. Bring the others as well.")
    on_labels = _f1(float(truth[known & decided].sum()), float(decided[known].sum()), float(truth[known].sum()))
    left, right, free = pairs.left[~known], pairs.right[~known], values[~known]
    consistency = None
    if one_to_one:
        claims = int(matching.threshold(free, threshold).sum())
        kept = int(matching.one_to_one(left, right, free, threshold, one_table=pairs.one_table).sum())
        consistency = _f1(kept, kept, claims)
    stability = float(
        np.mean(
            [
                _f1(int((a & b).sum()), int(a.sum()), int(b.sum()))
                for a, b in itertools.combinations(others[:, ~known], 2)
            ]
        )
    )
    parts = [part for part in (on_labels, consistency, stability) if part is not None]
    return Criterion(math.prod(parts) ** (1 / len(parts)), on_labels, consistency, stability)


def exclusive_pairs(pairs: Pairs, chance: Floats) -> Floats:
    """Turn probabilities of pairs, each judged as if alone, into those given that no record has two matches."""
    order, lists = _lists(pairs)
    found = exclusive([at_most_one(chance[rows]) for rows in lists], [pairs.right[rows].tolist() for rows in lists])
    result = np.empty_like(chance)
    result[order] = np.concatenate([one[:-1] for one in found])
    return result


def _lists(pairs: Pairs) -> tuple[npt.NDArray[np.int64], list[npt.NDArray[np.int64]]]:
    """The pairs' rows by query, all together and a list each."""
    order = np.lexsort((pairs.right, pairs.left))
    return order, np.split(order, np.flatnonzero(np.diff(pairs.left[order], prepend=-1))[1:])


def _with_none(votes: Floats) -> Floats:
    """A row a teacher that answered: its votes, and what is left for none."""
    spoken = votes[~np.isnan(votes).any(axis=1)]
    none = 1.0 - spoken.sum(axis=1, keepdims=True)
    if (spoken < 0).any() or (none < -1e-6).any():
        raise InputError("votes must be 0 or more, and at most 1 together for a query. Check the labels.")
    full = np.full((len(votes), votes.shape[1] + 1), np.nan)
    full[~np.isnan(votes).any(axis=1)] = np.hstack([spoken, np.maximum(none, 0.0)])
    return full


def _weighed(priors: Sequence[Floats], answers: Sequence[Floats]) -> list[Floats]:
    """Each question's posterior, of its candidates and of none, with the teachers' rates found by EM.

    Wrong picks are taken to fall all on one candidate. Teachers err alike, so that two who pick the same one are no
    more evidence than their rates say.
    """
    n_teachers = len(answers[0])
    rates = np.tile(_FIRST, (n_teachers, 1))
    spoken = np.array([~np.isnan(answer[:, 0]) for answer in answers])
    given = [np.nan_to_num(answer) for answer in answers]
    errors, others = np.array(_MADE_UP).T
    for _ in range(MOST_ROUNDS):
        miss, wrong, false = rates.T
        sees, hits, errs = np.log1p(-miss), np.log1p(-miss) + np.log1p(-wrong), np.log1p(-miss) + np.log(wrong)
        labels, wrongly, chances = [], np.zeros((n_teachers, 3)), np.zeros((n_teachers, 3))
        for prior, answer, here in zip(priors, given, spoken, strict=True):
            picks, none = answer[:, :-1], answer[:, -1]
            several = len(prior) > 2
            of_match = (hits - errs) @ picks + errs @ picks.sum(axis=1) if several else sees @ picks
            logs = np.append(
                of_match + np.log(miss) @ none, np.log(false) @ picks.sum(axis=1) + np.log1p(-false) @ (none * here)
            ) + np.log(prior)
            label = np.exp(logs - logs.max())
            label /= label.sum()
            labels.append(label)
            matched, unmatched = 1.0 - label[-1], label[-1]
            picked = picks.sum(axis=1)
            wrongly += np.column_stack(
                [matched * none, (matched * picked - picks @ label[:-1]) * several, unmatched * picked]
            )
            chances += np.column_stack([matched * here, matched * picked * several, unmatched * here])
        before, rates = rates, (wrongly + errors) / (chances + errors + others)
        if np.abs(rates - before).max() < _TOLERANCE:
            break
    return labels


def _f1(both: float, one: float, other: float) -> float:
    """F1 between two sets, from their sizes and that of what they share; 1 where both are empty."""
    return 2.0 * both / (one + other) if one + other else 1.0


def _probabilities(name: str, values: npt.ArrayLike, n_pairs: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (n_pairs,) or not ((array >= 0.0) & (array <= 1.0)).all():
        raise InputError(f"{name} must be {n_pairs} probabilities in [0, 1], one for each pair. Check the scores.")
    return array
