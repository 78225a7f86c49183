"""Which records are not independent of each other."""

from collections.abc import Sequence

import numpy as np

from evaluators.common.protocols import Data, Split

FALLBACK = "label"  # where both sides of a split hold the same things on purpose


def record_groups(data: Data, parts: Sequence[tuple[Split, np.ndarray]]) -> np.ndarray:
    """Return the group of each record, int [m].

    Records of one group, such as the slices of a scan or the frames of a clip, are on
    one side of the split, and intervals leave them out together.

    Args:
        data: Dataset; `grouped_by` names the column.
        parts: Splits of it with their rows. Records without the column, or with a
            negative number in it, are groups of their own.
    """
    name = data.grouped_by or FALLBACK
    alone = -1 - np.arange(sum(len(rows) for _, rows in parts))
    if not all(name in split.table for split, _ in parts):
        return alone
    columns = [np.asarray(split.table[name])[rows] for split, rows in parts]
    column = np.concatenate(columns)
    if column.dtype.kind in "iu":
        return np.where(column < 0, alone, column)
    return np.unique(column, return_inverse=True)[1]
