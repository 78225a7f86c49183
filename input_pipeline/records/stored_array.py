"""An array in memory or in a file, which is mapped in the process that reads it."""

import pathlib

import numpy as np


class StoredArray:
    """An array, or a `.npy` file that is mapped when it is first read; picklable.

    Args:
        source: Array, or path of a file, which is never read as a whole.
    """

    def __init__(self, source: str | pathlib.Path | np.ndarray):
        self._source = source
        self._array: np.ndarray | None = None

    def __getstate__(self) -> dict:
        return {"_source": self._source, "_array": None}

    @property
    def array(self) -> np.ndarray:
        """The array, mapped where it is in a file."""
        if self._array is None:
            self._array = (
                self._source
                if isinstance(self._source, np.ndarray)
                else np.load(self._source, mmap_mode="r", allow_pickle=False)
            )
        return self._array


def unit_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return rows of an array with unit norm.

    Args:
        array: Vectors [v, d]; may be mapped.
        rows: Indices of any shape.

    Returns:
        float32 [*rows.shape, d]; zeros stay zero.
    """
    x = np.asarray(array[rows.ravel()], np.float32)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return x.reshape(*rows.shape, x.shape[1])
