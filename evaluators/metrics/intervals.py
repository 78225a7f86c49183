"""Means and medians over queries with 95 % intervals.

Queries of one group are not independent. The variance of a figure comes from leaving
out groups, and the quantile is Student's t for the groups, so that a few groups give a
wide interval. A figure that lies between bounds gets Wilson's interval for as many
independent values at the bounds as have that variance: it stays inside them and is
longer on the side where there is room.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np

from evaluators.common.metric import Metric, MetricType
from evaluators.metrics.left_out import LeftOut, deal_folds, leave_groups_out

Z95 = 1.959963984540054  # two-sided 95 % of a normal distribution
LARGEST = 5.0  # of k: an end beyond is infinite for every purpose


class Bounds(NamedTuple):
    """Least and largest value of a figure.

    Attributes:
        low: Least value.
        high: Largest value, perhaps infinite.
        has_tail: Whether most values lie near `low` and a few far from it.
    """

    low: float
    high: float
    has_tail: bool = False


SHARE = Bounds(0.0, 1.0)
COSINE = Bounds(-1.0, 1.0)
POSITIVE_TAIL = Bounds(0.0, math.inf, has_tail=True)


class Statistic(Protocol):
    """A figure of rows."""

    def __call__(self, rows: np.ndarray, /) -> float:
        """Return the figure of rows [m, ...]."""
        ...


def mean_metric(
    values: np.ndarray,
    chance: np.ndarray | float,
    groups: np.ndarray,
    metric_type: MetricType,
    *,
    bounds: Bounds | None = None,
    strata: np.ndarray | None = None,
) -> Metric:
    """Return the mean over queries with its interval.

    Values that are all 0 or 1 and one a group get Wilson's interval for their number.
    Where all values lie at one bound, groups have no variance; the interval is then
    Wilson's for the number of groups.

    Args:
        values: [n], one value a query.
        chance: [n], expected value of a random order, or one level for all.
        groups: int [n]; values of one group are not independent. A single group gives
            no interval.
        metric_type: Kind and direction.
        bounds: Least and largest value that there can be; the largest can be infinite.
            None where there are none.
        strata: int [n]; means are taken within each, and then over them. None for a
            single one.
    """
    if not len(values):
        return Metric(np.nan, 0, np.nan, np.nan, np.nan, *metric_type)
    values = np.asarray(values, float)
    chances = np.broadcast_to(np.asarray(chance, float), values.shape)
    strata = np.zeros(len(values), int) if strata is None else strata
    kinds = np.unique(strata)
    mean_chance = float(np.mean([chances[strata == s].mean() for s in kinds]))
    left_out = leave_groups_out(values, groups, strata)
    is_alone = len(left_out.sizes) == len(values) and len(kinds) == 1
    if is_alone and bounds == SHARE and np.isin(values, SHARE).all():
        low, high = wilson(left_out.value, len(values))
    else:
        low, high = interval(left_out, bounds)
    return Metric(left_out.value, len(values), mean_chance, low, high, *metric_type)


def median_metric(
    values: np.ndarray,
    chance: float,
    groups: np.ndarray,
    metric_type: MetricType,
) -> Metric:
    """Return the median over queries with its interval.

    The ends are the quantiles of the values at the ends of the interval of the share of
    values below the median.

    Args:
        values: [n], one value a query.
        chance: Median of random candidates.
        groups: int [n]; values of one group are not independent. A single group gives
            no interval.
        metric_type: Kind and direction.

    Source: Woodruff, Confidence intervals for medians and other position measures,
    Journal of the American Statistical Association, 1952.
    """
    if not len(values):
        return Metric(np.nan, 0, np.nan, np.nan, np.nan, *metric_type)
    values = np.asarray(values, float)
    median = float(np.median(values))
    below = (values < median) + (values == median) / 2
    low, high = median_interval(values, leave_groups_out(below, groups))
    return Metric(median, len(values), chance, low, high, *metric_type)


def median_interval(values: np.ndarray, below: LeftOut) -> tuple[float, float]:
    """Return the 95 % interval of a median.

    Args:
        values: [n].
        below: Share of values below the median, with and without groups.
    """
    low, high = interval(below._replace(value=0.5), SHARE)
    if math.isnan(low):
        return low, high
    return (
        float(np.quantile(values, low, method="lower")),
        float(np.quantile(values, high, method="higher")),
    )


def interval(left_out: LeftOut, bounds: Bounds | None = None) -> tuple[float, float]:
    """Return the 95 % interval of a figure, nan of a single group.

    Args:
        left_out: The figure with and without groups.
        bounds: Range of the figure, see `mean_metric`.
    """
    if len(left_out.without) < 2:
        return math.nan, math.nan
    value, error = left_out.value, math.sqrt(left_out.variance)
    if bounds is None:
        half = left_out.quantile * error
        return value - half, value + half
    groups = left_out.groups or len(left_out.without)
    return bounded_interval(value, error, left_out.quantile, bounds, groups)


def bounded_interval(
    mean: float, error: float, quantile: float, bounds: Bounds, groups: int
) -> tuple[float, float]:
    """Return the interval of a mean whose standard error depends on where it is.

    With x the mean between bounds of 0 and 1, and s its error, the ends y solve
    (x - y)^2 = t^2 s^2 y (1 - y) / (x (1 - x)), which is Wilson's interval for
    x (1 - x) / s^2 values. Where values have a tail, x and s are the larger the more of
    it was drawn: the ends are x exp(-k) and x exp(k + k^2 / 2), k = t s / x, symmetric
    in 1 / x to second order.

    Args:
        mean: Within the bounds.
        error: Standard error of the mean.
        quantile: t.
        bounds: Least and largest value.
        groups: Number of groups, for a mean at a bound.
    """
    low, high, has_tail = bounds
    if has_tail and mean > low:
        k = min(quantile * error / (mean - low), LARGEST)
        ends = math.exp(-k), math.exp(k + k**2 / 2)
        return low + (mean - low) * ends[0], min(low + (mean - low) * ends[1], high)
    if math.isinf(high):
        return mean, mean
    share = min(max((mean - low) / (high - low), 0.0), 1.0)
    spread = share * (1 - share) * (high - low) ** 2
    if spread <= 0:
        ends = wilson(share, groups)
    else:
        ends = wilson(share, spread / max(error**2, 1e-12 * spread), quantile)
    return low + (high - low) * ends[0], low + (high - low) * ends[1]


def wilson(share: float, n: float, quantile: float = Z95) -> tuple[float, float]:
    """Return Wilson's interval of a proportion: 0 of 10 gives (0, .278).

    Args:
        share: Proportion in 0..1.
        n: Number of independent values behind it, > 0.
        quantile: Quantile of the standardized proportion; 1.96, that of the normal
            distribution, gives 95 %.
    """
    square = quantile**2
    middle = share + square / (2 * n)
    half = quantile * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    low, high = (middle - half) / (1 + square / n), (middle + half) / (1 + square / n)
    # At 0 and 1 the interval ends exactly there; rounding would miss it.
    low, high = (0.0 if share <= 0 else low), (1.0 if share >= 1 else high)
    return float(max(low, 0.0)), float(min(high, 1.0))


def jackknife(
    statistic: Statistic, rows: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of rows.

    Groups are left out in folds, see `deal_folds`.

    Args:
        statistic: Function of rows.
        rows: [n, ...].
        groups: int [n]; rows of one group are not independent.
        seed: Random seed of the folds.

    Returns:
        The ends; nan of a single group, and with fewer than two rows a fold.
    """
    fold = deal_folds(groups, seed)
    sizes = np.bincount(fold)
    if len(sizes) < 2 or len(rows) < 2 * len(sizes):
        return math.nan, math.nan
    without = [statistic(rows[fold != i]) for i in range(len(sizes))]
    return interval(LeftOut(statistic(rows), np.array(without), sizes))
