"""Phantoms as records: three numbers each, drawn on the device."""

import numpy as np

from input_pipeline import dataset
from input_pipeline.physics.phantoms import NEAR_DUPLICATES

# Ids leave room for all near-duplicates of a phantom and fit int32.
MOST = (2**31 - 1) // (NEAR_DUPLICATES + 1)  # phantoms
FIRST_ID_BESIDE_SCANS = 2**30  # ids of phantoms in a dataset of scans begin here


def split(
    index: np.ndarray,
    near_duplicate: np.ndarray | None = None,
    seed: int = 0,
    first_id: int = 0,
) -> dataset.Split:
    """Return the records of some phantoms.

    Args:
        index: int [n], which phantom.
        near_duplicate: int [n], 0 for the phantom itself; None for all of them.
        seed: Random seed of all phantoms.
        first_id: Added to ids, which are `index * (NEAR_DUPLICATES + 1) +
            near_duplicate`.
    """
    index = np.asarray(index, np.int64)
    near_duplicate = (
        np.zeros_like(index)
        if near_duplicate is None
        else np.asarray(near_duplicate, np.int64)
    )
    n = len(index)
    columns = np.stack([np.full(n, seed & 0xFFFFFFFF), index, near_duplicate], 1)
    names = [
        f"phantom {i}" if not t else f"phantom {i}, near_duplicate {t}"
        for i, t in zip(index.tolist(), near_duplicate.tolist(), strict=True)
    ]
    ids = first_id + index * (NEAR_DUPLICATES + 1) + near_duplicate
    table = {
        **dataset.columns_without_codes(ids),
        "phantom": index,
        "near_duplicate": near_duplicate,
        "name": names,
    }
    return dataset.Split(_Phantoms(columns.astype(np.uint32)), table, [], [])


class _Phantoms:
    """Random access to the three numbers of each record."""

    def __init__(self, columns: np.ndarray):
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {"phantom": self._columns[row]}

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return `phantom` uint32 [m, 3] of `rows`."""
        return {"phantom": self._columns[np.asarray(rows, np.int64)]}
