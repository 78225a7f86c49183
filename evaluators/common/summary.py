"""From ranks to named figures, and from figures to Metrics."""

from typing import NamedTuple

import numpy as np

from evaluators.common.metric import Metric
from evaluators.metrics import ranking
from evaluators.search.exact import Ranks

Values = tuple[np.ndarray, np.ndarray]  # one value and one chance a query, [q] each


class Found(NamedTuple):
    """What one search over one gallery gave.

    Attributes:
        name: Of the search, such as "noto_to_twemoji"; "" for the only one.
        values: By figure.
        groups: int [q]; queries of one group are not independent.
        left_out: Queries without a relevant record.
        right: Examples whose first neighbor is relevant.
        wrong: The others.
    """

    name: str
    values: dict[str, Values]
    groups: np.ndarray
    left_out: int
    right: list[dict]
    wrong: list[dict]


def names(k: tuple[int, ...], *, graded: bool) -> list[str]:
    """Return the names of `of_ranks`, and of nDCG where relevance is graded."""
    cut = ["recall", "precision"] + (["ndcg"] if graded else [])
    return [f"{name}@{at}" for name in cut for at in k] + ["map", "map_at_r", "nar"]


def of_ranks(
    ranks: Ranks, query: np.ndarray, n: np.ndarray, k: tuple[int, ...]
) -> dict[str, Values]:
    """Return the figures of queries, each with at least one relevant record.

    Args:
        ranks: Of relevant records, [m].
        query: [m], 0..q-1.
        n: [q] candidates a query.
        k: Cut-offs.
    """
    q, r = len(n), np.bincount(query, minlength=len(n))
    values = {}
    for at in k:
        values[f"recall@{at}"] = (
            ranking.recall_at(ranks.rank, query, q, at),
            ranking.recall_at_chance(n, r, at),
        )
        values[f"precision@{at}"] = (
            ranking.precision_at(ranks.rank, query, q, at),
            ranking.precision_at_chance(n, r, at),
        )
    values["map"] = (
        ranking.average_precision(ranks.rank, query, q),
        ranking.average_precision_chance(n, r),
    )
    values["map_at_r"] = (
        ranking.map_at_r(ranks.rank, query, q),
        ranking.map_at_r_chance(n, r),
    )
    worst = ranking.worst_ranks(ranks.above, ranks.tied, query)
    values["nar"] = (
        ranking.normalized_average_rank(worst, query, q, n),
        ranking.normalized_average_rank_chance(n, r),
    )
    return values


def summarize(
    prefix: str, found: list[Found], figures: list[str], seed: int
) -> dict[str, Metric]:
    """Return the Metric of each figure as `prefix/figure`: means over searches."""
    found = [f for f in found if len(f.groups)] or found[:1]
    groups = np.concatenate([f.groups for f in found])
    strata = np.repeat(np.arange(len(found)), [len(f.groups) for f in found])
    summary = {}
    for name in figures:
        value, chance = (
            np.concatenate([f.values[name][i] for f in found]) for i in (0, 1)
        )
        share = name != "mean_rank"
        summary[f"{prefix}/{name}"] = Metric(
            *ranking.summarize(value, chance, groups, strata, seed, share=share)
        )
    return summary


def count(value: int, of: int) -> Metric:
    """Return a plain count as a Metric: no chance, no doubt."""
    return Metric(float(value), of, float("nan"), float(value), float(value))
