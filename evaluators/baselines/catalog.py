"""Embeddings that no training went into; what they score is a run's baseline."""

from collections.abc import Callable
from typing import Any

import numpy as np

from evaluators.baselines import predictions

CHUNK = 256  # pictures in memory at once
BLANK = 1e-3  # a length below which a picture holds nothing but rounding


def make(
    name: str,
    *,
    data: Any,
    pictures: Callable,
    untrained: Callable,
    start: Callable,
    **fields: Any,
) -> Callable[..., np.ndarray]:
    """Return the embed function of a baseline.

    Args:
        name: One of those that the views of a recipe list, "untrained" or "start".
        data: The dataset; what is fitted is fitted on its training split.
        pictures: As in `pixels`.
        untrained: Embed function of a network that began at random.
        start: Embed function of what the run started from.
        **fields: Of that baseline.
    """
    makers = {
        "pixels": lambda: pixels(pictures, **fields),
        "untrained": lambda: untrained,
        "start": lambda: start,
        "persistence": predictions.persistence,
        "mean": predictions.mean,
        "fitted_average": lambda: predictions.fitted_average(data.train),
        "exponential_average": lambda: predictions.exponential_average(data.train),
        "ridge": lambda: predictions.ridge(data.train),
        "best": predictions.best,
    }
    return makers[name]()


def pixels(
    pictures: Callable, size: int = 32, *, ground: float = 1.0
) -> Callable[..., np.ndarray]:
    """Return an embed function: raw pixels, averaged over squares, compared by cosine.

    z = (ground - A x A^T) / |...|, A the averages over `size` equal parts of a side.

    Args:
        pictures: (split, rows, view, **changes) -> [m, S, S, c], uint8 or float in
            0..1; view as in `_contract.Embed`.
        size: Side of the square that an image is shrunk to.
        ground: Brightness in 0..1 that counts for nothing: 1 for marks on white. Two
            marks are then compared by their ink and not by the paper around it.

    Returns:
        An embed function: float32 [m, size * size * c], unit norm (0 for a picture that
        is all ground).
    """

    def embed(split, rows, view: str | None = None, **changes) -> np.ndarray:
        parts = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
        return np.concatenate(
            [
                _ink(pictures(split, part, view, **changes), size, ground)
                for part in parts
            ]
        )

    return embed


def _ink(images: np.ndarray, size: int, ground: float) -> np.ndarray:
    """Return unit vectors [m, size * size * c] of images [m, h, w, c]."""
    m, h, w, c = images.shape
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    # Channels stay apart in one large product, which beats many small ones.
    across = np.kron(_averages(w, size).T, np.eye(c, dtype=np.float32))
    x = images.reshape(m * h, w * c).astype(np.float32) @ across  # [m * h, size * c]
    x = _averages(h, size) @ x.reshape(m, h, -1)  # [m, size, size * c]
    z = (ground - x / scale).reshape(m, -1)
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    return np.where(norm > BLANK, z / np.maximum(norm, BLANK), 0).astype(np.float32)


def _averages(side: int, size: int) -> np.ndarray:
    """Return [size, side]: each part's share of every pixel, `size` equal parts."""
    edges = np.linspace(0, side, size + 1)
    first, last = edges[:-1, None], edges[1:, None]
    pixel = np.arange(side)[None, :]
    overlap = np.minimum(last, pixel + 1) - np.maximum(first, pixel)
    return (np.clip(overlap, 0, None) * size / side).astype(np.float32)
