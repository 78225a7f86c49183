"""A small dataset with the columns that evaluators use."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    z: np.ndarray  # [n, d], what `embed` returns
    table: dict[str, Any]
    images: np.ndarray | None = None

    def __len__(self):
        return len(self.z)

    def read(self, rows):
        return {"image": self.images[rows]}


class Data(NamedTuple):
    train: Split
    validation: Split
    facts: dict
    extra: dict = {}


def unit(z):
    z = np.asarray(z, np.float32)
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def split(rng, n, d=8, *, first_id=0, labels=6, artists=("a", "b", "c"), codes=None):
    """Random embeddings, a few unlabeled records, ids in no order."""
    label = rng.integers(-1, labels, n).astype(np.int32)
    if codes is None:
        codes = rng.integers(-1, 9, (n, 4)).astype(np.int32)
    counts = np.bincount(codes[codes >= 0], minlength=9)
    weights = np.where(codes < 0, 0, 1 / np.maximum(counts[codes], 1))
    table = {
        "id": rng.permutation(n).astype(np.int64) + first_id,
        "label": label,
        "codes": codes,
        "code_weights": weights.astype(np.float32),
        "source": [artists[i] for i in rng.integers(0, len(artists), n)],
    }
    return Split(unit(rng.standard_normal((n, d))), table)


def embed(split, rows, view=None):
    z = split.z[rows]
    if view is None:
        return z
    noise = np.random.default_rng(0).standard_normal(split.z.shape)[rows]
    return unit(z + 0.4 * noise)
