"""Retrieval figures from ranks, what chance scores, and their 95 % intervals.

Every figure comes from the ranks (1 = best) of a query's relevant records in the full
ranking of its candidates. The functions take flat arrays: `ranks` [m], in any order,
and `query` [m], which of the q queries each rank belongs to; every query owns at least
one. They return one value a query, float64 [q]. Their `_chance` companions give the
expected value when the candidates stand in random order, from n candidates and r
relevant ones among them, both [q].
"""

import numpy as np

Z95 = 1.959963984540054  # two-sided 95 % of a normal distribution
RESAMPLES = 1000
_DRAWN = 2**16  # groups drawn at once: fits a core's cache


def recall_at(ranks: np.ndarray, query: np.ndarray, q: int, k: int) -> np.ndarray:
    """Return 1 where a relevant record is among the k best, else 0.

    This is the Recall@k of metric learning, also called hit rate or CMC@k; it is not
    the share of relevant records found.
    """
    return (np.bincount(query, ranks <= k, minlength=q) > 0).astype(float)


def recall_at_chance(n: np.ndarray, r: np.ndarray, k: int) -> np.ndarray:
    """Return 1 - C(n - k, r) / C(n, r): no relevant record in k draws, complemented."""
    n, r = np.asarray(n), np.asarray(r)
    pairs, back = np.unique(np.stack([n, r]), axis=1, return_inverse=True)
    chances = []
    for size, relevant in pairs.T.tolist():
        small, large = sorted((relevant, min(k, size)))
        if small + large > size:  # the k best cannot all be irrelevant
            chances.append(1.0)
            continue
        missed = np.log1p(-large / (size - np.arange(small))).sum()
        chances.append(-np.expm1(missed))
    return np.array(chances, float)[back.reshape(-1)]


def precision_at(ranks: np.ndarray, query: np.ndarray, q: int, k: int) -> np.ndarray:
    """Return the share of relevant records among the k best; divided by k, always."""
    return np.bincount(query, ranks <= k, minlength=q) / k


def precision_at_chance(n: np.ndarray, r: np.ndarray, k: int) -> np.ndarray:
    """Return r / n, less where there are fewer than k candidates."""
    return np.asarray(r) / n * np.minimum(n, k) / k


def average_precision(ranks: np.ndarray, query: np.ndarray, q: int) -> np.ndarray:
    """Return AP = mean over relevant records of (relevant up to its rank) / rank."""
    order, nth = _nth(ranks, query)
    total = np.bincount(query[order], nth / ranks[order], minlength=q)
    return total / np.bincount(query, minlength=q)


def average_precision_chance(n: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return E[AP] = ((r - 1) / (n - 1) (n - H_n) + H_n) / n, H_n harmonic number."""
    n, r = np.asarray(n), np.asarray(r)
    share = (r - 1) / np.maximum(n - 1, 1)
    return (share * (n - _harmonic(n)) + _harmonic(n)) / n


def map_at_r(ranks: np.ndarray, query: np.ndarray, q: int) -> np.ndarray:
    """Return MAP@R: average precision cut off at R, the query's relevant records.

    1/R sum over i = 1..R of precision@i where the i-th is relevant, else 0 (Musgrave,
    Belongie, Lim, A Metric Learning Reality Check, section 3.2).
    """
    order, nth = _nth(ranks, query)
    relevant = np.bincount(query, minlength=q)
    inside = ranks[order] <= relevant[query[order]]
    hits = np.bincount(query[order], inside * nth / ranks[order], minlength=q)
    return hits / relevant


def map_at_r_chance(n: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return E[MAP@R] = (H_r + (r - 1) / (n - 1) (r - H_r)) / n.

    The i-th is relevant with probability r / n, and then each one before it with
    probability (r - 1) / (n - 1).
    """
    n, r = np.asarray(n), np.asarray(r)
    share = (r - 1) / np.maximum(n - 1, 1)
    return (_harmonic(r) + share * (r - _harmonic(r))) / n


def worst_ranks(above: np.ndarray, tied: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return ranks with every tie broken against the relevant record.

    Args:
        above: [m] records with a larger score than the relevant one.
        tied: [m] records with its score, itself included.
        query: [m] the query it belongs to.
    """
    order = np.lexsort((above, query))
    key = np.stack([query, above])[:, order]
    new = np.r_[True, (key[:, 1:] != key[:, :-1]).any(axis=0)][: len(order)]
    first = np.flatnonzero(new)
    size = np.diff(np.r_[first, len(order)])  # relevant records in each tie
    within = np.arange(len(order)) - np.repeat(first, size) + 1
    ranks = np.empty(len(order), np.int64)
    ranks[order] = above[order] + tied[order] - np.repeat(size, size) + within
    return ranks


def normalized_average_rank(
    ranks: np.ndarray, query: np.ndarray, q: int, n: np.ndarray
) -> np.ndarray:
    """Return NAR = (sum of ranks - r (r + 1) / 2) / (n r): 0 perfect, .5 random.

    The trademark benchmark METU takes the ranks of `worst_ranks` (Tursun, Aker, Kalkan,
    A Large-scale Dataset and Benchmark for Similar Trademark Retrieval).
    """
    r = np.bincount(query, minlength=q)
    return (np.bincount(query, ranks, minlength=q) - r * (r + 1) / 2) / (n * r)


def normalized_average_rank_chance(n: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Return (n - r) / (2 n), which is .5 where relevant records are rare."""
    n, r = np.asarray(n), np.asarray(r)
    return (n - r) / (2 * n)


def ndcg(gains: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """Return sum gain_i / log2(1 + i), as a share of the best there could have been.

    Args:
        gains: [q, k] gain of the k records retrieved, best first, >= 0.
        ideal: [q, k] the k largest gains among the candidates, in falling order; each
            row has one above 0.
    """
    return gains @ _discount(gains) / (ideal @ _discount(ideal))


def ndcg_chance(mean_gain: np.ndarray, ideal: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return the expected nDCG of a random order of n candidates, [q]."""
    places = np.arange(ideal.shape[1])[None, :] < np.asarray(n)[:, None]
    discount = _discount(ideal)
    return mean_gain * (places @ discount) / (ideal @ discount)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion: 0 of 10 gives (0, .278)."""
    middle = share + Z95**2 / (2 * n)
    half = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low, high = (np.array([middle - half, middle + half])) / (1 + Z95**2 / n)
    # At the ends rounding would leave a speck between the interval and its end.
    low, high = (0.0 if share <= 0 else low), (1.0 if share >= 1 else high)
    return float(max(low, 0.0)), float(min(high, 1.0))


def bootstrap(
    values: np.ndarray,
    groups: np.ndarray,
    strata: np.ndarray,
    seed: int,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over strata of their means.

    Whole groups are drawn with replacement, so that values which belong together (one
    concept asked for several times) do not pass for independent ones.

    Args:
        values: [n].
        groups: [n] int, what is drawn.
        strata: [n] int, what is averaged within before it is averaged over.
        seed: Of the draws.
    """
    names, group = np.unique(groups, return_inverse=True)
    kinds, stratum = np.unique(strata, return_inverse=True)
    cell = group * len(kinds) + stratum
    shape = len(names), len(kinds)
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.bincount(cell, values, minlength=shape[0] * shape[1]).reshape(shape)
    rng = np.random.default_rng(seed)
    means, many = [], max(1, _DRAWN // len(names))
    for start in range(0, RESAMPLES, many):
        r = min(many, RESAMPLES - start)
        drawn = rng.integers(len(names), size=(r, len(names)))
        drawn += len(names) * np.arange(r)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(r, -1)
        size = weights @ counts.astype(np.float64)  # [r, kinds]
        filled = size > 0  # a small stratum can be missing from a draw
        shares = weights @ sums / np.maximum(size, 1)
        means.append(shares.sum(1) / filled.sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def summarize(
    values: np.ndarray,
    chances: np.ndarray,
    groups: np.ndarray,
    strata: np.ndarray,
    seed: int,
    *,
    share: bool = True,
) -> tuple[float, int, float, float, float]:
    """Return (value, n, chance, low, high) of one value a query.

    A proportion gets Wilson's interval for its effective number of queries, a mean the
    bootstrap over groups, and so does a mean over several strata. Where all values are
    0, or all 1, resamples have no spread; Wilson's interval for the number of groups
    then says how little that proves.

    Args:
        values: [n].
        chances: [n], what chance scores for each.
        groups: [n] int; values of one group are not independent.
        strata: [n] int; means are taken within each, and then over them.
        seed: Of the bootstrap.
        share: Whether values lie between 0 and 1.
    """
    if not len(values):
        return (np.nan, 0, np.nan, np.nan, np.nan)
    kinds = np.unique(strata)
    value = float(np.mean([values[strata == s].mean() for s in kinds]))
    chance = float(np.mean([chances[strata == s].mean() for s in kinds]))
    proportion = share and np.isin(values, (0.0, 1.0)).all()
    if proportion and (value in (0.0, 1.0) or len(kinds) == 1):
        low, high = wilson(value, effective_count(values, groups))
    else:
        low, high = bootstrap(values, groups, strata, seed)
    return value, len(values), chance, low, high


def effective_count(values: np.ndarray, groups: np.ndarray) -> float:
    """Return how many independent values would give the mean the same variance.

    n / design effect (Kish, Survey Sampling, 1965), at most n; the number of groups
    where values do not differ.

    Args:
        values: [n].
        groups: [n] int; values of one group are not independent.
    """
    group = np.unique(groups, return_inverse=True)[1]
    off = values - values.mean()
    if not off.any():
        return float(group.max() + 1)
    alone, together = np.square(off).sum(), np.square(np.bincount(group, off)).sum()
    return float(len(values) * alone / max(alone, together))


def _nth(ranks: np.ndarray, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the order by query and rank, and in it 1, 2, ... within each query."""
    order = np.lexsort((ranks, query))
    counts = np.bincount(query)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    return order, np.arange(1, len(order) + 1) - first


def _harmonic(n: np.ndarray) -> np.ndarray:
    n = np.asarray(n)
    return np.cumsum(1 / np.arange(1, n.max(initial=1) + 1))[n - 1]


def _discount(gains: np.ndarray) -> np.ndarray:
    return 1 / np.log2(np.arange(gains.shape[1]) + 2)
