"""Choosing between students without gold: one number in [0, 1], the higher the better.

Whoever chooses a weight, a threshold or a method by how well it repeats a teacher's answers rewards what imitates the
teacher's mistakes, and sees nothing of the pairs that nobody labelled. The criterion asks two judges who err in
different ways, and takes the geometric mean, so that a student that fails with one cannot make up for it:

agreement
    Labelled pairs: expected F1 of the decisions, out of fold, against the teachers' votes, as shares.
second view
    Unlabelled pairs: expected F1 of the decisions against the probabilities of a *reference* student, the same for all
    that are compared, given that no record has two matches (`er_distill.training.exclusion`). It is to see less than
    the students do, such as small trees on a few similarities: too little to learn a teacher's single mistakes.

This is the second definition. The first was the geometric mean of an expected F1 against the likely truth, of the
consistency of raw claims with one-to-one, and of the agreement between fits to parts of the labels. The second was
found on generated tables, where the truth is known, with simulated teachers (`benchmarks.criterion_synthetic`): there
it ranks students far better, and better than any other mean of up to three parts that was tried. Among good students of
the DistillER benchmark it does not (``docs/benchmark.md``): do not choose by it for the last hundredth of F1.

What it cannot see: a mistake that the teachers and the reference share.

`likely_truth` tells which labels to believe. A teacher's answer is evidence, worth what its error rates say; its prior
is a reference student which has not seen the label in question. Rates and truth are found
together by EM, as in Raykar et al. (2010), "Learning from crowds", JMLR 11, for answers that name one of a list or
none. One teacher suffices: where `er_distill.training.agreement` needs three who contradict each other, here the
reference contradicts. Lastly no record matches two queries: a pick is doubted where another query, labelled or not, has
the better claim to the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    agreement, second_view : float
    """

    value: float
    agreement: float
    second_view: float


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
    pairs: Pairs, votes: npt.ArrayLike, reference: npt.ArrayLike, matched: npt.ArrayLike, *, one_to_one: bool = True
) -> Criterion:
    """Judge a student of one task without gold; see the module for what is counted.

    Parameters
    ----------
    pairs : Pairs
        All candidate pairs, labelled or not, each once. A left record is a query; its pairs are its list.
    votes : array_like of shape (m,)
        The share of the teachers' answers that call the pair the match; NaN marks the unlabelled pairs.
    reference : array_like of shape (m,)
        Match probability by the reference student.
    matched : array_like of bool, shape (m,)
        The student's decisions, by whatever rule it serves; of a labelled pair by a fit that has not seen the labels of
        its query.
    one_to_one : bool
        Whether no record has two matches.

    Returns
    -------
    Criterion

    Raises
    ------
    InputError
        When an array does not fit the pairs or holds no probabilities, or there is no labelled or no unlabelled pair.
    """
    said, decided = np.asarray(votes, dtype=np.float64), np.asarray(matched, dtype=np.bool_)
    chance = _probabilities("reference", reference, len(pairs))
    for name, array in (("votes", said), ("matched", decided)):
        if array.shape != (len(pairs),):
            raise InputError(f"{name} has the shape {array.shape}, not {(len(pairs),)}. Give one value for each pair.")
    known = ~np.isnan(said)
    _probabilities("votes", said[known], int(known.sum()))
    if known.all() or not known.any():
        kind = "unlabelled" if known.all() else "labelled"
        raise InputError(f"there is no {kind} pair: the criterion needs both kinds. Bring the others as well.")
    if one_to_one:
        chance = exclusive_pairs(pairs, chance)
    parts = [
        _f1(float(target[decided[rows]].sum()), float(decided[rows].sum()), float(target.sum()))
        for rows, target in ((known, said[known]), (~known, chance[~known]))
    ]
    return Criterion(math.sqrt(math.prod(parts)), *parts)


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
