"""Means over pairs of anchors and keys, and what they are without a group.

A record is an anchor of one row of pairs and a key of one column, so that rows are not
independent of each other: leaving out a record takes away both.
"""

import numpy as np

from evaluators.metrics.left_out import LeftOut


class PairSums:
    """Sums of one figure over pairs of an anchor and the key of another record.

    Args:
        anchors: int [a], the record of each anchor.
        groups: int [n], 0..G-1, the group of each record; each has a key.
    """

    def __init__(self, anchors: np.ndarray, groups: np.ndarray):
        self._anchors, self._groups = anchors, groups
        self._count = int(groups.max()) + 1
        self._touched = np.zeros(self._count)  # sums of pairs with a record of a group
        self._total = 0.0

    def add(self, block: slice, values: np.ndarray) -> None:
        """Add the rows of some anchors.

        Args:
            block: Anchors.
            values: [b, n]; the value of an anchor with its own record is ignored.
        """
        rows = self._anchors[block]
        values = values.astype(float)  # a copy
        values[np.arange(len(rows)), rows] = 0
        group = self._groups[rows]
        within = np.where(group[:, None] == self._groups[None, :], values, 0).sum(1)
        self._touched += np.bincount(group, values.sum(1) - within, self._count)
        self._touched += np.bincount(self._groups, values.sum(0), self._count)
        self._total += values.sum()

    def left_out(self) -> LeftOut:
        """Return the mean over pairs, with and without each group."""
        sizes = np.bincount(self._groups, minlength=self._count)
        anchors = np.bincount(self._groups[self._anchors], minlength=self._count)
        keys, rows = len(self._groups), len(self._anchors)
        pairs = rows * (keys - 1)
        # Rows of the group, columns of the group in other rows; no pair of a record
        # with itself.
        gone = anchors * (keys - 1) + (rows - anchors) * sizes
        rest = pairs - gone
        value = self._total / max(pairs, 1)
        without = np.where(
            rest > 0, (self._total - self._touched) / np.maximum(rest, 1), value
        )
        return LeftOut(float(value), without, sizes)
