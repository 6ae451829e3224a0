"""What the truth is likely to be where teachers disagree, and how often each teacher errs: estimated without gold.

The error model is that of Dawid & Skene (1979), "Maximum likelihood estimation of observer error-rates using the EM
algorithm", Applied Statistics 28, made for lists. Its classes are not the same from question to question: the truth is
one of a question's own candidates, or none. So a teacher has three rates instead of a confusion matrix: it misses a
match, picks a wrong candidate, or sees a match where there is none.

Teachers do not err on their own: the candidate that misleads one (the next model of the same camera) misleads the next.
With errors spread evenly over the list, two teachers who pick the same candidate would prove it right, since errors
would hardly meet. Therefore each question has, beside its hidden truth, a hidden *lure*: the wrong candidate that wrong
picks fall on, but for a share that strays. What teachers who learned from the same texts get wrong together beyond that
cannot be told from their answers; `weights` lets them count for less.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from er_distill.errors import ErDistillWarning, InputError

Floats = npt.NDArray[np.float64]

MOST_ROUNDS = 5_000
TOLERANCE = 1e-12
"""EM has converged when a round gains less than this, relative to the objective."""

# Made-up answers that stand beside the real ones, (errors, others), so that no rate is 0 or 1 on a few questions. They
# say that a teacher who sees a match rather gets it right, and nothing of what it does where there is none.
_MISS = _WRONG = (1.0, 4.0)
_FALSE_MATCH = (2.0, 2.0)
_NONE = _STRAY = (1.0, 1.0)


@dataclass(frozen=True)
class ErrorRates:
    """How often a teacher errs.

    Attributes
    ----------
    miss : float
        Chance that it says "none" where a candidate matches.
    wrong : float
        Chance that a candidate it picks, where one of several matches, is a wrong one.
    false_match : float
        Chance that it picks a candidate where none matches.
    """

    miss: float
    wrong: float
    false_match: float


@dataclass(frozen=True)
class Agreement:
    """What `estimate` found.

    Attributes
    ----------
    labels : tuple of ndarray of float64, each of shape (k + 1,)
        For each question the probability of each candidate and, last, of none.
    rates : tuple of ErrorRates
        Of each teacher.
    none : float
        Share of the questions that have no match.
    stray : float
        Share of the wrong picks that do not fall on the question's lure.
    objective : tuple of float
        Log-likelihood of the answers plus log-density of the smoothing, after each round of EM; it never falls.
    """

    labels: tuple[Floats, ...]
    rates: tuple[ErrorRates, ...]
    none: float
    stray: float
    objective: tuple[float, ...]


@dataclass(frozen=True)
class _Parameters:
    miss: Floats  # of each teacher, as the next two
    wrong: Floats
    false_match: Floats
    none: float
    stray: float

    def log_density(self) -> float:
        smoothing = (_MISS, _WRONG, _FALSE_MATCH, _NONE, _STRAY)
        return float(
            sum(
                np.sum(errors * np.log(rate) + others * np.log1p(-np.asarray(rate)))
                for rate, (errors, others) in zip(vars(self).values(), smoothing, strict=True)
            )
        )


class _Lists:
    """The questions with lists of one length, `k`.

    A hidden state is a truth and a lure: candidate c and lure d != c, or none and lure d. Where the one candidate of a
    list is the truth there is no lure; the state stands at c = d.
    """

    def __init__(self, rows: list[int], votes: Sequence[Floats], prior: Sequence[Floats] | None, weights: Floats):
        stacked = np.stack([votes[row] for row in rows])
        self.rows, self.k = rows, stacked.shape[2] - 1
        # An abstention takes no side: its votes count nothing in any state.
        weighted = np.nan_to_num(stacked) * weights[:, None]
        self.picked, self.none = weighted[:, :, :-1], weighted[:, :, -1]
        self.picks = self.picked.sum(axis=2)
        shares = np.ones((len(rows), self.k)) if prior is None else np.stack([prior[row] for row in rows])
        self.log_prior = np.log(shares / shares.sum(axis=1, keepdims=True))
        self.log_lure = np.zeros((len(rows), 1, 1))
        if self.k > 1:
            own = np.eye(self.k, dtype=bool)
            rivals = np.where(own, 0.0, shares[:, None, :])
            with np.errstate(divide="ignore"):
                self.log_lure = np.log(rivals / rivals.sum(axis=2, keepdims=True))

    def posterior(self, now: _Parameters) -> tuple[Floats, Floats, float]:
        """Return P(truth c, lure d | votes), P(none, lure d | votes), and the log-likelihood of the votes."""
        picks = np.log1p(-now.miss)
        hit, lured, strayed = picks, np.zeros_like(picks), np.zeros_like(picks)
        if self.k > 1:
            hit, lured = picks + np.log1p(-now.wrong), picks + np.log(now.wrong)
        if self.k > 2:
            strayed = lured + np.log(now.stray / (self.k - 2))
            lured = lured + np.log1p(-now.stray)
        sees, strays = np.log(now.false_match), np.zeros_like(picks)
        if self.k > 1:
            strays = sees + np.log(now.stray / (self.k - 1))
            sees = sees + np.log1p(-now.stray)
        a_match = (
            (np.log1p(-now.none) + self.none @ np.log(now.miss) + self.picks @ strayed)[:, None, None]
            + (self.log_prior + self._of_candidates(hit - strayed))[:, :, None]
            + (self.log_lure + self._of_candidates(lured - strayed)[:, None, :])
        )
        no_match = (
            (np.log(now.none) + self.none @ np.log1p(-now.false_match) + self.picks @ strays)[:, None]
            + self.log_prior
            + self._of_candidates(sees - strays)
        )
        joint = np.concatenate([a_match.reshape(len(a_match), -1), no_match], axis=1)
        highest = joint.max(axis=1, keepdims=True)
        shares = np.exp(joint - highest)
        total = shares.sum(axis=1, keepdims=True)
        shares /= total
        return shares[:, : -self.k].reshape(a_match.shape), shares[:, -self.k :], float(np.sum(np.log(total) + highest))

    def _of_candidates(self, logs: Floats) -> Floats:
        return np.einsum("njc,j->nc", self.picked, logs)

    def counts(self, a_match: Floats, no_match: Floats) -> list[tuple[Floats, Floats]]:
        """Expected (errors, chances to err), in the order of `_Parameters`."""
        matched, unmatched = a_match.sum(axis=(1, 2)), no_match.sum(axis=1)
        picks = matched @ self.picks
        hits = np.einsum("njc,nc->j", self.picked, a_match.sum(axis=2))
        on_lure = np.einsum("njc,nc->j", self.picked, a_match.sum(axis=1))
        seen = unmatched @ self.picks
        on_lure_of_none = np.einsum("njc,nc->j", self.picked, no_match)
        nothing = np.zeros_like(picks)
        several, many = self.k > 1, self.k > 2
        # Where the lure is the only wrong candidate no pick can stray from it.
        can_stray = (np.sum(picks - hits) if many else 0.0) + (np.sum(seen) if several else 0.0)
        strayed = (np.sum(picks - hits - on_lure) if many else 0.0) + (
            np.sum(seen - on_lure_of_none) if several else 0.0
        )
        return [
            (matched @ self.none, matched @ self.none + picks),
            (picks - hits, picks) if several else (nothing, nothing),
            (seen, seen + unmatched @ self.none),
            (unmatched.sum(), np.asarray(float(len(unmatched)))),
            (np.asarray(strayed), np.asarray(can_stray)),
        ]


def estimate(
    votes: Sequence[npt.ArrayLike],
    *,
    prior: Sequence[npt.ArrayLike] | None = None,
    weights: npt.ArrayLike | None = None,
) -> Agreement:
    """Estimate the truth of each question and the error rates of each teacher from the answers alone, by EM.

    Parameters
    ----------
    votes : sequence of array_like, each of shape (n_teachers, k + 1)
        For each question what each teacher said: a probability of each candidate and, last, of none; a row of NaN where
        it abstained. k differs from question to question. A probability counts as that share of an answer.
    prior : sequence of array_like, each of shape (k,), optional
        How plausible each candidate is before anyone is asked, on any scale above 0 (similarity, a student's
        probability); it also says which candidate is likely to mislead. By default all are alike.
    weights : array_like of shape (n_teachers,), optional
        What an answer of each teacher is worth, by default 1: 0.5 each for two models that err as one.

    Returns
    -------
    Agreement
        The same whatever the order of questions, teachers and candidates.

    Raises
    ------
    InputError
        When there is no question, or a list, a prior or the weights do not fit.
    """
    given = _checked_votes(votes)
    n_teachers = given[0].shape[0]
    worth = _checked_weights(weights, n_teachers)
    known = None if prior is None else _checked_prior(prior, given)
    by_length: dict[int, list[int]] = {}
    for row, answers in enumerate(given):
        by_length.setdefault(answers.shape[1], []).append(row)
    groups = [_Lists(rows, given, known, worth) for _, rows in sorted(by_length.items())]

    each = np.ones(n_teachers)
    now = _Parameters(0.1 * each, 0.1 * each, 0.3 * each, 0.3, 0.3)  # better than chance: what EM climbs from
    objective: list[float] = []
    for _ in range(MOST_ROUNDS):
        posteriors = [group.posterior(now) for group in groups]
        objective.append(sum(likelihood for *_, likelihood in posteriors) + now.log_density())
        if len(objective) > 1 and objective[-1] - objective[-2] < TOLERANCE * abs(objective[-1]):
            break
        counts = [group.counts(*shares) for group, (*shares, _) in zip(groups, posteriors, strict=True)]
        now = _maximised(counts)
    else:
        warnings.warn(
            f"The teachers' error rates have not settled in {MOST_ROUNDS} rounds. Ask more questions or teachers.",
            ErDistillWarning,
            stacklevel=2,
        )
    labels: list[Floats] = [np.empty(0)] * len(given)
    for group, (a_match, no_match, _) in zip(groups, posteriors, strict=True):
        found = np.column_stack([a_match.sum(axis=2), no_match.sum(axis=1)])
        for row, label in zip(group.rows, found, strict=True):
            labels[row] = label / label.sum()
    rates = zip(now.miss.tolist(), now.wrong.tolist(), now.false_match.tolist(), strict=True)
    return Agreement(tuple(labels), tuple(ErrorRates(*one) for one in rates), now.none, now.stray, tuple(objective))


def _maximised(counts: Sequence[list[tuple[Floats, Floats]]]) -> _Parameters:
    """The rates that make the expected counts, and the made-up ones, most likely."""
    smoothing = (_MISS, _WRONG, _FALSE_MATCH, _NONE, _STRAY)
    rates = []
    for parts, (errors, others) in zip(zip(*counts, strict=True), smoothing, strict=True):
        rates.append((sum(part[0] for part in parts) + errors) / (sum(part[1] for part in parts) + errors + others))
    miss, wrong, false_match, none, stray = rates
    return _Parameters(miss, wrong, false_match, float(none), float(stray))


def _checked_votes(votes: Sequence[npt.ArrayLike]) -> list[Floats]:
    given = [np.asarray(answers, dtype=np.float64) for answers in votes]
    if not given:
        raise InputError("votes holds no question. Ask the teachers first.")
    for row, answers in enumerate(given):
        if answers.ndim != 2 or answers.shape[1] < 2 or answers.shape[0] != given[0].shape[0]:
            raise InputError(
                f"votes[{row}] has the shape {answers.shape}. Give one row a teacher, with one column a candidate and "
                "a last one for none."
            )
        said = answers[~np.isnan(answers).all(axis=1)]
        if not (said >= 0).all() or not np.allclose(said.sum(axis=1), 1.0, atol=1e-6):
            raise InputError(f"votes[{row}] holds a row that is no probability. Let it sum to 1, or be NaN throughout.")
    return given


def _checked_weights(weights: npt.ArrayLike | None, n_teachers: int) -> Floats:
    if weights is None:
        return np.ones(n_teachers)
    worth = np.asarray(weights, dtype=np.float64)
    if worth.shape != (n_teachers,) or not (np.isfinite(worth) & (worth > 0)).all():
        raise InputError(f"weights must be {n_teachers} numbers above 0, one a teacher.")
    return worth


def _checked_prior(prior: Sequence[npt.ArrayLike], votes: Sequence[Floats]) -> list[Floats]:
    known = [np.asarray(shares, dtype=np.float64) for shares in prior]
    if len(known) != len(votes):
        raise InputError(f"prior is of {len(known)} questions, votes of {len(votes)}. Give one of each a question.")
    for row, (shares, answers) in enumerate(zip(known, votes, strict=True)):
        if shares.shape != (answers.shape[1] - 1,) or not (np.isfinite(shares) & (shares > 0)).all():
            raise InputError(f"prior[{row}] must be {answers.shape[1] - 1} numbers above 0, one a candidate.")
    return known
