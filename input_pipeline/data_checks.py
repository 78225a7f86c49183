"""What is true of a dataset whoever made it: shapes, content, labels, leaks, repeats.

Columns are looked at whole; of pictures and vectors some thousand records a side, so
that a run of half a million starts no later for it.
"""

import hashlib
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import dataset, leaks

MOST = 2000  # records of a side that are read
BYTES = 2**26  # of a side that are read
_CHUNK = 2**24  # bytes read at once
# What a record shows; other fields say where it lies or what comes with it.
_CONTENT = ("image", "kspace", "phantom", "context", "target")


class _Seen(NamedTuple):
    """Records that were read: their rows, a hash of each, and what a record is."""

    rows: np.ndarray
    hashes: np.ndarray
    fields: dict[str, dict]


def describe(data: dataset.Data) -> dict[str, Any]:
    """Returns facts on a dataset, JSON values.

    Returns:
      `fields`, shape and dtype of each field of a record; `content_hash`, 16 digits
      that change with ids, labels, codes and the records that were read, and
      `content_hash_of`, how many; `labeling` of each side: records, classes, shares of
      records with a label, with a code, and with another record of the side that has
      one of them too; `leaks`, see `_leaks.find`; `repeats`, see `_leaks.repeats`.
    """
    train, validation = _look(data.train), _look(data.validation)
    digest = hashlib.sha256()
    for split, seen in ((data.train, train), (data.validation, validation)):
        for name in ("id", "label", "codes"):
            digest.update(np.ascontiguousarray(split.table[name]).tobytes())
        digest.update(seen.hashes.tobytes())
    return {
        "fields": train.fields,
        "content_hash": digest.hexdigest()[:16],
        "content_hash_of": len(train.rows) + len(validation.rows),
        "labeling": {
            "train": _labeling(data.train),
            "validation": _labeling(data.validation),
        },
        "leaks": leaks.find(data, train.hashes, validation.hashes),
        "repeats": leaks.repeats(data, train.hashes),
    }


def _look(split: dataset.Split) -> _Seen:
    """Reads some records, all the same ones whenever it is asked."""
    if not len(split):
        return _Seen(np.zeros(0, np.int64), np.zeros(0, np.uint64), {})
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
    for start in range(0, count, step):
        read = split.read(rows[start : start + step])
        for record in zip(*(read[name] for name in shown), strict=True):
            one = hashlib.blake2b(digest_size=8)
            for value in record:
                one.update(np.ascontiguousarray(value).tobytes())
            hashes.append(int.from_bytes(one.digest(), "little"))
    return _Seen(rows, np.array(hashes, np.uint64), fields)


def _labeling(split: dataset.Split) -> dict[str, Any]:
    label, codes = (np.asarray(split.table[name]) for name in ("label", "codes"))
    per_label = np.bincount(label[label >= 0], minlength=1)
    per_code = np.bincount(codes[codes >= 0], minlength=1)
    company = (label >= 0) & (per_label[label] > 1)
    shared = ((codes >= 0) & (per_code[codes] > 1)).any(1)
    return {
        "records": len(split),
        "classes": int((per_label > 0).sum()),
        "labeled": _share(label >= 0),
        "with_another_of_the_label": _share(company),
        "codes": int((per_code > 0).sum()),
        "coded": _share((codes >= 0).any(1)),
        "with_another_of_a_code": _share(shared),
    }


def _share(which: np.ndarray) -> float:
    return float(which.mean()) if len(which) else 0.0
