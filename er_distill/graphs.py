"""Graph algorithms behind the matching rules: greedy and optimal matching, rivals, components, average linkage.

A graph is a list of pairs: `first` and `second` hold the codes of the two records (int64), `scores` their probabilities
(float64), all of shape (n_pairs,). A pair that is given twice counts once, with its higher score; the order of the
pairs changes nothing. The functions trust their input: `er_distill.matching` has checked it.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, min_weight_full_bipartite_matching

Codes = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float64]

UNSCORED_WEIGHT = 0.25  # weight of a never-scored pair, at probability 0, in average linkage
CHUNK = 1 << 16  # pairs turned into Python objects at a time
_CLOSEST = 1e-9  # probabilities keep this distance from 0 and 1, so that their odds are numbers that can be added up
BLOCK_ROWS = 256  # left records solved together: amortises a call, whose cost grows with the square of the rows


def greedy_matching(first: Codes, second: Codes, scores: Scores) -> Codes:
    """Positions of the pairs taken by (score descending, first, second) while both records are free.

    Both codes share one range: a record is used whichever side it is on. Linear after the sort, whatever the scores.
    """
    order = np.lexsort((second, first, -scores))
    used = bytearray(max(first.max(initial=-1), second.max(initial=-1)) + 1)
    used_mask = np.frombuffer(used, dtype=np.bool_)  # the same memory, for numpy
    chosen: list[int] = []
    for start in range(0, len(order), CHUNK):
        part = order[start : start + CHUNK]
        part = part[~(used_mask[first[part]] | used_mask[second[part]])]
        for position, a, b in zip(part.tolist(), first[part].tolist(), second[part].tolist(), strict=True):
            if not (used[a] or used[b]):
                used[a] = used[b] = True
                chosen.append(position)
    return np.asarray(chosen, dtype=np.int64)


def optimal_matching(first: Codes, second: Codes, scores: Scores) -> Codes:
    """Positions of the pairs of a maximum-weight matching of a bipartite graph; of equal ones, one with the most pairs.

    Every block of whole connected components is solved by LAPJVsp, after Jonker & Volgenant (1987), "A shortest
    augmenting path algorithm for dense and sparse linear assignment problems", Computing 38. `first` and `second` share
    no code.
    """
    order = _unique_pairs(first, second, scores)
    if not len(order):
        return order
    first, second, scores = first[order], second[order], scores[order]
    component = components(int(max(first.max(), second.max())) + 1, first, second)
    rows_so_far = np.cumsum(np.bincount(component[np.unique(first)]))
    block = rows_so_far[component[first]] // BLOCK_ROWS
    by_block = np.argsort(block, kind="stable")
    blocks = np.split(by_block, np.flatnonzero(np.diff(block[by_block])) + 1)
    chosen: Codes = np.concatenate([part[_assign(first[part], second[part], scores[part])] for part in blocks])
    return order[chosen]


def _assign(rows: Codes, columns: Codes, scores: Scores) -> npt.NDArray[np.bool_]:
    """Solve one block: every row gets a real column, or one of its own that stands for "unmatched"."""
    rows, columns = (np.unique(codes, return_inverse=True)[1] for codes in (rows, columns))
    n_rows, n_columns = int(rows.max()) + 1, int(columns.max()) + 1
    # Each row pays exactly once, so a constant added to all costs changes nothing and keeps them off zero, which a
    # sparse matrix would read as "no edge". Unmatched costs a hair more than a pair of score 0, so that such a pair is
    # taken.
    costs = np.concatenate([2.0 - scores, np.full(n_rows, 2.0 + 1e-9)])
    own = np.arange(n_rows)
    entries = (np.concatenate([rows, own]), np.concatenate([columns, n_columns + own]))
    matched_rows, matched_columns = min_weight_full_bipartite_matching(
        coo_array((costs, entries), shape=(n_rows, n_columns + n_rows)).tocsr()
    )
    column_of = np.empty(n_rows, dtype=np.int64)
    column_of[matched_rows] = matched_columns
    is_matched: npt.NDArray[np.bool_] = column_of[rows] == columns
    return is_matched


def split_by_average(component: Codes, first: Codes, second: Codes, scores: Scores, at: float) -> Codes:
    """Break components up by average linkage; the result names each record's entity by one of its records.

    Inside a component the two clusters with the highest average probability are joined, as long as it is at least `at`.
    The average is over all pairs of records between the two: a scored pair has weight 1; one that was never scored has
    probability 0 and weight 1/4. Weight 1 takes a gap in the blocking for proof: of three records of one entity with
    one pair missing, the third has average 0.95 / 2 and is cut off. Weight 0 ignores the gap: one false pair at 0.6
    between two large groups, whose other pairs blocking never proposed because they differ, joins them (0.6 / 1). With
    1/4 the first stay together (0.95 / 1.25) and the second apart (0.6 / 1.75 for two records and two). In simulated
    entities of two to six records (tests/test_clusters.py), with up to 20 % gaps and with or without false pairs, no
    other weight is more than 0.015 F1 better than 1/4; 0 and 1 lose 0.7 and 0.1 where they are wrong.

    The average of a union lies between the averages of its parts. So merges come in descending order, outdated entries
    of the queue are upper bounds, and a component costs about n_pairs * log(n_pairs) ** 2 steps, however many
    pairs were never scored. Source: average linkage (UPGMA), Sokal & Michener (1958), "A statistical method for
    evaluating systematic relationships"; on sparse graphs, Bailoni et al. (2022), "GASP, a generalized framework for
    agglomerative clustering of signed graphs", CVPR.
    """
    entity = np.unique(component, return_index=True)[1][component]
    splittable = np.bincount(component)[component] > 2
    inside = np.flatnonzero((component[first] == component[second]) & splittable[first])
    inside = inside[_unique_pairs(first[inside], second[inside], scores[inside])]
    inside = inside[np.argsort(component[first[inside]], kind="stable")]
    for part in np.split(inside, np.flatnonzero(np.diff(component[first[inside]])) + 1):
        for record, name in _agglomerate(first[part], second[part], scores[part], at).items():
            entity[record] = name
    return entity


def _agglomerate(first: Codes, second: Codes, scores: Scores, at: float) -> dict[int, int]:
    """Average linkage of one component on its scored pairs: record -> a record that names its cluster."""
    pairs = list(zip(first.tolist(), second.tolist(), scores.tolist(), strict=True))
    links: dict[int, dict[int, tuple[float, int]]] = {}  # cluster -> neighbour -> (sum of scores, scored pairs)
    for a, b, score in pairs:
        links.setdefault(a, {})[b] = links.setdefault(b, {})[a] = (score, 1)
    members = {record: [record] for record in links}
    queue = [(-score, a, b) for a, b, score in pairs if score >= at]
    heapq.heapify(queue)

    def average(a: int, b: int) -> float:
        total, scored = links[a][b]
        return total / (scored + UNSCORED_WEIGHT * (len(members[a]) * len(members[b]) - scored))

    while queue:
        key, a, b = heapq.heappop(queue)
        if b not in links.get(a, ()):
            continue  # one of the two has been merged into another cluster
        now = average(a, b)
        if now < -key:  # a cluster has grown since; its entry was an upper bound
            if now >= at:
                heapq.heappush(queue, (-now, a, b))
            continue
        if len(links[a]) < len(links[b]):
            a, b = b, a  # moving the shorter list keeps all moves together at n_pairs log n_pairs
        moved = links.pop(b)
        members[a] += members.pop(b)
        del moved[a], links[a][b]
        for c, (total, scored) in moved.items():
            del links[c][b]
            before = links[a].get(c, (0.0, 0))
            links[a][c] = links[c][a] = (before[0] + total, before[1] + scored)
            if (score := average(a, c)) >= at:
                heapq.heappush(queue, (-score, a, c))
    return {record: name for name, records in members.items() for record in records}


def components(n_nodes: int, first: Codes, second: Codes) -> Codes:
    """Component label of each node of an undirected graph."""
    edges = np.ones(len(first), dtype=np.bool_)
    graph = coo_array((edges, (first, second)), shape=(n_nodes, n_nodes))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def numbered_by_first_record(labels: Codes) -> Codes:
    """Renumber labels 0, 1, ... by where each comes first."""
    _, starts, inverse = np.unique(labels, return_index=True, return_inverse=True)
    number = np.empty(len(starts), dtype=np.int64)
    number[np.argsort(starts)] = np.arange(len(starts))
    return number[inverse]


def _unique_pairs(first: Codes, second: Codes, scores: Scores) -> Codes:
    """Positions of the distinct pairs, sorted by codes; of a repeated pair the one with the highest score."""
    order = np.lexsort((-scores, second, first))
    a, b = first[order], second[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return order[new]


def beside_rivals(first: Codes, second: Codes, chance: Scores) -> Scores:
    """Return each pair's probability where a record has one match at most.

    A pair's odds are divided by 1 plus the sum of its rivals' odds, for either record: a softmax over the record's
    pairs and none. For one side this is exact: of all combinations of independent pairs those with two matches are
    struck out. Both sides are the first step of the message passing of Williams & Lau (2014), "Approximate evaluation
    of marginal association probabilities with belief propagation", IEEE Transactions on Aerospace and Electronic
    Systems 50.

    Parameters
    ----------
    first, second : ndarray of int64, shape (n_pairs,)
        One range of codes for both sides; each pair once.
    chance : ndarray of float64, shape (n_pairs,)
        Probabilities of the pairs, each judged for itself.

    Returns
    -------
    ndarray of float64, shape (n_pairs,)
    """
    sure = np.clip(chance, _CLOSEST, 1.0 - _CLOSEST)
    odds = sure / (1.0 - sure)
    order = np.lexsort((second, first))  # sums are made in one order, whatever the order of the pairs
    total = np.bincount(np.concatenate([first[order], second[order]]), np.tile(odds[order], 2))
    shared = odds / (1.0 + np.maximum(total[first] - odds, 0.0)) / (1.0 + np.maximum(total[second] - odds, 0.0))
    return shared / (1.0 + shared)
