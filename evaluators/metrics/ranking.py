"""Retrieval figures from ranks.

Every figure comes from the ranks (1 = best) of a query's relevant records in the full
ranking of its candidates. The functions take flat arrays: `ranks` [m], in any order,
and `query` [m], which of the q queries each rank belongs to; every query has at least
one. They return one value a query, float64 [q]. `chance` has the expected values.
"""

import numpy as np


def recall_at(ranks: np.ndarray, query: np.ndarray, q: int, k: int) -> np.ndarray:
    """Return 1 where a relevant record is among the k best, else 0.

    This is the Recall@k of metric learning, also called hit rate or CMC@k; it is not
    the share of relevant records found.
    """
    return (np.bincount(query, ranks <= k, minlength=q) > 0).astype(float)


def precision_at(ranks: np.ndarray, query: np.ndarray, q: int, k: int) -> np.ndarray:
    """Return the share of relevant records among the k best; divided by k, always."""
    return np.bincount(query, ranks <= k, minlength=q) / k


def average_precision(ranks: np.ndarray, query: np.ndarray, q: int) -> np.ndarray:
    """Return AP = mean over relevant records of (relevant up to its rank) / rank."""
    order, count = _count_within(ranks, query)
    total = np.bincount(query[order], count / ranks[order], minlength=q)
    return total / np.bincount(query, minlength=q)


def map_at_r(ranks: np.ndarray, query: np.ndarray, q: int) -> np.ndarray:
    """Return MAP@R: average precision cut off at R, the query's relevant records.

    1/R sum over i = 1..R of precision@i where the i-th is relevant, else 0 (Musgrave,
    Belongie, Lim, A Metric Learning Reality Check, section 3.2).
    """
    order, count = _count_within(ranks, query)
    relevant = np.bincount(query, minlength=q)
    inside = ranks[order] <= relevant[query[order]]
    hits = np.bincount(query[order], inside * count / ranks[order], minlength=q)
    return hits / relevant


def worst_ranks(above: np.ndarray, tied: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return ranks with every tie broken against the relevant record, int64 [m].

    Args:
        above: int [m], records with a larger score than the relevant one.
        tied: int [m], records with its score, itself included.
        query: int [m], the query it belongs to.
    """
    order = np.lexsort((above, query))
    key = np.stack([query, above])[:, order]
    starts_tie = np.r_[True, (key[:, 1:] != key[:, :-1]).any(axis=0)][: len(order)]
    first = np.flatnonzero(starts_tie)
    size = np.diff(np.r_[first, len(order)])  # relevant records in each tie
    within = np.arange(len(order)) - np.repeat(first, size) + 1
    ranks = np.empty(len(order), np.int64)
    ranks[order] = above[order] + tied[order] - np.repeat(size, size) + within
    return ranks


def normalized_average_rank(
    ranks: np.ndarray, query: np.ndarray, q: int, n: np.ndarray
) -> np.ndarray:
    """Return NAR = (sum of ranks - r (r + 1) / 2) / (n r): 0 perfect, .5 random.

    Args:
        ranks: int [m]; those of `worst_ranks` in the trademark benchmark METU.
        query: int [m].
        q: Number of queries.
        n: int [q], candidates.

    Source: Tursun, Aker, Kalkan, A Large-scale Dataset and Benchmark for Similar
    Trademark Retrieval.
    """
    r = np.bincount(query, minlength=q)
    return (np.bincount(query, ranks, minlength=q) - r * (r + 1) / 2) / (n * r)


def ndcg(gains: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """Return nDCG: sum_i gain_i / log2(1 + i), divided by that of the best order.

    Args:
        gains: [q, k], gains of the k nearest records, best first, >= 0.
        ideal: [q, k], the k largest gains among the candidates, in falling order; each
            row has one above 0.
    """
    return gains @ discount(gains) / (ideal @ discount(ideal))


def discount(gains: np.ndarray) -> np.ndarray:
    """Return the weights 1 / log2(1 + i) of the places i = 1..k of gains [q, k]."""
    return 1 / np.log2(np.arange(gains.shape[1]) + 2)


def _count_within(
    ranks: np.ndarray, query: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the order by query and rank, and in it 1, 2, ... within each query."""
    order = np.lexsort((ranks, query))
    counts = np.bincount(query)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return order, np.arange(1, len(order) + 1) - first
