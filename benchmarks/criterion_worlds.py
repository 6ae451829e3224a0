"""Made-up worlds for `criterion_synthetic`: generated tasks, and simulated LLMs that label them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from benchmarks.distiller_configurations import EVERYONE
from benchmarks.distiller_data import TaskData
from er_distill import lexical
from er_distill.blocking import TopK
from er_distill.training.labels import from_synthetic
from er_distill.training.synthetic import generate
from er_distill.vectors import vectorise

KINDS = ("people", "companies", "addresses", "companies")
ENTITIES = 700
FROM_TOP = 0.75  # of the labelled queries those whose best candidate is the most similar; the others are at the bottom
LIST = TopK(5, "left")
EMPTIED = 0.3  # chance of a column to be empty in one of the tables
WRONG_PICKS = 0.82  # share of the published mistakes that pick a wrong candidate, the others miss the match


@dataclass(frozen=True)
class World:
    """How teachers err, and what is made.

    Attributes
    ----------
    accuracy : tuple of float
        Of each teacher's answers.
    labelled : int
        Queries a task.
    shared, own : float
        Chance in a teacher's view of a pair, in deviations of how alike pairs look: that of all teachers, and its own.
    fewer : int
        How many times fewer trees students have, each with as many times the say: as good here, and made in seconds.
    without : tuple of str
        Beginnings of the names of students that are not made.
    suites : int
    """

    accuracy: tuple[float, ...]
    labelled: int
    shared: float
    own: float
    fewer: int
    without: tuple[str, ...]
    suites: int


# Students that are all but like others here.
_LIKE_OTHERS = ("alike", "claims", "no-numbers", "no-words", "no-grams", "likely-self")
WORLDS = {
    "as accurate as published": World((0.72, 0.81, 0.835, 0.82), 150, 0.7, 0.7, 3, _LIKE_OTHERS, 3),
    "at one as published": World(
        (0.80, 0.90, 0.92, 0.91),
        270,
        1.0,
        0.35,
        5,
        (*_LIKE_OTHERS, "likely", "self", "short", "no-fields", "drop", "bold", "timid"),
        2,
    ),
}


def suite(world: World, seed: int) -> tuple[list[TaskData], list[np.ndarray]]:
    """Generate a suite: its tasks with simulated votes, and their truth."""
    made, truths = [], []
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng([seed, number])
        tables = generate(kind, ENTITIES, seed=1_000 * (seed + 1) + number, overlap=float(rng.uniform(0.35, 0.7)))
        assert tables.right is not None  # linked, not deduplicated
        for column in list(tables.left)[1:]:  # the first says what a record is about
            if rng.random() < EMPTIED:
                side = (tables.left, tables.right)[int(rng.integers(2))]
                side[column] = [""] * len(side[column])
        candidates, labels = from_synthetic(tables, 1.0, [LIST])
        pairs, truth = candidates.pairs, labels.target > 0.5
        corpus = vectorise(candidates.left, candidates.right)
        features = next(values for _, values in lexical.features(corpus, pairs, chunk_size=len(pairs)))
        alike = features[:, lexical.FEATURES.index("gram_cosine")]
        labelled = np.isin(pairs.left, _selected(pairs.left, alike, world.labelled))
        votes = simulated(world, pairs.left, features, truth, labelled, rng)
        made.append(TaskData(candidates, features, votes, labelled, 0.0))
        truths.append(truth)
    return made, truths


def _selected(query: np.ndarray, alike: np.ndarray, labelled: int) -> np.ndarray:
    """The queries to label, by the similarity of their best candidates."""
    best = np.zeros(query.max() + 1)
    np.maximum.at(best, query, alike)
    order = np.unique(query)[np.argsort(-best[np.unique(query)], kind="stable")]
    top = round(FROM_TOP * labelled)
    return np.concatenate([order[:top], order[top - labelled :]])


def simulated(
    world: World,
    query: np.ndarray,
    features: np.ndarray,
    truth: np.ndarray,
    labelled: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Votes of four teachers that err as LLMs do.

    A teacher picks the candidate that appeals most, if it appeals more than none. Appeal is the truth, how alike the
    records look by a mixture of similarities that all teachers of the task share (so that a wrong candidate misleads
    the more the more alike it is), chance that they share (what misleads one misleads the next) and chance of their
    own; both are greater where values are missing. How much truth counts, and how much none appeals, is set so that
    the teacher has the accuracy and the share of wrong picks that are wanted of it.
    """
    columns = [lexical.FEATURES.index(name) for name in ("word_cosine", "gram_cosine", "field_mean", "number_jaccard")]
    seen = np.nan_to_num(features[:, columns]) @ rng.dirichlet(np.ones(len(columns)))
    seen = (seen - seen.mean()) / seen.std()
    missing = np.nan_to_num(features[:, lexical.FEATURES.index("fields_missing")])
    spread = 1.0 + missing / max(float(missing.max()), 1.0)
    shared = world.shared * spread * rng.standard_normal(len(truth))
    rows = np.flatnonzero(labelled)
    votes = {}
    for name, accuracy in zip(EVERYONE, world.accuracy, strict=True):
        looks = (seen + shared + world.own * spread * rng.standard_normal(len(truth)))[rows]
        options = itertools.product(np.arange(0.0, 8.01, 0.25), np.arange(-2.0, 8.01, 0.25))
        answers = {option: _picked(query[rows], looks + option[0] * truth[rows], option[1]) for option in options}
        off = {}
        for option, picked in answers.items():
            right, wrong_picks = _quality(query[rows], picked, truth[rows])
            off[option] = abs(right - accuracy) + 0.3 * abs(wrong_picks - WRONG_PICKS)
        vote = np.full(len(truth), np.nan, dtype=np.float32)
        vote[rows] = answers[min(off, key=off.__getitem__)]
        votes[name] = vote
    return votes


def _quality(query: np.ndarray, picked: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """A teacher's accuracy, and the share of its mistakes that pick a wrong candidate."""
    wrong = len(np.unique(query[picked & ~truth]))
    missed = len(np.setdiff1d(query[truth], query[picked]))
    return 1.0 - (wrong + missed) / len(np.unique(query)), wrong / max(wrong + missed, 1)


def _picked(query: np.ndarray, appeal: np.ndarray, none: float) -> np.ndarray:
    order = np.lexsort((-appeal, query))
    picked = np.zeros(len(query), dtype=bool)
    picked[order[np.flatnonzero(np.diff(query[order], prepend=-1))]] = True
    return picked & (appeal > none)
