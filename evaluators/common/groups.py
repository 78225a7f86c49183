"""Which records of a split are not independent of each other."""

import numpy as np

from evaluators.common.protocols import Data, Split

FALLBACK = "label"  # where both sides of a split hold the same things on purpose


def record_groups(data: Data, split: Split) -> np.ndarray:
    """Return the group of each record, int [n].

    Records of one group, such as the slices of a scan or the frames of a clip, are on
    one side of the split, and intervals leave them out together.

    Args:
        data: Dataset; `grouped_by` names the column.
        split: A split of it. Records without the column, or with a negative number in
            it, are groups of their own.
    """
    alone = -1 - np.arange(len(split))
    name = data.grouped_by or FALLBACK
    if name not in split.table:
        return alone
    column = np.asarray(split.table[name])
    if column.dtype.kind in "iu":
        return np.where(column < 0, alone, column)
    return np.unique(column, return_inverse=True)[1]
