"""A small dataset with the columns that evaluators use."""

import dataclasses
import importlib
from typing import Any, NamedTuple

import numpy as np

from evaluators.baselines.common.baseline import Context as BaselineContext
from evaluators.common.evaluator import Context, EvaluatorBase


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
    grouped_by: str = "label"


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


def build(module, data, *, prefix="e", seed=0, **fields) -> EvaluatorBase:
    """The evaluator of a module, bound to data."""
    context = Context(data=data, prefix=prefix, seed=seed)
    return module.Evaluator(**fields, context=context)


def full_tags(evaluator) -> set[str]:
    return {f"{evaluator.context.prefix}/{tag}" for tag in evaluator.tags()}


def fit_baseline(name, data=None, images=None, **fields):
    """The embed function of a baseline that needs no network."""
    context = BaselineContext(data=data, images=images, untrained=None, start=None)
    module = importlib.import_module(f"evaluators.baselines.{name}")
    return module.Baseline(**fields).fit(context)
