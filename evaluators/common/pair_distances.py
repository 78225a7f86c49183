"""Distances of anchors and keys: means over pairs, and over the nearest keys."""

from typing import Protocol

import numpy as np

from evaluators.common.metric import (
    DISTANCE,
    ERROR,
    LOSS,
    Metric,
    Metrics,
    MetricType,
)
from evaluators.metrics.intervals import SHARE, Bounds, interval
from evaluators.metrics.left_out import leave_groups_out
from evaluators.metrics.pair_means import PairSums
from evaluators.metrics.search_means import nearest_mean
from losses.triplet import chance_levels

TYPES = {
    "d_pos": DISTANCE,
    "d_neg": MetricType("distance", "higher"),
    "d_nearest": MetricType("distance", "higher"),
    "violations": ERROR,
    "hard_violations": ERROR,
    "triplet_loss": LOSS,
    "hard_loss": LOSS,
}
PAIR_FIGURES = ("d_neg", "violations", "triplet_loss")  # means over all pairs
ANCHOR_ROWS = 64  # anchors whose distances to all keys are in memory at once


class NearestFigure(Protocol):
    """A figure of an anchor's distances."""

    def __call__(self, d_pos: np.ndarray, d: np.ndarray, /) -> np.ndarray:
        """Return one value an anchor from d_ii and d_ij of its nearest key j, [a]."""
        ...


def measure(
    q: np.ndarray,
    k: np.ndarray,
    rows: np.ndarray,
    groups: np.ndarray,
    margin: float,
    squared: bool,
) -> Metrics:
    """Return the figures of `TYPES`.

    Args:
        q: [a, d], anchors.
        k: [n, d], keys of all records.
        rows: int [a], the record of each anchor.
        groups: int [n], 0..G-1, of the records.
        margin: Of distances.
        squared: Whether distances are squared.
    """
    sums = {name: PairSums(rows, groups) for name in PAIR_FIGURES}
    d_pos, nearest = np.empty(len(q)), np.empty(len(q), int)
    d_nearest = np.empty((2, len(q)))  # of all keys, and of another group's
    for start in range(0, len(q), ANCHOR_ROWS):
        block = slice(start, start + ANCHOR_ROWS)
        d = _distances(q[block], k, squared)  # [b, n]
        each = np.arange(len(d))
        own = d[each, rows[block]][:, None]
        sums["d_neg"].add(block, d)
        sums["violations"].add(block, d - own < margin)
        sums["triplet_loss"].add(block, _hinge(own - d + margin))
        d[each, rows[block]] = np.inf
        column = d.argmin(1)
        d_pos[block], nearest[block] = own[:, 0], groups[column]
        d_nearest[0, block] = d[each, column]
        d[nearest[block, None] == groups[None, :]] = np.inf
        d_nearest[1, block] = d.min(1)
    anchor_groups, sizes = groups[rows], np.bincount(groups)
    means = {name: pairs.left_out() for name, pairs in sums.items()}
    means["d_pos"] = leave_groups_out(d_pos, anchor_groups)
    for name, figure in _nearest_figures(margin).items():
        values, others = (
            np.where(np.isfinite(d), figure(d_pos, d), np.nan) for d in d_nearest
        )
        means[name] = nearest_mean(values, others, anchor_groups, nearest, sizes)
    bounds = _bounds(margin, squared)
    levels = chance_levels(q.shape[1], len(k) - 1, margin, squared)
    metrics = {}
    for name, metric_type in TYPES.items():
        ends = interval(means[name], bounds[name])
        value = means[name].value
        metrics[name] = Metric(value, len(q), levels[name], *ends, *metric_type)
    return metrics


def _nearest_figures(margin: float) -> dict[str, NearestFigure]:
    """Return the figures of an anchor's positive and nearest distances."""
    return {
        "d_nearest": lambda d_pos, d: d,
        "hard_violations": lambda d_pos, d: d - d_pos < margin,
        "hard_loss": lambda d_pos, d: _hinge(d_pos - d + margin),
    }


def _bounds(margin: float, squared: bool) -> dict[str, Bounds]:
    """Return the least and largest value of each figure."""
    largest = 4.0 if squared else 2.0
    distance, loss = Bounds(0.0, largest), Bounds(0.0, largest + margin)
    return {
        "d_pos": distance,
        "d_neg": distance,
        "d_nearest": distance._replace(has_tail=True),
        "violations": SHARE,
        "hard_violations": SHARE,
        "triplet_loss": loss,
        "hard_loss": loss,
    }


def _distances(q: np.ndarray, k: np.ndarray, squared: bool) -> np.ndarray:
    """Return |q_i - k_j| or its square, [b, n], by differences in double precision."""
    q, k = q.astype(np.float64), k.astype(np.float64)
    square = (q * q).sum(1)[:, None] + (k * k).sum(1)[None, :] - 2 * q @ k.T
    square = np.maximum(square, 0)
    return square if squared else np.sqrt(square)


def _hinge(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)
