"""How far off the nearest frame is in a measured column, such as an angle."""

import numpy as np

from evaluators.common.metric import Metric
from evaluators.metrics import ranking

LEVELS = 512  # quantiles of a query's candidates that stand for all of them
_DRAWN = 2**22  # values of resamples in memory at once


def difference(a: np.ndarray, b: np.ndarray, period: float) -> np.ndarray:
    """Return |a - b|, or the shorter way round a circle of length period.

    Args:
        a: Values of the column; nan where missing.
        b: The same, of a shape that fits.
        period: 1 for a phase, 360 for a direction; 0 for a column that does not wrap.
    """
    off = np.abs(a - b)
    if not period:
        return off
    off = off % period
    return np.minimum(off, period - off)


def quantiles(errors: np.ndarray) -> np.ndarray:
    """Return evenly spaced quantiles of a query's possible errors, [LEVELS].

    Their median over all queries is that of a candidate drawn at random, to 1 / LEVELS
    of a rank.

    Args:
        errors: [m] of all candidates, m >= 1.
    """
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    return np.quantile(errors, levels, method="inverted_cdf")


def median(values: np.ndarray, chance: float, groups: np.ndarray, seed: int) -> Metric:
    """Return the median over queries, its interval from whole groups drawn at random.

    Args:
        values: [q].
        chance: Median of random candidates.
        groups: int [q]; values of one group are not independent.
        seed: Of the bootstrap.
    """
    if not len(values):
        return Metric(np.nan, 0, np.nan, np.nan, np.nan)
    order = np.argsort(values)
    names, group = np.unique(groups[order], return_inverse=True)
    rng = np.random.default_rng(seed)
    medians, many = [], max(1, _DRAWN // len(values))
    for start in range(0, ranking.RESAMPLES, many):
        r = min(many, ranking.RESAMPLES - start)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), r)
        medians.append(_weighted_medians(values[order], drawn[:, group]))
    low, high = np.percentile(np.concatenate(medians), [2.5, 97.5])
    return Metric(
        float(np.median(values)), len(values), chance, float(low), float(high)
    )


def _weighted_medians(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Medians [r] of rising values [q], each taken so many times, int [r, q]."""
    count = np.cumsum(times, axis=1)
    half = count[:, -1:] / 2
    lower, upper = np.argmax(count >= half, 1), np.argmax(count > half, 1)
    return (values[lower] + values[upper]) / 2
