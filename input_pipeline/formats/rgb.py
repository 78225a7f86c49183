"""Images in memory as 8-bit RGB: opacity, wider values, squares."""

import numpy as np
from PIL import Image

DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # bits of scanners and cameras, in wider types
_WHITES = tuple(2.0**bits - 1 for bits in DEPTHS)
BITS = tuple(bits for bits in DEPTHS if bits <= 16)


class Rejected(Exception):
    """The file is left out; the message is the reason."""


def over_white(image: Image.Image) -> Image.Image:
    """Return a loaded image as 8-bit RGB; what is transparent shows white."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        image = Image.fromarray(scale_integers(values, used_bits(int(values.max()))))
    elif image.mode == "F":
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """Return the whole of `image` in the middle of a white square."""
    scale = size / max(image.size)
    fit = tuple(max(1, round(side * scale)) for side in image.size)
    if fit != image.size:
        image = image.resize(fit, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if fit == (size, size):
        return image
    canvas = Image.new("RGB", (size, size), "white")
    canvas.paste(image, ((size - fit[0]) // 2, (size - fit[1]) // 2))
    return canvas


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale floating-point gray of 0..1 or 0..255 to uint8; others from their range."""
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    top = 1.0 if high <= 1.0 else 255.0
    if low < 0 or high > top:
        values, top = values - low, high - low
    return np.rint(values * (255.0 / top)).astype(np.uint8)


def used_bits(highest: int, significant: int = 0) -> int:
    """Return how many bits values need: 8, 10, 12, 14 or 16.

    Args:
        highest: Largest of the values.
        significant: Bits that the file says are used, 0 if it says nothing. They hold
            where all values fit.
    """
    if BITS[0] <= significant <= BITS[-1] and highest < 2**significant:
        return significant
    return next((bits for bits in BITS if highest < 2**bits), BITS[-1])


def scale_integers(values: np.ndarray, bits: int) -> np.ndarray:
    """Return integers as uint8: from 0 .. 2^bits - 1, or else from their own range."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    start, white = 0.0, 2.0**bits - 1
    if low < 0 or high >= 2 ** BITS[-1]:
        start, white = float(low), float(high) - low
    scaled = (values.astype(np.float64) - start) * (255.0 / white)
    return np.rint(np.minimum(scaled, 255.0)).astype(np.uint8)


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
