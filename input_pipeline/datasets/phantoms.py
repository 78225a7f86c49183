"""Random head phantoms: a dataset without files, drawn on the device when it is seen.

A record is three numbers, `phantom` uint32 [3]: seed, index, near_duplicate. Records
with one seed and index are the same head; its near_duplicates, 1, 2, ..., have one
small ellipse more, each its own. Validation begins at another index, so that no head is
in both splits.
"""

import numpy as np

from input_pipeline import dataset
from input_pipeline.physics.phantoms import NEAR_DUPLICATES

# Ids leave room for all near_duplicates of a head.
MOST = (2**31 - 1) // (NEAR_DUPLICATES + 1)  # heads; ids fit int32


def load(
    *,
    train: int = 800,
    validation: int = 200,
    offset: int = -1,
    distractors: int = 9800,
    near_duplicates: int = 4,
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Returns phantoms as records.

    Args:
      train: heads to train on, indices 0 .. train - 1.
      validation: heads to evaluate on.
      offset: index of the first of them; -1 for the first after training.
      distractors: further heads after those, as a gallery to be lost in:
        `extra["distractors"]`.
      near_duplicates: near-duplicates of each validation head, 0 to 15:
          `extra["near_duplicates"]`.
      seed: of all heads.
      progress: no use here; nothing is prepared.

    Raises:
      DataError: on a number out of range, or where validation would begin among the
        heads of training.
    """
    del progress
    first = train if offset < 0 else offset
    _check(train, validation, first, distractors, near_duplicates)
    held = np.arange(first, first + validation)
    last = first + validation
    extra = {}
    if distractors:
        extra["distractors"] = split(np.arange(last, last + distractors), seed=seed)
    if near_duplicates:
        extra["near_duplicates"] = split(
            np.repeat(held, near_duplicates),
            np.tile(np.arange(1, near_duplicates + 1), validation),
            seed,
        )
    facts = {
        "dataset": "phantoms",
        "seed": seed,
        "training": f"heads 0 to {train - 1}",
        "validation": f"heads {first} to {last - 1}",
        "distractors": distractors,
        "near_duplicates_of_each": near_duplicates,
    }
    return dataset.Data(
        split(np.arange(train), seed=seed),
        split(held, seed=seed),
        facts,
        extra,
        grouped_by="head",
    )


def split(
    index: np.ndarray,
    near_duplicate: np.ndarray | None = None,
    seed: int = 0,
    first_id: int = 0,
) -> dataset.Split:
    """Returns the records of some heads.

    Args:
      index: int [n], which head.
      near_duplicate: int [n], 0 for the head itself; None for all of them.
      seed: of all heads.
      first_id: added to ids, which are `index * (NEAR_DUPLICATES + 1) +
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
        f"head {i}" if not t else f"head {i}, near_duplicate {t}"
        for i, t in zip(index.tolist(), near_duplicate.tolist(), strict=True)
    ]
    table = {
        "id": first_id + index * (NEAR_DUPLICATES + 1) + near_duplicate,
        "label": np.full(n, dataset.MISSING, np.int32),
        "codes": np.full((n, 1), dataset.MISSING, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
        "head": index,
        "near_duplicate": near_duplicate,
        "name": names,
    }
    return dataset.Split(_Heads(columns.astype(np.uint32)), table, [], [])


class _Heads:
    """Random access to the three numbers of each record."""

    def __init__(self, columns: np.ndarray):
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        return {"phantom": self._columns[row]}

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Returns `phantom` uint32 [m, 3] of `rows`."""
        return {"phantom": self._columns[np.asarray(rows, np.int64)]}


def _check(train, validation, first, distractors, near_duplicates) -> None:
    for name, value in (("train", train), ("validation", validation)):
        if value < 1:
            raise dataset.DataError(
                f"data.{name}: got {value} phantoms; expected 1 or more"
            )
    if first < train:
        raise dataset.DataError(
            f"data.offset: got {first} with data.train = {train}: heads {first} to "
            f"{train - 1} would be trained on and evaluated on; expected {train} or "
            "more, or -1"
        )
    if not 0 <= near_duplicates <= NEAR_DUPLICATES:
        raise dataset.DataError(
            f"data.near_duplicates: got {near_duplicates}; "
            f"expected 0 to {NEAR_DUPLICATES}"
        )
    if distractors < 0 or first + validation + distractors > MOST:
        raise dataset.DataError(
            f"data.distractors: got {distractors}; expected 0 to "
            f"{MOST - first - validation}"
        )
