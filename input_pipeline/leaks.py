"""Records that are on both sides of a split, or more than once on one."""

from typing import Any

import numpy as np

from input_pipeline import dataset

_NAMED = 3


def find(
    data: dataset.Data, train: np.ndarray, validation: np.ndarray
) -> dict[str, Any]:
    """Returns what both sides of a split share.

    Args:
      data: the splits and the column that they are grouped by.
      train: hashes of the content of some training records, [m].
      validation: of some records held out, [k].

    Returns:
      `grouped_by`; `groups`, how many are on both sides, with the first in
      `groups_named` and the share of validation records in `records`; `ids`, how many
      are on both sides; `windows`, the share of validation windows with a vector that a
      training window has, None for records that are no windows; `content`, the share
      of validation records that equal a training record, of `content_looked_at`
      [training, validation] records. Of sides that share on purpose (`grouped_by` "")
      nothing is asked.
    """
    if not data.grouped_by:
        return {"grouped_by": "", "groups": 0, "ids": 0, "records": 0.0}
    sides = data.train.table, data.validation.table
    known = all(data.grouped_by in table for table in sides)
    groups = [np.asarray(t[data.grouped_by] if known else []) for t in sides]
    both = np.intersect1d(*groups)
    both = both[both >= 0] if both.dtype.kind in "iu" else both
    held = np.isin(groups[1], both)
    equal, looked_at = _equal(data, train, validation)
    return {
        "grouped_by": data.grouped_by,
        "groups": len(both),
        "groups_named": [_name(data, value) for value in both[:_NAMED].tolist()],
        "records": float(held.mean()) if len(held) else 0.0,
        "ids": len(np.intersect1d(sides[0]["id"], sides[1]["id"])),
        "windows": _windows(data),
        "content": equal,
        "content_looked_at": looked_at,
    }


def repeats(data: dataset.Data, hashes: np.ndarray) -> dict[str, Any]:
    """Returns the share of training records that equal another before them.

    Args:
      data: the splits; what was counted when they were prepared holds.
      hashes: of the content of some training records, [m].
    """
    facts = data.facts
    if "duplicates" in facts:
        n = len(data.train) + len(data.validation)
        return {"share": facts["duplicates"] / max(n, 1), "looked_at": n}
    again = len(hashes) - len(np.unique(hashes))
    return {"share": again / max(len(hashes), 1), "looked_at": len(hashes)}


def _equal(data, train, validation) -> tuple[float, list[int]]:
    n = [len(data.train), len(data.validation)]
    if "duplicates_across_splits" in data.facts:
        return data.facts["duplicates_across_splits"] / max(n[1], 1), n
    share = float(np.isin(validation, train).mean()) if len(validation) else 0.0
    return share, [len(train), len(validation)]


def _windows(data: dataset.Data) -> float | None:
    """Share of validation windows that touch a vector of a training window."""
    splits = data.train, data.validation
    if not all(len(split) and "vector" in split.table for split in splits):
        return None
    first = data.train.source[0]
    if "context" not in first:
        return None
    length = len(first["context"])
    last = [np.asarray(split.table["vector"], np.int64) for split in splits]
    used = np.zeros(max(column.max() for column in last) + 2, np.int64)
    np.add.at(used, last[0] - length, 1)
    np.add.at(used, last[0] + 1, -1)
    touched = np.concatenate([[0], np.cumsum(np.cumsum(used) > 0)])
    return float((touched[last[1] + 1] > touched[last[1] - length]).mean())


def _name(data: dataset.Data, value) -> str:
    names = data.train.label_names
    if data.grouped_by == "label" and 0 <= value < len(names):
        return names[value]
    return f"{data.grouped_by} {value}" if isinstance(value, int) else str(value)
