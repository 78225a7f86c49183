"""Decoding of any image file to a square RGB array, or the reason why not."""

import contextlib
import functools
import io
import os
import pathlib
import re
import stat
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from input_pipeline.formats import deep_images, image_metadata, rgb

# EPS starts an external program on the file's content.
_REFUSED_FORMATS = {"EPS"}
_ORIENTATION = 0x0112
# EXIF orientation -> what turns the image upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEADER = 2**16  # bytes in which sBIT is looked for
_MOST_HEADERS = 256  # of a folder, to find deep images
_MOST_DECODED = 32
# Containers that Pillow names and does not decode.
_NO_IMAGES = {"BUFR", "GRIB", "HDF5", "MPEG"}
_EXTENSION = re.compile(r"\.[a-z][a-z0-9]{0,7}", re.IGNORECASE)
_QUARTER_TURNS = (5, 6, 7, 8)
_GRAY_TOLERANCE = 8  # JPEG keeps traces of color in gray images


Rejected = rgb.Rejected


class DecodedImage(NamedTuple):
    """A decoded file.

    Attributes:
        pixels: uint8 [S, S, 3].
        width: Width of the file's upright image in pixels.
        height: Height of it.
        gray: Whether the image has no color.
        bits: Bits in use of a file with 16 bits a channel, 0 for any other.
    """

    pixels: np.ndarray
    width: int
    height: int
    gray: bool
    bits: int


class UprightImage(NamedTuple):
    """An image turned upright, 8-bit RGB over white.

    Attributes:
        image: The image.
        width: Width in the file, upright, in pixels; `image` may be smaller.
        height: Height of it.
        bits: Bits in use of a file with 16 bits a channel, 0 for any other.
    """

    image: Image.Image
    width: int
    height: int
    bits: int


def is_image_file(path: str | os.PathLike) -> bool:
    """Return whether a file is an image, good or damaged, and no stray other file.

    Its extension decides; without one, how the content begins.

    Args:
        path: The file.
    """
    extension = os.path.splitext(path)[1]
    if extension.lower() in _extensions():
        return True
    if _EXTENSION.fullmatch(extension) or not os.path.isfile(path):
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path, formats=_formats()).close()
    except Exception:  # Pillow raises almost anything
        return False
    return True


def decode(
    path: str | os.PathLike, size: int, max_pixels: int, bits: int = 0
) -> DecodedImage:
    """Read the first frame of a file, upright, over white, padded to a square.

    Args:
        path: The file.
        size: Side of the result in pixels; nothing is cropped.
        max_pixels: Larger images are refused before they are unpacked.
        bits: Bits that are scaled to 8, see `read_upright`.

    Returns:
        The image.

    Raises:
        Rejected: If the file cannot be read, is too large or is no image.
    """
    upright = read_upright(path, max_pixels, draft=4 * size, bits=bits)
    pixels = np.asarray(rgb.square(upright.image, size))
    spread = pixels.max(2).astype(int) - pixels.min(2)
    gray = bool(spread.max() <= _GRAY_TOLERANCE)
    return DecodedImage(pixels, upright.width, upright.height, gray, upright.bits)


def read_upright(
    path: str | os.PathLike,
    max_pixels: int,
    *,
    draft: int = 0,
    bits: int = 0,
    formats: tuple[str, ...] | None = None,
) -> UprightImage:
    """Read the first frame of a file, turned upright, over white.

    Damaged metadata is passed over: where the file cannot be read with it, it is read
    without.

    Args:
        path: The file.
        max_pixels: Larger images are refused before they are unpacked.
        draft: Side in pixels that is enough; JPEG unpacks no more than that. 0: all.
        bits: Bits that the other images of a folder use, of 16; an image that needs
            more uses its own. 0: its own.
        formats: Names of Pillow's formats; None for all.

    Raises:
        Rejected: If the file cannot be read, is too large or is no image.
    """
    try:
        with warnings.catch_warnings(), _pixel_limit(max_pixels):
            warnings.simplefilter("ignore")
            _check_file(path)
            arguments = (max_pixels, draft, bits, formats)
            try:
                return _read(path, *arguments)
            except (rgb.Rejected, Image.DecompressionBombError):
                raise
            except Exception:
                content = image_metadata.without_metadata(_bytes(path))
                if content is None:
                    raise
                with contextlib.suppress(Exception):
                    return _read(io.BytesIO(content), *arguments)
                raise
    except rgb.Rejected:
        raise
    except Image.UnidentifiedImageError:
        names = f" ({', '.join(formats)})" if formats else ""
        raise rgb.Rejected(f"not an image that can be read{names}") from None
    except Image.DecompressionBombError:
        raise rgb.Rejected(f"more than {max_pixels:,} pixels") from None
    except FileNotFoundError:
        raise rgb.Rejected("no such file") from None
    except PermissionError:
        raise rgb.Rejected("no permission to read it") from None
    except Exception as error:  # decoders of damaged files raise almost anything
        text = " ".join(str(error).split())[:120]
        raise rgb.Rejected(
            f"damaged or cut short ({type(error).__name__}: {text})"
        ) from None


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
        with warnings.catch_warnings(), Image.open(path, formats=_formats()) as image:
            warnings.simplefilter("ignore")
            if not deep_images.is_deep(image):
                return 0
            if not decode:
                return rgb.BITS[-1]
            deep = deep_images.read_deep(path, image, _significant_bits(path))
            return deep_images.used_bits(deep)
    except Exception:  # whoever decodes the file says what is wrong with it
        return 0


def _significant_bits(source: deep_images.Source) -> int:
    if isinstance(source, io.BytesIO):
        return image_metadata.significant_bits(source.getvalue()[:_HEADER])
    with open(source, "rb") as file:
        return image_metadata.significant_bits(file.read(_HEADER))


def _check_file(path: str | os.PathLike) -> None:
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise rgb.Rejected("not a regular file")
    if status.st_size == 0:
        raise rgb.Rejected("empty file")


def _bytes(path: str | os.PathLike) -> bytes:
    """Return the content of a file that can be read without metadata, else nothing."""
    with open(path, "rb") as file:
        start = file.read(image_metadata.SIGNATURE)
        return start + file.read() if image_metadata.is_readable(start) else b""


def _read(
    source: deep_images.Source,
    max_pixels: int,
    draft: int,
    bits: int,
    formats: tuple[str, ...] | None,
) -> UprightImage:
    with Image.open(source, formats=list(formats or _formats())) as image:
        if image.width * image.height > max_pixels:
            raise rgb.Rejected(
                f"more than {max_pixels:,} pixels ({image.width} x {image.height})"
            )
        width, height = image.size
        used = 0
        if deep_images.is_deep(image):
            deep = deep_images.read_deep(source, image, _significant_bits(source))
            used = max(bits, deep_images.used_bits(deep))
            pixels = deep_images.to_eight_bits(deep, used)
        else:
            if draft:
                image.draft(None, (draft, draft))
            image.load()
            pixels = image
        orientation = _orientation(image)
        image_rgb = rgb.over_white(pixels)
    if orientation in _TURNS:
        image_rgb = image_rgb.transpose(_TURNS[orientation])
    if orientation in _QUARTER_TURNS:
        width, height = height, width
    return UprightImage(image_rgb, width, height, used)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 (upright) where EXIF is damaged."""
    try:
        return image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow raises almost anything
        return 1


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


@functools.cache
def _extensions() -> frozenset[str]:
    """Return the extensions of images; of EPS, too, so that it is named as refused."""
    return frozenset(
        extension
        for extension, name in Image.registered_extensions().items()
        if name in Image.OPEN and name not in _NO_IMAGES
    )
