"""Which questions to ask a teacher, when not all can be paid for. No method reads a true match.

A question is a query record with its candidate list. The first five methods are those of DistillER (Zeakis et al. 2026,
arXiv 2602.05452), which see only the similarities that blocking found; `uncertainty` and `information` ask the present
student what it does not know, and so need a round of labels before them. ``docs/selection.md`` compares them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from er_distill import lexical
from er_distill.errors import InputError, did_you_mean
from er_distill.training import missing_extra
from er_distill.training.exclusion import at_most_one
from er_distill.training.information import Belief, entropy
from er_distill.training.labels import Candidates
from er_distill.training.purse import Budget, Purse
from er_distill.training.teachers.base import Answer, Question, questions_of
from er_distill.vectors import vectorise

METHODS = (
    "random",
    "blocking_max",
    "blocking_top2",
    "clustering_kmeans",
    "clustering_hierarchical",
    "uncertainty",
    "information",
)
NEED_A_STUDENT = ("uncertainty", "information")
"""The methods that read the present student's probabilities."""

ACCURACY = 0.8
"""A teacher's share of right answers where nobody says; published ones reach .72 to .84."""

_CHUNK = 100_000  # pairs compared at a time
_MOST_HIERARCHICAL = 20_000  # lists; the distances of all pairs of lists take 8 bytes each, half of them
_SHORTLIST = 3  # times the questions wanted: among so many of the most uncertain ones diversity may choose
_GROUPS = 10  # kinds of lists that `uncertainty` takes turns between


@dataclass(frozen=True)
class _Pool:
    """The lists to choose from: `similarity[k]` and `probability[k]` are of the candidates of ``questions[k]``."""

    questions: list[Question]
    similarity: list[np.ndarray]
    probability: list[np.ndarray] | None
    is_open: np.ndarray  # not answered yet
    budget: Budget
    bins: int
    seed: int

    @property
    def open_questions(self) -> np.ndarray:
        return np.flatnonzero(self.is_open)

    def histograms(self, rows: np.ndarray) -> np.ndarray:
        """Counts of each list's similarities in equal bins of [0, 1]: what a list looks like, shape (rows, bins)."""
        edges = np.linspace(0, 1, self.bins + 1)
        return np.array([np.histogram(self.similarity[row], edges)[0] for row in rows], dtype=np.float64)


def select(
    candidates: Candidates,
    n: int | None = None,
    *,
    method: str = "blocking_max",
    seed: int = 0,
    similarity: np.ndarray | None = None,
    probability: np.ndarray | None = None,
    answered: Mapping[Question, Answer] | None = None,
    money: float | None = None,
    costs: np.ndarray | None = None,
    positives: float = 0.75,
    bins: int = 10,
    accuracy: float = ACCURACY,
) -> list[Question]:
    """Choose the questions that are worth asking.

    Parameters
    ----------
    candidates : Candidates
        The lists of all their queries are the pool.
    n : int, optional
        Most questions. Default: as many as the money allows.
    method : str
        One of :data:`METHODS`.
    seed : int
        Of everything random: the same seed gives the same questions.
    similarity : ndarray of float in [0, 1], shape (m,), optional
        Blocking similarity of each pair. Default: :func:`blocking_similarity`.
    probability : ndarray of float in [0, 1], shape (m,), optional
        The present student's match probability of each pair; for the methods of :data:`NEED_A_STUDENT`.
    answered : mapping of Question to Answer, optional
        What is known already. It is not asked again (abstentions neither), and `information` learns from it.
    money : float, optional
        Most money, in the unit of `costs`. A question that no longer fits is passed over for a cheaper one.
    costs : ndarray of float, shape (n_questions,), optional
        What each question will cost, in the order of :func:`~er_distill.training.teachers.base.questions_of`.
    positives : float
        Share of the budget for the lists that look like holding a match (methods ``blocking_*`` and ``clustering_*``).
    bins : int
        Of the histograms of similarities that describe a list (``clustering_*`` and ``uncertainty``).
    accuracy : float
        The teacher's share of right answers, for ``information``.

    Returns
    -------
    list of Question
        In the order to ask: also a part of them from the front is a sensible choice.

    Raises
    ------
    InputError
        When an argument has no meaning, or the method needs one that is missing.
    MissingExtraError
        When the method clusters and scikit-learn is not installed.
    """
    if method not in METHODS:
        raise InputError(f"select: method {method!r} is unknown. {did_you_mean(method, METHODS)}")
    if method in NEED_A_STUDENT and probability is None:
        raise InputError(
            f"select: {method!r} needs the match probabilities of a student, of every pair of {candidates.name}. Score "
            "the pairs first, or begin with another method."
        )
    if not 0 <= positives <= 1 or bins < 1:
        raise InputError(f"select: positives must lie in [0, 1] and bins be at least 1, not {positives:g} and {bins}.")
    questions = questions_of(candidates)
    known = answered or {}
    if similarity is None and method not in ("random", "information"):
        similarity = blocking_similarity(candidates)
    pool = _Pool(
        questions,
        [] if similarity is None else _by_list(similarity, candidates, "similarity"),
        None if probability is None else _by_list(probability, candidates, "probability"),
        np.array([question not in known for question in questions], dtype=bool),
        _budget(len(questions), n, money, costs),
        bins,
        seed,
    )
    if not pool.is_open.any():
        return []
    if method == "information":
        chosen = _information(pool, known, accuracy, one_to_one=not candidates.pairs.one_table)
    elif method == "uncertainty":
        chosen = _uncertainty(pool)
    elif method == "random":
        chosen = _affordable(_shuffled(pool.open_questions, pool.seed), pool.budget.purse())
    else:
        chosen = _split(*_likely_and_unlikely(pool, method), pool.budget, positives)
    return [questions[position] for position in chosen]


def blocking_similarity(candidates: Candidates) -> np.ndarray:
    """Cosine of the character trigrams, weighted by idf: what default blocking ranks by.

    Returns
    -------
    ndarray of float32, shape (m,)
        Of each pair, in [0, 1].
    """
    pairs, column = candidates.pairs, lexical.SIMILARITIES.index("gram_cosine")
    compare = lexical.Similarity(vectorise(candidates.left, candidates.right))
    rows = [slice(begin, begin + _CHUNK) for begin in range(0, len(pairs), _CHUNK)]
    return np.clip(np.concatenate([compare(pairs.left[part], pairs.right[part])[:, column] for part in rows]), 0, 1)


def _by_list(values: np.ndarray, candidates: Candidates, what: str) -> list[np.ndarray]:
    """One value a pair -> those of each question's candidates, in their order."""
    pairs = candidates.pairs
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(pairs),) or not ((values >= 0) & (values <= 1)).all():
        raise InputError(
            f"select: {what} must be one number in [0, 1] for each of the {len(pairs)} pairs of {candidates.name}; "
            f"its shape is {values.shape}, or it has values outside."
        )
    order = np.lexsort((pairs.right, pairs.left))
    starts = np.flatnonzero(np.diff(pairs.left[order])) + 1
    return np.split(values[order], starts)


def _budget(n_questions: int, n: int | None, money: float | None, costs: np.ndarray | None) -> Budget:
    if n is not None and n < 0:
        raise InputError(f"select: n must not be negative; it is {n}.")
    if money is not None and (costs is None or not money >= 0):
        raise InputError("select: a budget in money must not be negative, and needs the cost of each question (costs).")
    prices = np.zeros(n_questions) if costs is None else np.asarray(costs, dtype=np.float64)
    if prices.shape != (n_questions,) or not (np.isfinite(prices) & (prices >= 0)).all():
        raise InputError(f"select: costs must be one number for each of the {n_questions} questions, none negative.")
    return Budget(n_questions if n is None else n, np.inf if money is None else money, prices)


def _affordable(order: Iterable[int], purse: Purse) -> list[int]:
    """Those of `order` that the purse pays for, one after the other."""
    return [question for question in order if purse.take(question)]


def _shuffled(positions: np.ndarray, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(positions).tolist()


def _likely_and_unlikely(pool: _Pool, method: str) -> tuple[list[int], list[int]]:
    """Lists that look like holding a match, and those that do not, each in the order to take them."""
    rows = pool.open_questions
    if method.startswith("blocking"):
        best = 1 if method == "blocking_max" else 2
        value = np.array([np.sort(pool.similarity[row])[-best:].mean() for row in rows])
        return rows[np.argsort(-value, kind="stable")].tolist(), rows[np.argsort(value, kind="stable")].tolist()
    group = _two_groups(pool.histograms(rows), method, pool.seed)
    highest = np.array([pool.similarity[row].max() for row in rows])
    likely = group == max(np.unique(group), key=lambda one: highest[group == one].mean())
    return _shuffled(rows[likely], pool.seed), _shuffled(rows[~likely], pool.seed)


def _two_groups(described: np.ndarray, method: str, seed: int) -> np.ndarray:
    if method == "clustering_kmeans":
        return _groups(described, 2, seed)
    if len(np.unique(described, axis=0)) < 2:
        return np.zeros(len(described), dtype=np.int64)
    if len(described) > _MOST_HIERARCHICAL:
        raise InputError(
            f"select: 'clustering_hierarchical' compares all lists with each other, and {len(described):,} are more "
            f"than {_MOST_HIERARCHICAL:,}. Use 'clustering_kmeans'."
        )
    try:
        from sklearn.cluster import AgglomerativeClustering
    except ImportError as error:
        raise missing_extra(error) from error
    return AgglomerativeClustering(n_clusters=2).fit_predict(described)  # Ward's linkage


def _groups(described: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Up to `most` groups by k-means; fewer where there are not so many different lists."""
    try:
        from sklearn.cluster import KMeans
        from threadpoolctl import threadpool_limits
    except ImportError as error:
        raise missing_extra(error) from error
    n_groups = min(most, len(np.unique(described, axis=0)))
    # So little work gains nothing from threads, and waits long for them where another process is busy.
    with threadpool_limits(1):
        return KMeans(n_clusters=n_groups, n_init=10, random_state=seed).fit_predict(described)


def _split(likely: list[int], unlikely: list[int], budget: Budget, positives: float) -> list[int]:
    """The given share of the budget from the front of `likely`, the rest from that of `unlikely`, evenly mixed."""
    whole = budget.purse()
    first = _affordable(_affordable(likely, budget.purse(positives)), whole)
    second = _affordable(_without(unlikely, first), whole)
    # Where the unlikely lists run out, likely ones take their place.
    first += _affordable(_without(likely, first + second), whole)
    place = [(k + 0.5) / len(part) for part in (first, second) for k in range(len(part))]
    return np.array(first + second, dtype=np.int64)[np.argsort(place, kind="stable")].tolist()


def _without(order: list[int], taken: list[int]) -> list[int]:
    out = set(taken)
    return [question for question in order if question not in out]


def _uncertainty(pool: _Pool) -> list[int]:
    """The lists whose choice the student knows least, of different kinds.

    The most uncertain lists are grouped by their histograms of similarities, and the groups take turns, each with its
    most uncertain list: a batch of look-alikes would tell the same thing again. After Cluster-Margin (Citovsky et al.
    2021, "Batch active learning at scale", NeurIPS), with the entropy over the list for the margin.
    """
    unsure = np.array([entropy(at_most_one(p)) for p in pool.probability or []])
    order = sorted(pool.open_questions.tolist(), key=lambda q: (-unsure[q], q))
    shortlist = np.array(order[: _SHORTLIST * len(_affordable(order, pool.budget.purse()))], dtype=np.int64)
    if not len(shortlist):
        return []
    group = _groups(pool.histograms(shortlist), _GROUPS, pool.seed)
    turn = np.zeros(len(shortlist), dtype=np.int64)
    for one in np.unique(group):
        turn[group == one] = np.arange((group == one).sum())
    in_turn = shortlist[np.lexsort((shortlist, -unsure[shortlist], turn))].tolist()
    # The rest comes into play where the shortlist is too dear for the money that is left.
    return _affordable(in_turn + _without(order, in_turn), pool.budget.purse())


def _information(pool: _Pool, known: Mapping[Question, Answer], accuracy: float, *, one_to_one: bool) -> list[int]:
    belief = Belief(pool.questions, pool.probability or [], one_to_one=one_to_one, accuracy=accuracy)
    belief.update({k: known[question] for k, question in enumerate(pool.questions) if question in known})
    return belief.greedy(pool.open_questions.tolist(), pool.budget)
