"""Decoding of any image file to a square RGB array, or the reason why not."""

import contextlib
import functools
import os
import stat
import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

# EPS starts an external program on the file's content.
_REFUSED_FORMATS = {"EPS"}
_ORIENTATION = 0x0112
_GRAY_TOLERANCE = 8  # JPEG keeps traces of color in gray images


class Rejected(Exception):
    """The file is left out; the message is the reason."""


class DecodedImage(NamedTuple):
    """A decoded file.

    Attributes:
        pixels: uint8 [S, S, 3].
        width: Width of the file's upright image in pixels.
        height: Height of it.
        gray: Whether the image has no color.
    """

    pixels: np.ndarray
    width: int
    height: int
    gray: bool


def decode(path: str | os.PathLike, size: int, max_pixels: int) -> DecodedImage:
    """Read the first frame of a file, upright, over white, padded to a square.

    Args:
        path: The file.
        size: Side of the result in pixels; nothing is cropped.
        max_pixels: Larger images are refused before they are unpacked.

    Returns:
        The image.

    Raises:
        Rejected: If the file cannot be read, is too large or is no image.
    """
    try:
        with warnings.catch_warnings(), _pixel_limit(max_pixels):
            warnings.simplefilter("ignore")
            return _decode(path, size, max_pixels)
    except Rejected:
        raise
    except Image.UnidentifiedImageError:
        raise Rejected("not an image that can be read") from None
    except Image.DecompressionBombError:
        raise Rejected(f"more than {max_pixels:,} pixels") from None
    except FileNotFoundError:
        raise Rejected("no such file") from None
    except PermissionError:
        raise Rejected("no permission to read it") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        text = " ".join(str(error).split())[:120]
        raise Rejected(
            f"damaged or cut short ({type(error).__name__}: {text})"
        ) from None


def _decode(path: str | os.PathLike, size: int, max_pixels: int) -> DecodedImage:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise Rejected("not a regular file")
    if status.st_size == 0:
        raise Rejected("empty file")
    with Image.open(path, formats=_formats()) as image:
        if image.width * image.height > max_pixels:
            raise Rejected(
                f"more than {max_pixels:,} pixels ({image.width} x {image.height})"
            )
        width, height = image.size
        image.draft(None, (4 * size, 4 * size))  # lets JPEG unpack a smaller image
        image.load()
        if image.getexif().get(_ORIENTATION, 1) >= 5:  # turned by a quarter
            width, height = height, width
        rgb = over_white(ImageOps.exif_transpose(image))
    pixels = np.asarray(square(rgb, size))
    spread = pixels.max(2).astype(int) - pixels.min(2)
    return DecodedImage(pixels, width, height, bool(spread.max() <= _GRAY_TOLERANCE))


def over_white(image: Image.Image) -> Image.Image:
    """Return `image` as 8-bit RGB; what is transparent shows white."""
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_eight_bits(np.asarray(image), image.mode))
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


def _eight_bits(values: np.ndarray, mode: str) -> np.ndarray:
    """Scale 16-bit, 32-bit and floating-point gray to uint8.

    Integers are taken for 16-bit, which is how Pillow hands over PNG, TIFF and PGM;
    floats for 0..1 or 0..255. Whatever lies outside is stretched from its own range.
    """
    values = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    top = 65535.0
    if mode == "F":
        top = 1.0 if high <= 1.0 else 255.0
    if low < 0 or high > top:
        values, top = values - low, high - low
    return np.rint(values * (255.0 / top)).astype(np.uint8)


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return sorted(set(Image.OPEN) - _REFUSED_FORMATS)


@contextlib.contextmanager
def _pixel_limit(max_pixels: int) -> Iterator[None]:
    """Set Pillow's own limit, which also guards images inside containers."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = max_pixels
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before
