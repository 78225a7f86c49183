"""Images of 16 bits a channel: their values, and how many of the bits are in use.

Cameras and scanners write 10, 12 or 14 bits into files of 16. The container does not
say so, and 12 bits shown as 16 are black: a sixteenth of the range.
"""

import io
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from input_pipeline.formats import image_metadata

Source: TypeAlias = str | os.PathLike | io.BytesIO
BITS = (8, 10, 12, 14, 16)
_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_HEADER = 2**16  # bytes in which sBIT is looked for
_MOST_HEADERS = 256
_MOST_DECODED = 32


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


def read_deep(source: Source, image: Image.Image) -> DeepImage:
    """Return the values of a deep image.

    Pillow hands over the high byte of colors; the low one is read by unpacking the file
    once more, as if its bytes were in the other order.

    Args:
        source: The file of the image.
        image: The opened image, not yet loaded.
    """
    raw = _raw_mode(image)
    image.load()
    values = np.asarray(image).astype(np.int32)
    significant = _significant_bits(source)
    if values.ndim == 2:
        return DeepImage(values, None, significant)
    values = values * 256 + _low_bytes(source, raw, values)
    alpha = values[..., 3] if values.shape[2] == 4 else None
    return DeepImage(values[..., :3], alpha, significant)


def used_bits(deep: DeepImage) -> int:
    """Return how many bits the values need: 8, 10, 12, 14 or 16.

    What the file says holds where all values fit into it.
    """
    top = int(deep.values.max(initial=0))
    if 8 <= deep.significant <= 16 and top < 2**deep.significant:
        return deep.significant
    return next((bits for bits in BITS if top < 2**bits), BITS[-1])


def to_eight_bits(deep: DeepImage, bits: int) -> Image.Image:
    """Return the image with `bits` scaled to 8; beyond 16, from its own range."""
    low, high = int(deep.values.min(initial=0)), int(deep.values.max(initial=0))
    if low < 0 or high >= 2**16:
        values, top = deep.values - float(low), float(high) - low
    else:
        values, top = deep.values, 2**bits - 1
    scaled = np.rint(np.minimum(values * (255.0 / top), 255)).astype(np.uint8)
    if deep.alpha is None:
        return Image.fromarray(scaled)
    top = 2 ** used_bits(deep._replace(values=deep.alpha, significant=0)) - 1
    alpha = np.rint(deep.alpha * (255.0 / top)).astype(np.uint8)
    return Image.fromarray(np.dstack([scaled, alpha]))


def folder_bits(root: pathlib.Path, paths: Sequence[str]) -> int:
    """Return the bits that the deep images of a folder use, 0 if none is deep.

    Up to 256 files are opened and up to 32 deep ones decoded, evenly over the list.

    Args:
        root: The folder.
        paths: Files below it.
    """
    step = max(1, len(paths) // _MOST_HEADERS)
    deep = [root / path for path in paths[::step] if _bits_of(root / path, False)]
    step = max(1, len(deep) // _MOST_DECODED)
    return max((_bits_of(path, True) for path in deep[::step]), default=0)


def _bits_of(path: pathlib.Path, decode: bool) -> int:
    """Return the bits that a deep image uses, or 16 unread; 0 for any other file."""
    try:
        if not path.is_file():
            return 0
        with Image.open(path) as image:
            if not is_deep(image):
                return 0
            return used_bits(read_deep(path, image)) if decode else BITS[-1]
    except Exception:  # whoever decodes the file says what is wrong with it
        return 0


def _significant_bits(source: Source) -> int:
    if isinstance(source, io.BytesIO):
        return image_metadata.significant_bits(source.getvalue()[:_HEADER])
    with open(source, "rb") as file:
        return image_metadata.significant_bits(file.read(_HEADER))


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
