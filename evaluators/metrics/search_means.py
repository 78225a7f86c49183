"""Means over queries whose groups are searched, too.

Leaving out a group takes away its queries, and its records from the candidates of the
others. The values of those change by the group, and by which of its records happened to
be in front; the latter is noise that adds to the variance of the jackknife,

  N = (G - 1) / G  sum_g sum_h (sum_{i in h} (x_i(-g) - x_i))^2 / n_(-g)^2

with x_i(-g) the value of query i, of group h, without candidates of group g. Half of it
is taken off: in simulations, intervals of nearest neighbors cover 98 to 99 % with all
of the noise, 90 to 94 % with none, and 95 to 98 % with half.
"""

from collections.abc import Sequence

import numpy as np

from evaluators.metrics.left_out import LeftOut, leave_groups_out

TAKEN_OFF = 0.5  # share of the noise


def searched_mean(
    values: np.ndarray,
    groups: np.ndarray,
    folds: np.ndarray,
    without: Sequence[np.ndarray],
    removed: np.ndarray | None = None,
) -> LeftOut:
    """Return the mean over queries, with and without the groups of each fold.

    Args:
        values: [m].
        groups: int [m]; queries of one group are not independent.
        folds: int [m], 0..F-1; those of one group are in one fold.
        without: F arrays [m], the values without the candidates of a fold; nan where a
            query then has none.
        removed: int [F], candidates of each fold; None where there are none.
    """
    group = np.unique(groups, return_inverse=True)[1]
    rows = leave_groups_out(values, folds)
    means, noise = np.full(len(without), rows.value), 0.0
    for fold, changed in enumerate(without):
        rest = (folds != fold) & ~np.isnan(changed)
        count = max(int(rest.sum()), 1)
        means[fold] = changed[rest].sum() / count if rest.any() else rows.value
        change = np.bincount(group[rest], changed[rest] - values[rest])
        noise += float(np.square(change / count).sum())
    return rows._replace(
        without=means if len(rows.without) > 1 else rows.without,
        groups=int(group.max()) + 1,
        removed=removed,
        noise=TAKEN_OFF * noise * (1 - 1 / len(without)),
        least=rows.variance,
    )


def nearest_mean(
    values: np.ndarray,
    others: np.ndarray,
    groups: np.ndarray,
    nearest: np.ndarray,
    sizes: np.ndarray,
) -> LeftOut:
    """Return the mean of values that depend on the nearest candidate alone.

    Args:
        values: [m], one a query.
        others: [m], the values without the group of the nearest candidate; nan where
            there is no other.
        groups: int [m], 0..G-1, of the queries.
        nearest: int [m], 0..G-1, of the nearest candidates.
        sizes: int [G], candidates in each group.
    """
    rows, count = leave_groups_out(values, groups), len(sizes)
    asked = np.unique(groups)
    # The value of a query of the group itself goes anyway.
    change = np.where((groups == nearest) | np.isnan(others), 0, others - values)
    rest = len(values) - np.bincount(groups, minlength=count)
    total = np.bincount(nearest, change, count) / np.maximum(rest, 1)
    pairs = np.unique(nearest * count + groups, return_inverse=True)
    by_pair = np.bincount(pairs[1], change) / np.maximum(rest[pairs[0] // count], 1)
    without = np.full(count, rows.value)
    without[asked] = rows.without if len(asked) > 1 else rows.value
    share = TAKEN_OFF * (1 - 1 / count)
    return LeftOut(
        rows.value,
        without + total,
        np.bincount(groups, minlength=count),
        removed=sizes,
        noise=share * float(np.square(by_pair).sum()),
        least=rows.variance if len(asked) > 1 else 0.0,
    )
