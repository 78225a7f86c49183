"""Which value of an image is white: decided by the values, not by their type."""

import numpy as np

DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of scanners and cameras, in wider types
_WHITES = tuple(2.0**bits - 1 for bits in DEPTHS)


def white_level(high: float, dtype: np.dtype) -> float:
    """Return the value that becomes white.

    For whole numbers it is the largest value of the first depth of 8, 10, 12, 14, 16,
    24 or 32 bits that reaches `high`: 4,095 for 12 bits in 16. For others it is 1 or
    255, or else `high`.

    Args:
        high: Largest value of all images that belong together.
        dtype: Type of the values.
    """
    if dtype.kind == "b":
        return 1.0
    if dtype.kind in "iu":
        return next((white for white in _WHITES if high <= white), float(high))
    return next((white for white in (1.0, 255.0) if high <= white), float(high))


def told(high: float, white: float, dtype: np.dtype) -> str:
    """Return a sentence where the values use a part of their type only, else ""."""
    if dtype.kind not in "iu" or white >= np.iinfo(dtype).max:
        return ""
    return (
        f"the values go up to {high:,.0f}, of {np.iinfo(dtype).max:,} that {dtype} can "
        f"hold: {white:,.0f} is taken as white"
    )
