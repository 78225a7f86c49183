"""From ranks to figures of queries, and from those to metrics."""

from typing import NamedTuple

import numpy as np

from evaluators.common.metric import (
    DIAGNOSTIC,
    ERROR,
    HEADLINE,
    SCORE,
    Metric,
    Metrics,
    MetricType,
)
from evaluators.metrics import chance, ranking
from evaluators.metrics.intervals import SHARE, Bounds, mean_metric
from evaluators.search.scores import Ranks


class QueryValues(NamedTuple):
    """One figure, a value and a chance level for each query.

    Attributes:
        values: [q].
        chance: [q], expected value of a random order of the query's candidates.
        type: Kind and direction of the figure.
        bounds: Least and largest value that there can be.
    """

    values: np.ndarray
    chance: np.ndarray
    type: MetricType
    bounds: Bounds = SHARE


class SearchResult(NamedTuple):
    """Figures of one search over one gallery.

    Attributes:
        name: Name of the search, such as "noto_to_twemoji"; "" for a single one.
        values: By figure.
        groups: int [q]; queries of one group are not independent.
        left_out: Queries without a relevant record.
    """

    name: str
    values: dict[str, QueryValues]
    groups: np.ndarray
    left_out: int


def rank_figure_names(k: tuple[int, ...], *, graded: bool) -> list[str]:
    """Return the names of `rank_figures`, and of nDCG where relevance is graded."""
    cut = ["recall", "precision"] + (["ndcg"] if graded else [])
    return [f"{name}@{at}" for name in cut for at in k] + ["map", "map_at_r", "nar"]


def rank_figures(
    ranks: Ranks, query: np.ndarray, n: np.ndarray, k: tuple[int, ...]
) -> dict[str, QueryValues]:
    """Return the figures of queries, each with at least one relevant record.

    Args:
        ranks: Of relevant records, [m].
        query: int [m], 0..q-1, the query of each rank.
        n: int [q], candidates of each query.
        k: Cut-offs.

    Returns:
        recall@k, precision@k, map, map_at_r and nar.
    """
    q, r = len(n), np.bincount(query, minlength=len(n))
    figures = {}
    for at in k:
        figures[f"recall@{at}"] = QueryValues(
            ranking.recall_at(ranks.rank, query, q, at),
            chance.recall_at(n, r, at),
            recall_type(at),
        )
        figures[f"precision@{at}"] = QueryValues(
            ranking.precision_at(ranks.rank, query, q, at),
            chance.precision_at(n, r, at),
            SCORE,
        )
    figures["map"] = QueryValues(
        ranking.average_precision(ranks.rank, query, q),
        chance.average_precision(n, r),
        HEADLINE,
    )
    figures["map_at_r"] = QueryValues(
        ranking.map_at_r(ranks.rank, query, q), chance.map_at_r(n, r), SCORE
    )
    worst = ranking.worst_ranks(ranks.above, ranks.tied, query)
    figures["nar"] = QueryValues(
        ranking.normalized_average_rank(worst, query, q, n),
        chance.normalized_average_rank(n, r),
        ERROR,
    )
    return figures


def recall_type(k: int) -> MetricType:
    """Return the type of recall@k: recall@1 is a headline."""
    return HEADLINE if k == 1 else SCORE


def summarize_searches(searches: list[SearchResult], names: list[str]) -> Metrics:
    """Return the metric of each named figure: means over searches of their means.

    Args:
        searches: At least one.
        names: Figures that every search has.
    """
    searches = [s for s in searches if len(s.groups)] or searches[:1]
    groups = np.concatenate([s.groups for s in searches])
    strata = np.repeat(np.arange(len(searches)), [len(s.groups) for s in searches])
    metrics = {}
    for name in names:
        figures = [s.values[name] for s in searches]
        values = np.concatenate([figure.values for figure in figures])
        levels = np.concatenate([figure.chance for figure in figures])
        metrics[name] = mean_metric(
            values,
            levels,
            groups,
            figures[0].type,
            bounds=figures[0].bounds,
            strata=strata,
        )
    return metrics


def count_metric(value: int, n: int) -> Metric:
    """Return a plain count of n queries as a metric without chance or uncertainty."""
    return Metric(float(value), n, np.nan, float(value), float(value), *DIAGNOSTIC)
