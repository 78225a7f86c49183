"""Structural similarity (SSIM; Wang et al., 2004) of stored frames."""

from typing import Any

import numpy as np
from skimage.metrics import structural_similarity

WINDOW = 7  # pixels, side of scikit-image's window
MIN_SIDE = 3  # pixels, the smallest window


def check_sides(height: int, width: int) -> None:
    """Raise ValueError if a frame is smaller than the smallest window."""
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"got frames of {height} x {width} pixels; expected sides of {MIN_SIDE} or "
            "more for SSIM, or ssim=0"
        )


def mean_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Return the mean SSIM of two frames.

    In windows of 7 x 7, or the largest odd ones that a smaller frame has room for.

    Args:
        a: uint8 [h, w], h, w >= 3.
        b: The same.
    """
    side = min(a.shape)
    window = min(WINDOW, side - 1 + side % 2)
    ssim: Any = structural_similarity(a, b, win_size=window, data_range=255)
    return float(ssim)
