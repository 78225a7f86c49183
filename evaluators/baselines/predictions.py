"""Predictions of the next vector that need no network, as embed functions.

What a context predicts is compared with what every model has to beat: the last vector
again, the mean, two weighted means and a linear map, these three fitted on the training
split. A single vector (view "view2") is its own embedding, as in the objective.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

ROWS = 4096  # windows read at a time
TARGET = "view2"
# Ridge: penalties tried, as a share of the mean square of an input, and the share of
# training articles on which one is chosen.
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
CHOOSE_ON = 0.2
FADES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

Predict = Callable[[np.ndarray], np.ndarray]


def persistence() -> Callable[..., np.ndarray]:
    """Return the embed function that predicts the last vector again."""
    return _embed(lambda x: x[:, -1])


def mean() -> Callable[..., np.ndarray]:
    """Return the embed function that predicts the mean of the context."""
    return _embed(lambda x: x.mean(1))


def fitted_average(split: Any) -> Callable[..., np.ndarray]:
    """Return the embed function of the weighted mean that fits a split best.

    w = argmin sum_i |t_i - sum_j w_j x_ij|^2, one weight a place in the context.

    Args:
        split: Windows, of articles in training.
    """
    w = fit_weights(split)
    return _embed(lambda x: np.einsum("l,nld->nd", w, x))


def exponential_average(split: Any) -> Callable[..., np.ndarray]:
    """Return the embed function of the mean that fades as finds the next vector best.

    w_j = r^(l - 1 - j) / sum_i r^i, the last weighing most. The other fits want a small
    error, which a prediction near the middle of everything has; this one is chosen by
    the rank of the next vector among others, which is what is asked for.

    Args:
        split: Windows, of articles in training.
    """
    r = fit_fading(split)
    return _embed(lambda x: np.einsum("l,nld->nd", _fading_weights(r, x.shape[1]), x))


def ridge(split: Any) -> Callable[..., np.ndarray]:
    """Return the embed function of the linear map of a context that fits a split best.

    W = argmin sum_i |t_i - W x_i|^2 + lambda |W|^2, x_i the vectors of the context one
    after another and a 1. lambda is chosen by cosine on a fifth of the articles, and W
    then fitted on all of them.

    Args:
        split: Windows, of articles in training.
    """
    w = fit_ridge(split)
    return _embed(lambda x: _flat(x) @ w)


def best() -> Callable[..., np.ndarray]:
    """Return the embed function of the best prediction, where the data knows it."""

    def embed(split, rows, view: str | None = None, **_) -> np.ndarray:
        name = "target" if view == TARGET else "best"
        fields = split.read(rows)
        if name not in fields:
            raise ValueError(
                "got baseline 'best' with data that does not know its best prediction; "
                "choices: persistence, mean, weights, ridge, untrained"
            )
        return _unit(fields[name])

    return embed


def fit_weights(split: Any) -> np.ndarray:
    """Return the weights [l] of `weights`, in double precision."""
    gram, cross = 0.0, 0.0
    for x, t in _blocks(split, np.arange(len(split))):
        x, t = x.astype(np.float64), t.astype(np.float64)
        gram = gram + np.einsum("nld,nmd->lm", x, x)
        cross = cross + np.einsum("nld,nd->l", x, t)
    return np.linalg.lstsq(gram, cross, rcond=None)[0]


def fit_fading(split: Any) -> float:
    """Return the decay r with the highest mean reciprocal rank of targets.

    Targets are looked for among those of the windows of some whole articles, less
    those that stand in the window's own context.
    """
    label, place = split.table["label"], split.table["vector"]
    labels = np.random.default_rng(0).permutation(np.unique(label))
    sizes = np.cumsum([np.sum(label == name) for name in labels])
    some = labels[: max(1, np.searchsorted(sizes, ROWS, "right"))]
    rows = np.flatnonzero(np.isin(label, some))[:ROWS]
    x, t = next(_blocks(split, rows))
    back = place[rows][:, None] - place[rows][None, :]
    own = (back >= 1) & (back <= x.shape[1])  # vectors of the context, [n, n]
    t = _unit(t)
    scores = []
    for r in FADES:
        p = _unit(np.einsum("l,nld->nd", _fading_weights(r, x.shape[1]), x))
        s = np.where(own, -np.inf, p @ t.T)
        ahead = np.sum(s >= np.diag(s)[:, None], 1)  # itself included
        scores.append(np.mean(1 / ahead))
    return FADES[int(np.argmax(scores))]


def _fading_weights(r: float, length: int) -> np.ndarray:
    w = r ** np.arange(length - 1, -1, -1, dtype=np.float32)
    return w / w.sum()


def fit_ridge(split: Any) -> np.ndarray:
    """Return the map [l d + 1, d] of `ridge`, float32."""
    labels = np.unique(split.table["label"])
    rng = np.random.default_rng(0)
    chosen = rng.permutation(labels)[: max(1, round(CHOOSE_ON * len(labels)))]
    apart = np.isin(split.table["label"], chosen)
    fitted = _moments(split, np.flatnonzero(~apart))
    held = _moments(split, np.flatnonzero(apart))
    if apart.all():
        fitted = held
    tries = [_solve(*fitted, penalty) for penalty in PENALTIES]
    rows = np.flatnonzero(apart)[:ROWS]
    x, t = next(_blocks(split, rows))
    scores = [np.mean(np.sum(_unit(_flat(x) @ w) * _unit(t), 1)) for w in tries]
    penalty = PENALTIES[int(np.argmax(scores))]
    both = fitted if apart.all() else [a + b for a, b in zip(fitted, held, strict=True)]
    return _solve(*both, penalty)


def _solve(gram: np.ndarray, cross: np.ndarray, penalty: float) -> np.ndarray:
    """(X^T X + lambda I)^-1 X^T T; the constant is not penalised."""
    size = len(gram)
    level = penalty * np.trace(gram[:-1, :-1]) / max(size - 1, 1)
    ridge = np.full(size, level)
    ridge[-1] = 1e-9 * max(gram[-1, -1], 1.0)
    return np.linalg.solve(gram + np.diag(ridge), cross).astype(np.float32)


def _moments(split: Any, rows: np.ndarray) -> list[np.ndarray]:
    """X^T X and X^T T of some rows, summed block by block in double precision."""
    gram, cross = 0.0, 0.0
    for x, t in _blocks(split, rows):
        flat = _flat(x).astype(np.float64)
        gram = gram + flat.T @ flat
        cross = cross + flat.T @ t.astype(np.float64)
    return [gram, cross]


def _blocks(split: Any, rows: np.ndarray):
    for start in range(0, len(rows), ROWS):
        fields = split.read(rows[start : start + ROWS])
        yield fields["context"], fields["target"]


def _flat(x: np.ndarray) -> np.ndarray:
    """[n, l, d] -> [n, l d + 1], the last column 1."""
    return np.concatenate([x.reshape(len(x), -1), np.ones((len(x), 1), x.dtype)], 1)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _embed(predict: Predict) -> Callable[..., np.ndarray]:
    def embed(split, rows, view: str | None = None, **_) -> np.ndarray:
        fields = split.read(rows)
        if view == TARGET:
            return _unit(fields["target"])
        return _unit(predict(fields["context"])).astype(np.float32)

    return embed
