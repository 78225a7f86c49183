"""Structural similarity of stored frames, each pair measured once."""

import numpy as np
from skimage.metrics import structural_similarity

from evaluators.search.temporal import Frames

WINDOW = 7  # pixels, of scikit-image
LEAST = 3  # pixels, the smallest window


class Similarity:
    """SSIM of queries with gallery frames (Wang et al., 2004), by scikit-image.

    Args:
        queries: Stored frames.
        gallery: The same.

    Raises:
        ValueError: If a frame has a side below 3 pixels.
    """

    def __init__(self, queries: Frames, gallery: Frames):
        self._queries, self._gallery = queries, gallery
        self._known: dict[tuple[int, int], float] = {}
        h, w = queries.read(np.zeros(1, int)).shape[1:]
        if min(h, w) < LEAST:
            raise ValueError(
                f"got frames of {h} x {w} pixels; expected sides of {LEAST} or more "
                "for SSIM, or ssim=0"
            )

    def __call__(self, query: int, rows: np.ndarray) -> np.ndarray:
        """Return the SSIM of one query with gallery rows, [m]."""
        pairs = [(int(query), int(row)) for row in rows]
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._known]
        if new:
            frame = self._queries.read(np.array([query]))[0]
            others = self._gallery.read(np.array([row for _, row in new]))
            for pair, other in zip(new, others, strict=True):
                self._known[pair] = of_pair(frame, other)
        return np.array([self._known[pair] for pair in pairs])


def of_pair(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean SSIM of two frames, uint8 [h, w] with a side of 3 or more.

    In windows of 7 x 7, or the largest odd ones that a smaller frame has room for.
    """
    side = min(a.shape)
    window = min(WINDOW, side - 1 + side % 2)
    return float(structural_similarity(a, b, win_size=window, data_range=255))
