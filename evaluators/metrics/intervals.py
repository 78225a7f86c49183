"""Means and medians over queries with 95 % intervals."""

import math
from collections.abc import Callable

import numpy as np

from evaluators.common.metric import Metric, MetricType

Z95 = 1.959963984540054  # two-sided 95 % of a normal distribution
RESAMPLES = 1000
MAX_DRAWS = 2**16  # groups drawn at once: fits a core's cache
MAX_VALUES = 2**22  # values of resamples in memory at once
FOLDS = 10  # of the jackknife
T95 = 2.2621571628  # two-sided 95 % of Student's t with FOLDS - 1 degrees of freedom


def mean_metric(
    values: np.ndarray,
    chance: np.ndarray | float,
    groups: np.ndarray,
    seed: int,
    metric_type: MetricType,
    *,
    share: bool = False,
    strata: np.ndarray | None = None,
) -> Metric:
    """Return the mean over queries with its interval.

    A proportion gets Wilson's interval for its effective number of queries, a mean the
    bootstrap over groups, and so does a mean over several strata. Where all values are
    0, or all 1, resamples have no spread; the interval is then Wilson's for the number
    of groups.

    Args:
        values: [n], one value a query.
        chance: [n], expected value of a random order, or one level for all.
        groups: int [n]; values of one group are not independent.
        seed: Random seed of the bootstrap.
        metric_type: Kind and direction.
        share: Whether values lie between 0 and 1.
        strata: int [n]; means are taken within each, and then over them. None for a
            single one.
    """
    if not len(values):
        return Metric(np.nan, 0, np.nan, np.nan, np.nan, *metric_type)
    values = np.asarray(values, float)
    chances = np.broadcast_to(np.asarray(chance, float), values.shape)
    strata = np.zeros(len(values), int) if strata is None else strata
    names = np.unique(strata)
    mean = float(np.mean([values[strata == s].mean() for s in names]))
    mean_chance = float(np.mean([chances[strata == s].mean() for s in names]))
    proportion = share and np.isin(values, (0.0, 1.0)).all()
    if proportion and (mean in (0.0, 1.0) or len(names) == 1):
        low, high = wilson(mean, effective_count(values, groups))
    else:
        low, high = bootstrap_mean(values, groups, strata, seed)
    return Metric(mean, len(values), mean_chance, low, high, *metric_type)


def median_metric(
    values: np.ndarray,
    chance: float,
    groups: np.ndarray,
    seed: int,
    metric_type: MetricType,
) -> Metric:
    """Return the median over queries, its interval from whole groups drawn at random.

    Args:
        values: [n], one value a query.
        chance: Median of random candidates.
        groups: int [n]; values of one group are not independent.
        seed: Random seed of the bootstrap.
        metric_type: Kind and direction.
    """
    if not len(values):
        return Metric(np.nan, 0, np.nan, np.nan, np.nan, *metric_type)
    median = float(np.median(values))
    low, high = bootstrap_median(values, groups, seed)
    return Metric(median, len(values), chance, low, high, *metric_type)


def wilson(share: float, n: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a proportion: 0 of 10 gives (0, .278).

    Args:
        share: Proportion in 0..1.
        n: Number of independent values behind it, > 0.
    """
    middle = share + Z95**2 / (2 * n)
    half = Z95 * np.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low, high = (np.array([middle - half, middle + half])) / (1 + Z95**2 / n)
    # At 0 and 1 the interval ends exactly there; rounding would miss it.
    low, high = (0.0 if share <= 0 else low), (1.0 if share >= 1 else high)
    return float(max(low, 0.0)), float(min(high, 1.0))


def bootstrap_mean(
    values: np.ndarray,
    groups: np.ndarray,
    strata: np.ndarray,
    seed: int,
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean over strata of their means.

    Whole groups are drawn with replacement, so that values which belong together, such
    as several queries for one concept, do not count as independent.

    Args:
        values: [n].
        groups: int [n], what is drawn.
        strata: int [n], what is averaged within before it is averaged over.
        seed: Random seed of the draws.
    """
    names, group = np.unique(groups, return_inverse=True)
    kinds, stratum = np.unique(strata, return_inverse=True)
    cell = group * len(kinds) + stratum
    shape = len(names), len(kinds)
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    sums = np.bincount(cell, values, minlength=shape[0] * shape[1]).reshape(shape)
    rng = np.random.default_rng(seed)
    means, at_once = [], max(1, MAX_DRAWS // len(names))
    for start in range(0, RESAMPLES, at_once):
        r = min(at_once, RESAMPLES - start)
        drawn = rng.integers(len(names), size=(r, len(names)))
        drawn += len(names) * np.arange(r)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(r, -1)
        size = weights @ counts.astype(np.float64)  # [r, kinds]
        filled = size > 0  # a small stratum can be missing from a draw
        shares = weights @ sums / np.maximum(size, 1)
        means.append(shares.sum(1) / filled.sum(1))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def bootstrap_median(
    values: np.ndarray, groups: np.ndarray, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the median.

    Args:
        values: [n].
        groups: int [n], what is drawn with replacement.
        seed: Random seed of the draws.
    """
    order = np.argsort(values)
    names, group = np.unique(groups[order], return_inverse=True)
    rng = np.random.default_rng(seed)
    medians, at_once = [], max(1, MAX_VALUES // len(values))
    for start in range(0, RESAMPLES, at_once):
        r = min(at_once, RESAMPLES - start)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), r)
        medians.append(weighted_medians(values[order], drawn[:, group]))
    low, high = np.percentile(np.concatenate(medians), [2.5, 97.5])
    return float(low), float(high)


def weighted_medians(values: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    """Return medians [r] of rising values [q], each repeated int [r, q] times."""
    count = np.cumsum(repeats, axis=1)
    half = count[:, -1:] / 2
    lower, upper = np.argmax(count >= half, 1), np.argmax(count > half, 1)
    return (values[lower] + values[upper]) / 2


def jackknife(
    statistic: Callable[[np.ndarray], float], rows: np.ndarray, seed: int
) -> tuple[float, float]:
    """Return the 95 % interval of a statistic of rows, leaving out a tenth at a time.

    The bootstrap does not suit statistics of rank or distance: rows that are drawn
    twice lower them.

    Args:
        statistic: Function of rows [m, ...].
        rows: [n, ...].
        seed: Random seed of the folds.

    Returns:
        The ends; nan with fewer than two rows a fold.
    """
    if len(rows) < 2 * FOLDS:
        return math.nan, math.nan
    value = statistic(rows)
    order = np.random.default_rng(seed).permutation(len(rows))
    size = len(rows) // FOLDS
    values = [
        statistic(np.delete(rows, order[i * size : (i + 1) * size], axis=0))
        for i in range(FOLDS)
    ]
    half = T95 * math.sqrt((FOLDS - 1) * np.var(values))
    return value - half, value + half


def effective_count(values: np.ndarray, groups: np.ndarray) -> float:
    """Return the number of independent values that give the mean the same variance.

    n / design effect, at most n; the number of groups where values do not differ.

    Args:
        values: [n].
        groups: int [n]; values of one group are not independent.

    Source: Kish, Survey Sampling, 1965.
    """
    group = np.unique(groups, return_inverse=True)[1]
    deviation = values - values.mean()
    if not deviation.any():
        return float(group.max() + 1)
    independent = np.square(deviation).sum()
    grouped = np.square(np.bincount(group, deviation)).sum()
    return float(len(values) * independent / max(independent, grouped))
