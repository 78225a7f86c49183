"""Errors of the nearest frame in a measured column, such as an angle."""

import numpy as np

LEVELS = 512  # quantiles of a query's candidates that stand for all of them


def difference(a: np.ndarray, b: np.ndarray, period: float) -> np.ndarray:
    """Return |a - b|, or the shorter way round a circle of length period.

    Args:
        a: Values of the column; nan where missing.
        b: The same, of a shape that broadcasts.
        period: 1 for a phase, 360 for a direction; 0 for a column that does not wrap.
    """
    error = np.abs(a - b)
    if not period:
        return error
    error = error % period
    return np.minimum(error, period - error)


def quantiles(errors: np.ndarray) -> np.ndarray:
    """Return evenly spaced quantiles of a query's possible errors, [LEVELS].

    Their median over all queries is that of a candidate drawn at random, to 1 / LEVELS
    of a rank.

    Args:
        errors: [m] of all candidates, m >= 1.
    """
    levels = (np.arange(LEVELS) + 0.5) / LEVELS
    return np.quantile(errors, levels, method="inverted_cdf")
