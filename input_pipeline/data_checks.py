"""Checks of any dataset: shapes, content, labels, leaks and repeated records.

Columns are checked in full; of images and vectors up to `MOST` records a side are read,
so that the checks take seconds for a dataset of any size.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import dataset

MOST = 2000  # records of a side that are read
BYTES = 2**26  # of a side that are read
_NAMED = 3  # groups named that are on both sides
_CHUNK = 2**24  # bytes read at once
# What a record shows; other fields say where it lies or what comes with it.
_CONTENT = ("image", "kspace", "phantom", "context", "target")


class _Seen(NamedTuple):
    """Records that were read: rows, a hash of each, fields, and ranges of values."""

    rows: np.ndarray
    hashes: np.ndarray
    fields: dict[str, dict]
    ranges: dict[str, dict]


def describe(data: dataset.Data) -> dict[str, Any]:
    """Return facts on a dataset, JSON values.

    Returns:
        `fields`, shape and dtype of each field of a record; `ranges`, of what training
        records show: dtype, records, min, max, shares `constant` and `not_finite`;
        `content_hash`, 16 digits
        that change with ids, labels, codes and the records that were read, and
        `content_hash_of`, how many; `labeling` of each side: records, classes, shares
        of records with a label, with a code, and with another record of the side that
        has one of them too; `leaks`, see `_leaks`; `repeats`, see `_repeats`.
    """
    train, validation = _look(data.train), _look(data.validation)
    digest = hashlib.sha256()
    for split, sample in ((data.train, train), (data.validation, validation)):
        for name in ("id", "label", "codes"):
            digest.update(np.ascontiguousarray(split.table[name]).tobytes())
        digest.update(sample.hashes.tobytes())
    return {
        "fields": train.fields,
        "ranges": train.ranges,
        "content_hash": digest.hexdigest()[:16],
        "content_hash_of": len(train.rows) + len(validation.rows),
        "labeling": {
            "train": _labeling(data.train),
            "validation": _labeling(data.validation),
        },
        "leaks": _leaks(data, train.hashes, validation.hashes),
        "repeats": _repeats(data, train.hashes),
    }


def _look(split: dataset.Split) -> _Seen:
    """Read some records, all the same ones whenever it is asked."""
    if not len(split):
        return _Seen(np.zeros(0, np.int64), np.zeros(0, np.uint64), {}, {})
    first = {name: np.asarray(value) for name, value in split.source[0].items()}
    fields = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype)}
        for name, value in first.items()
    }
    shown = [name for name in _CONTENT if name in first] or list(first)
    size = max(sum(value.nbytes for value in first.values()), 1)
    count = min(len(split), MOST, max(BYTES // size, 1))
    rows = np.sort(np.random.default_rng(0).permutation(len(split))[:count])
    step = max(_CHUNK // size, 1)
    hashes = []
    ranges = {name: ValueRange(str(first[name].dtype)) for name in shown}
    for start in range(0, count, step):
        read = split.read(rows[start : start + step])
        for name in shown:
            ranges[name].add(np.asarray(read[name]))
        for record in zip(*(read[name] for name in shown), strict=True):
            digest = hashlib.blake2b(digest_size=8)
            for value in record:
                digest.update(np.ascontiguousarray(value).tobytes())
            hashes.append(int.from_bytes(digest.digest(), "little"))
    described = {name: values.describe() for name, values in ranges.items()}
    return _Seen(rows, np.array(hashes, np.uint64), fields, described)


class ValueRange:
    """Range of the values of a field, over records added piece by piece."""

    def __init__(self, dtype: str):
        self._dtype, self._records, self._constant, self._not_finite = dtype, 0, 0, 0
        self._least, self._most = np.inf, -np.inf

    def add(self, values: np.ndarray) -> None:
        """Count records [m, ...]; of complex values the magnitude."""
        if values.dtype.kind not in "biufc":
            return
        flat = values.reshape(len(values), -1)
        flat = np.abs(flat) if flat.dtype.kind == "c" else flat
        finite = np.isfinite(flat).all(1)
        self._records += len(flat)
        self._not_finite += int((~finite).sum())
        if not finite.any() or not flat.shape[1]:
            return
        least, most = flat[finite].min(1), flat[finite].max(1)
        self._constant += int((least == most).sum()) if flat.shape[1] > 1 else 0
        self._least = min(self._least, float(least.min()))
        self._most = max(self._most, float(most.max()))

    def describe(self) -> dict[str, Any]:
        """Return dtype, number of records, least and greatest value, and shares."""
        return {
            "dtype": self._dtype,
            "records": self._records,
            "min": self._least,
            "max": self._most,
            "constant": self._constant / max(self._records, 1),
            "not_finite": self._not_finite / max(self._records, 1),
        }


def _labeling(split: dataset.Split) -> dict[str, Any]:
    label, codes = (np.asarray(split.table[name]) for name in ("label", "codes"))
    per_label = np.bincount(label[label >= 0], minlength=1)
    per_code = np.bincount(codes[codes >= 0], minlength=1)
    with_company = (label >= 0) & (per_label[label] > 1)
    shared = ((codes >= 0) & (per_code[codes] > 1)).any(1)
    return {
        "records": len(split),
        "classes": int((per_label > 0).sum()),
        "labeled": _share(label >= 0),
        "with_another_of_the_label": _share(with_company),
        "codes": int((per_code > 0).sum()),
        "coded": _share((codes >= 0).any(1)),
        "with_another_of_a_code": _share(shared),
    }


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if len(which) else 0.0


def _leaks(
    data: dataset.Data, train: np.ndarray, validation: np.ndarray
) -> dict[str, Any]:
    """Return what both sides of a split share.

    Args:
        data: The splits and the column that they are grouped by.
        train: Hashes of the content of some training records, [m].
        validation: Hashes of some held-out records, [k].

    Returns:
        `grouped_by`; `groups`, how many are on both sides, with the first in
        `groups_named` and the share of validation records in `records`; `ids`, how many
        are on both sides; `windows`, the share of validation windows with a vector that
        a training window has, None for records that are no windows; `content`, the
        share of validation records that equal a training record, of `content_looked_at`
        [training, validation] records. Of sides that share on purpose (`grouped_by` "")
        nothing is asked.
    """
    if not data.grouped_by:
        return {"grouped_by": "", "groups": 0, "ids": 0, "records": 0.0}
    sides = data.train.table, data.validation.table
    has_groups = all(data.grouped_by in table for table in sides)
    groups = [np.asarray(t[data.grouped_by] if has_groups else []) for t in sides]
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


def _repeats(data: dataset.Data, hashes: np.ndarray) -> dict[str, Any]:
    """Return the share of training records that equal another before them.

    Args:
        data: The splits; what was counted when they were prepared holds.
        hashes: Hashes of the content of some training records, [m].
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
