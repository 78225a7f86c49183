"""Random head phantoms: a dataset without files, drawn on the device when it is seen.

A record is three numbers, `phantom` uint32 [3]: seed, index, near-duplicate. Records
with the same seed and index are one phantom; each of its near-duplicates, 1, 2, ...,
has one more small ellipse of its own. Validation starts at another index than training,
so that no phantom is in both splits.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from annotated_types import Interval

import field_types
from input_pipeline import dataset, field_checks
from input_pipeline.datasets import kspace
from input_pipeline.physics.phantoms import NEAR_DUPLICATES
from input_pipeline.records.phantoms import MOST, split


def load(
    *,
    train: Annotated[int, Interval(ge=1, le=10**7)] = 800,
    validation: Annotated[int, Interval(ge=1, le=10**7)] = 200,
    offset: Annotated[int, Interval(ge=-1, le=MOST)] = -1,
    distractors: Annotated[int, Interval(ge=0, le=10**7)] = 9800,
    near_duplicates: Annotated[int, Interval(ge=0, le=NEAR_DUPLICATES)] = 4,
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Return phantoms as records.

    Args:
        train: Phantoms to train on, indices 0 .. train - 1.
        validation: Phantoms to evaluate on.
        offset: Index of the first of them; -1 for the first after training.
        distractors: Further phantoms, which enlarge the gallery:
            `extra["distractors"]`.
        near_duplicates: Near-duplicates of each validation phantom, 0 to 15:
            `extra["near_duplicates"]`.
        seed: Random seed of all phantoms.
        progress: Not used.

    Raises:
        DataError: If a field is out of range, or validation would begin among the
            phantoms of training.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(train=train, validation=validation, offset=offset, distractors=distractors)
    del progress
    first = train if offset < 0 else offset
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
        "training": f"phantoms 0 to {train - 1}",
        "validation": f"phantoms {first} to {last - 1}",
        "distractors": distractors,
        "near_duplicates_of_each": near_duplicates,
    }
    return dataset.Data(
        split(np.arange(train), seed=seed),
        split(held, seed=seed),
        facts,
        extra,
        grouped_by="phantom",
    )


def check(**fields: Any) -> None:
    """Check constraints between the fields of `load`.

    Raises:
        DataError: Validation begins among the phantoms of training, or there are more
            phantoms than ids.
    """
    given = field_checks.with_defaults(load, fields)
    train, offset = given["train"], given["offset"]
    first = train if offset < 0 else offset
    if first < train:
        raise dataset.DataError(
            f"data.offset: got {first} with data.train = {train}: phantoms {first} to "
            f"{train - 1} would be trained on and evaluated on; expected {train} or "
            "more, or -1"
        )
    room = MOST - first - given["validation"]
    if given["distractors"] > room:
        raise dataset.DataError(
            f"data.distractors: got {given['distractors']}; expected 0 to {room}"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any
) -> tuple[dataset.Split, dict]:
    """Return the scans of a folder or a file; see `kspace.read_records`.

    Args:
        path: File or folder of k-space.
        data: Not used; the fields of phantoms do not describe files.
        transform: Transform of scans.
    """
    del data
    return kspace.read_records(path, data={}, transform=transform)
