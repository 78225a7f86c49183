"""Prediction by ridge regression."""

import dataclasses
from typing import ClassVar

import numpy as np

from evaluators.baselines.common.baseline import BaselineBase, Context
from evaluators.baselines.common.windows import (
    BLOCK_ROWS,
    predicted_by,
    read_blocks,
)
from evaluators.common.embeddings import unit_rows
from evaluators.common.protocols import Embed, Split

# Penalties tried, as a share of the mean square of an input, and the share of training
# articles on which one is chosen.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
CHOOSE_ON = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(BaselineBase):
    """Linear map of a context, fitted on the training split.

      W = argmin sum_i |t_i - W x_i|^2 + lambda |W|^2

    x_i are the vectors of a context one after another and a 1. lambda is chosen by
    cosine on a fifth of the articles, and W is then fitted on all of them.
    """

    label: ClassVar[str] = "ridge regression"

    def fit(self, context: Context) -> Embed:
        """Return the embed function with the map fitted on the training split."""
        w = fit_ridge(context.data.train)
        return predicted_by(lambda x: flatten(x) @ w)


def fit_ridge(split: Split) -> np.ndarray:
    """Return the map [l d + 1, d] that fits the windows of a split, float32."""
    label = split.table["label"]
    labels = np.unique(label)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(labels)[: max(1, round(CHOOSE_ON * len(labels)))]
    is_held_out = np.isin(label, chosen)
    fitted = _moments(split, np.flatnonzero(~is_held_out))
    held_out = _moments(split, np.flatnonzero(is_held_out))
    if is_held_out.all():
        fitted = held_out
    maps = [_solve(*fitted, penalty) for penalty in PENALTIES]
    rows = np.flatnonzero(is_held_out)[:BLOCK_ROWS]
    x, t = next(read_blocks(split, rows))
    cosines = [
        np.mean(np.sum(unit_rows(flatten(x) @ w) * unit_rows(t), 1)) for w in maps
    ]
    penalty = PENALTIES[int(np.argmax(cosines))]
    if is_held_out.all():
        return _solve(*fitted, penalty)
    gram, cross = (a + b for a, b in zip(fitted, held_out, strict=True))
    return _solve(gram, cross, penalty)


def flatten(x: np.ndarray) -> np.ndarray:
    """Return contexts [n, l, d] as rows [n, l d + 1], the last column 1."""
    return np.concatenate([x.reshape(len(x), -1), np.ones((len(x), 1), x.dtype)], 1)


def _solve(gram: np.ndarray, cross: np.ndarray, penalty: float) -> np.ndarray:
    """Return (X^T X + lambda I)^-1 X^T T; the constant is not penalized."""
    size = len(gram)
    level = penalty * np.trace(gram[:-1, :-1]) / max(size - 1, 1)
    ridge = np.full(size, level)
    ridge[-1] = 1e-9 * max(gram[-1, -1], 1.0)
    return np.linalg.solve(gram + np.diag(ridge), cross).astype(np.float32)


def _moments(split: Split, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return X^T X and X^T T of some rows, summed by blocks in double precision."""
    gram, cross = np.zeros(()), np.zeros(())
    for x, t in read_blocks(split, rows):
        flat = flatten(x).astype(np.float64)
        gram = gram + flat.T @ flat
        cross = cross + flat.T @ t.astype(np.float64)
    return gram, cross
