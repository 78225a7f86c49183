"""Images of 16 bits a channel: their values, and how many of the bits are in use.

Cameras and scanners write 10, 12 or 14 bits into files of 16. The container does not
say so, and 12 bits shown as 16 are black: a sixteenth of the range.
"""

import io
import os
import sys
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from input_pipeline.formats import rgb

Source: TypeAlias = str | os.PathLike | io.BytesIO
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


class DeepImage(NamedTuple):
    """An image of 16 bits.

    Attributes:
        values: Integers of a gray image [h, w] or of colors [h, w, 3].
        alpha: Opacity [h, w], None for an opaque image.
        significant: Bits that the file says are used, 0 if it says nothing.
    """

    values: np.ndarray
    alpha: np.ndarray | None
    significant: int


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened, not yet loaded image has integers above 8 bits."""
    return image.mode.startswith("I") or ";16" in _raw_mode(image)


def read_deep(source: Source, image: Image.Image, significant: int) -> DeepImage:
    """Return the values of a deep image.

    Pillow hands over the high byte of colors; the low one is read by unpacking the file
    once more, as if its bytes were in the other order.

    Args:
        source: The file of the image.
        image: The opened image, not yet loaded.
        significant: Bits that the file says are used, 0 if it says nothing.
    """
    raw = _raw_mode(image)
    image.load()
    values = np.asarray(image).astype(np.int32)
    if values.ndim == 2:
        return DeepImage(values, None, significant)
    values = values * 256 + _low_bytes(source, raw, values)
    alpha = values[..., 3] if values.shape[2] == 4 else None
    return DeepImage(values[..., :3], alpha, significant)


def used_bits(deep: DeepImage) -> int:
    """Return how many bits the values need, or as many as the file says."""
    return rgb.used_bits(int(deep.values.max(initial=0)), deep.significant)


def to_eight_bits(deep: DeepImage, bits: int) -> Image.Image:
    """Return the image with `bits` scaled to 8; opacity by the bits it uses itself."""
    scaled = rgb.scale_integers(deep.values, bits)
    if deep.alpha is None:
        return Image.fromarray(scaled)
    opacity = rgb.scale_integers(deep.alpha, rgb.used_bits(int(deep.alpha.max())))
    return Image.fromarray(np.dstack([scaled, opacity]))


def _low_bytes(source: Source, raw: str, high: np.ndarray) -> np.ndarray:
    """Return the low bytes [h, w, c] of colors; the high ones where they are lost."""
    colors, order = raw.split(";16")
    if colors not in ("RGB", "RGBA") or order not in _SWAPPED:
        return high
    with Image.open(source) as image:
        image.tile = [_swapped(tile, f"{colors};16{order}") for tile in image.tile]
        image.load()
        return np.asarray(image).astype(np.int32)


def _swapped(tile, raw: str):
    """Return a tile that is unpacked as if its bytes were in the other order."""
    other = raw[:-1] + _SWAPPED[raw[-1]]
    if isinstance(tile.args, str):
        return tile._replace(args=other)
    return tile._replace(args=(other, *tile.args[1:]))


def _raw_mode(image: Image.Image) -> str:
    """Return the name of the unpacker of an opened image, such as "RGB;16B"."""
    tile = getattr(image, "tile", None)
    arguments = tile[0].args if tile else ""
    if isinstance(arguments, tuple):
        arguments = arguments[0] if arguments else ""
    return arguments if isinstance(arguments, str) else ""
