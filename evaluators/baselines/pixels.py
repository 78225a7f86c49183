"""Raw pixels, averaged over squares and compared by cosine."""

import dataclasses
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Interval

from evaluators.baselines.common.baseline import BaselineBase, Context
from evaluators.common.protocols import Embed, Split

CHUNK = 256  # images in memory at once
BLANK = 1e-3  # length below which an image holds nothing but rounding


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(BaselineBase):
    """Averages of an image over size x size squares, without its background.

      z = (background - A x A^T) / |...|, A averages `size` parts of a side

    Attributes:
        size: Side of the square that an image is shrunk to.
        background: Brightness that is 0 in the embedding: 1 for logos on white, which
            are then compared by their ink and not by the paper.
    """

    label: ClassVar[str] = "raw pixels"
    size: Annotated[int, Interval(ge=1, le=4096)] = 32
    background: Annotated[float, Interval(ge=0, le=1)] = 1.0

    def fit(self, context: Context) -> Embed:
        """Return the embed function.

        It returns float32 [m, size * size * c] of unit norm; 0 for an image that is all
        background.
        """

        def embed(
            split: Split, rows: np.ndarray, view: str | None = None, **changes: Any
        ) -> np.ndarray:
            """Return embeddings of records, chunk by chunk."""
            chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
            return np.concatenate(
                [
                    _foreground(
                        context.images(split, chunk, view, **changes),
                        self.size,
                        self.background,
                    )
                    for chunk in chunks
                ]
            )

        return embed


def _foreground(images: np.ndarray, size: int, background: float) -> np.ndarray:
    """Return unit vectors [m, size * size * c] of images [m, h, w, c]."""
    m, h, w, c = images.shape
    scale = 255.0 if images.dtype == np.uint8 else 1.0
    # One large product for all channels is faster than one product for each.
    across = np.kron(_averages(w, size).T, np.eye(c, dtype=np.float32))
    x = images.reshape(m * h, w * c).astype(np.float32) @ across  # [m * h, size * c]
    x = _averages(h, size) @ x.reshape(m, h, -1)  # [m, size, size * c]
    z = (background - x / scale).reshape(m, -1)
    norm = np.linalg.norm(z, axis=1, keepdims=True)
    return np.where(norm > BLANK, z / np.maximum(norm, BLANK), 0).astype(np.float32)


def _averages(side: int, size: int) -> np.ndarray:
    """Return the weights of pixels in `size` equal parts of a side, [size, side]."""
    edges = np.linspace(0, side, size + 1)
    first, last = edges[:-1, None], edges[1:, None]
    pixel = np.arange(side)[None, :]
    overlap = np.minimum(last, pixel + 1) - np.maximum(first, pixel)
    return (np.clip(overlap, 0, None) * size / side).astype(np.float32)
