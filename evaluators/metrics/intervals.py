"""Means and medians over queries with 95 % intervals from groups left out.

Queries of one group are not independent. The variance of a figure is that of the same
figure with one group left out at a time (the jackknife over groups),

  V = (G - 1) / G  sum_g (x_(-g) - mean_h x_(-h))^2

and the quantile is Student's t for the groups, so that a few groups give a wide
interval. A figure that lies between bounds gets Wilson's interval for as many
independent values at the bounds as have that variance: it stays inside them and is
longer on the side where there is room.
"""

import math
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import stdtrit

from evaluators.common.metric import Metric, MetricType

Z95 = 1.959963984540054  # two-sided 95 % of a normal distribution
FOLDS = 10  # of the jackknife of a statistic of rows, at most
LARGEST = 5.0  # of k: an end beyond is infinite for every purpose
LEAST = 0.01  # of the variance of independent values: groups can agree by accident


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
ERROR = Bounds(0.0, math.inf, has_tail=True)


class Statistic(Protocol):
    """A figure of rows."""

    def __call__(self, rows: np.ndarray, /) -> float:
        """Return the figure of rows [m, ...]."""
        ...


class LeftOut(NamedTuple):
    """A figure, and what it is without each group, or without each fold of groups.

    Attributes:
        value: The figure of all groups.
        without: [G], the figure without each group.
        sizes: int [G], values in each group.
        groups: Number of groups, where they are left out in folds; 0 for G.
        removed: [G], how much of all data goes with each group; None for `sizes`.
        noise: Variance among `without` that the figure itself does not have.
        least: Least variance.
    """

    value: float
    without: np.ndarray
    sizes: np.ndarray
    groups: int = 0
    removed: np.ndarray | None = None
    noise: float = 0.0
    least: float = 0.0

    @property
    def variance(self) -> float:
        """Variance of the figure.

        A figure that depends on the amount n of data, such as a rank, is off by b / n;
        what groups of unlike size change by it is taken off.
        """
        removed = self.sizes if self.removed is None else self.removed
        shift = removed / np.maximum(removed.sum() - removed, 1)
        change = self.without - self.value
        change = change - shift * (change.mean() / shift.mean())
        variance = (len(change) - 1) * float(np.var(change))
        return max(variance - self.noise, self.least)

    @property
    def quantile(self) -> float:
        """Quantile of Student's t.

        Its degrees of freedom are those of as many groups of one size as carry the same
        weight (Kish, Survey Sampling, 1965, section 11.7), less one.
        """
        groups = self.sizes.sum() ** 2 / np.square(self.sizes).sum()
        return student_quantile(max(groups - 1, 1.0))


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


def leave_groups_out(
    values: np.ndarray, groups: np.ndarray, strata: np.ndarray | None = None
) -> LeftOut:
    """Return the mean over strata of their means, also without each group.

    Args:
        values: [n].
        groups: int [n].
        strata: int [n]; None for a single one. One that has no value without a group is
            left out with it.
    """
    strata = np.zeros(len(values), int) if strata is None else strata
    names, group = np.unique(groups, return_inverse=True)
    kinds, stratum = np.unique(strata, return_inverse=True)
    cell, shape = group * len(kinds) + stratum, (len(names), len(kinds))
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.bincount(cell, values, minlength=shape[0] * shape[1]).reshape(shape)
    total, count = sums.sum(0), counts.sum(0)
    value = float(np.mean(total / count))
    if len(names) == 1:
        return LeftOut(value, np.array([value]), counts.sum(1))
    least = LEAST * float(np.var(values)) / len(values)
    rest = count - counts  # [G, kinds]
    means = np.divide(total - sums, rest, out=np.zeros(shape), where=rest > 0)
    without = means.sum(1) / (rest > 0).sum(1)
    return LeftOut(value, without, counts.sum(1), least=least)


def interval(left_out: LeftOut, bounds: Bounds | None = None) -> tuple[float, float]:
    """Return the 95 % interval of a figure, nan of a single group.

    Args:
        left_out: The figure with and without groups.
        bounds: As in `mean_metric`.
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
        quantile: Of the standardized proportion; that of a normal one gives 95 %.
    """
    square = quantile**2
    middle = share + square / (2 * n)
    half = quantile * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    low, high = (middle - half) / (1 + square / n), (middle + half) / (1 + square / n)
    # At 0 and 1 the interval ends exactly there; rounding would miss it.
    low, high = (0.0 if share <= 0 else low), (1.0 if share >= 1 else high)
    return float(max(low, 0.0)), float(min(high, 1.0))


def student_quantile(degrees: float) -> float:
    """Return the two-sided 95 % quantile of Student's t."""
    return float(stdtrit(degrees, 0.975))


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
    if len(rows) < 2 * len(sizes):
        return math.nan, math.nan
    without = [statistic(rows[fold != i]) for i in range(len(sizes))]
    return interval(LeftOut(statistic(rows), np.array(without), sizes))


def deal_folds(groups: np.ndarray, seed: int) -> np.ndarray:
    """Return the fold of each value, int [n], all values of a group in one.

    Args:
        groups: int [n].
        seed: Random seed.

    Returns:
        0..F-1: `FOLDS` folds, or a fold for each group where they are fewer.
    """
    group = np.unique(groups, return_inverse=True)[1]
    count = int(group.max()) + 1
    order = np.random.default_rng(seed).permutation(count)
    return (order % min(FOLDS, count))[group]
