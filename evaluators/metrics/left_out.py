"""A figure without each group of queries, and the variance that follows from it.

This is the jackknife over groups,

  V = (G - 1) / G  sum_g (x_(-g) - mean_h x_(-h))^2

with x_(-g) the figure without group g.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

FOLDS = 10  # in which groups are left out where that takes long
LEAST = 0.01  # of the variance of independent values: groups can agree by accident


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


def student_quantile(degrees: float) -> float:
    """Return the two-sided 95 % quantile of Student's t."""
    return float(stdtrit(degrees, 0.975))
