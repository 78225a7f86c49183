"""Image files as frames: decoded with care, gray, stretched to one size."""

import io
import os
import pathlib
import stat
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import auto as tqdm

from input_pipeline import dataset
from input_pipeline.formats import image_metadata
from input_pipeline.formats import rgb as image_format
from input_pipeline.physics import bmode

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MOST_PIXELS = 50_000_000
THREADS = min(os.cpu_count() or 1, 8)
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")


class Range(NamedTuple):
    """Lowest and highest value of images of more than 8 bits, and their type."""

    low: float
    high: float
    dtype: str

    @property
    def white(self) -> float:
        """Value that becomes white."""
        return image_format.white_level(self.high, np.dtype(self.dtype))


def measure(files: list[pathlib.Path]) -> Range | None:
    """Return the range of all images that have more than 8 bits; None without any."""
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.simplefilter("ignore")
        ranges = [values for values in pool.map(_range_of, files) if values]
    if not ranges:
        return None
    dtype = max((np.dtype(r.dtype) for r in ranges), key=lambda d: (d.kind, d.itemsize))
    low, high = min(r.low for r in ranges), max(r.high for r in ranges)
    return Range(min(low, 0.0), high, dtype.name)


def draw(
    files: list[pathlib.Path],
    out: pathlib.Path,
    size: tuple[int, int],
    values: Sequence | None,
    progress: bool,
) -> dict:
    """Write the images of a clip; return a note as `arrays.convert` does.

    An image of another size than most of the clip have is at fault.

    Args:
        files: Image files in the order of frames.
        out: `.npy` file to be written, uint8 [n, h, w]; frames at fault are left black.
        size: (h, w).
        values: What `measure` returned for all images that belong together.
        progress: Whether to show a progress bar.
    """
    images = np.lib.format.open_memmap(out, "w+", np.uint8, (len(files), *size))
    faults, values = [], None if values is None else Range(*values)
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.simplefilter("ignore")
        sizes = Counter(filter(None, pool.map(_size_of, files)))
        usual = sizes.most_common(1)[0][0] if sizes else None
        drawn = pool.map(lambda file: _image(file, size, usual, values), files)
        bar = tqdm.tqdm(drawn, "preparing frames", len(files), disable=not progress)
        for number, (image, why) in enumerate(bar):
            if why:
                faults.append((number, why))
            else:
                images[number] = image
    images.flush()
    axes = f"images, {usual[0]} wide, {usual[1]} high" if usual else ""
    white = ""
    if values is not None:
        white = image_format.told(values.high, values.white, np.dtype(values.dtype))
    return {
        "clips": 1,
        "frames": len(files),
        "faults": faults,
        "axes": axes,
        "dtype": "uint8" if values is None else values.dtype,
        "bmode": "none",
        "envelope": "",
        "white": white,
        "seconds": [],
        "details": {},
    }


def gray_image(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Return an image file as uint8 [h, w], stretched to `size`.

    Raises:
        DataError: If it is no image that can be read.
    """
    file = pathlib.Path(path).expanduser()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, why = _image(file, size, None, measure([file]))
    if why:
        raise dataset.DataError(f"{path}: {why}")
    return image


def _range_of(path: pathlib.Path) -> Range | None:
    """Return the range of an image of more than 8 bits, else None."""
    try:
        with _opened(path) as image:
            if not _is_deep(image) or image.width * image.height > MOST_PIXELS:
                return None
            values = np.asarray(image)
            finite = values[np.isfinite(values)]
            kind = "float32" if image.mode == "F" else "uint16"
            if image.mode == "I" and finite.max() > 65535:
                kind = "int32"
            return Range(float(finite.min()), float(finite.max()), kind)
    except Exception:  # `_image` says what is wrong
        return None


def _is_deep(image: Image.Image) -> bool:
    return image.mode == "F" or image.mode.startswith("I")


def _size_of(path: pathlib.Path) -> tuple[int, int] | None:
    try:
        with _opened(path) as image:
            return image.size
    except Exception:  # `_image` says what is wrong
        return None


def _opened(path: pathlib.Path) -> Image.Image:
    if not stat.S_ISREG(path.stat().st_mode):
        raise image_format.Rejected("not a regular file")
    try:
        return Image.open(path, formats=_FORMATS)
    except Exception:
        content = image_metadata.without_metadata(path.read_bytes())
        if content is None:
            raise
        return Image.open(io.BytesIO(content), formats=_FORMATS)


def _image(
    path: pathlib.Path,
    size: tuple[int, int],
    usual: tuple[int, int] | None,
    values: Range | None,
) -> tuple[np.ndarray | None, str]:
    """Return an image uint8 [h, w], or what is wrong with it."""
    try:
        with _opened(path) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if usual and image.size != usual:
                raise image_format.Rejected(
                    f"{width} x {height} in a clip of {usual[0]} x {usual[1]}"
                )
            brightness = _brightness(image, values)
    except image_format.Rejected as why:
        return None, str(why)
    except FileNotFoundError:
        return None, "no such file"
    except Image.UnidentifiedImageError:
        return None, f"not an image that can be read ({', '.join(_FORMATS)})"
    except Image.DecompressionBombError:
        return None, f"more than {MOST_PIXELS:,} pixels"
    except Exception as error:  # decoders of damaged files raise almost anything
        text = " ".join(str(error).split())[:120]
        return None, f"damaged or cut short ({type(error).__name__}: {text})"
    if why := bmode.value_fault(brightness):
        return None, why
    return bmode.to_uint8(bmode.resize(brightness, size)), ""


def _brightness(image: Image.Image, values: Range | None) -> np.ndarray:
    """Return an image upright, float32 [h, w] of 0..1."""
    image.load()
    try:
        upright = ImageOps.exif_transpose(image)
    except Exception:  # damaged metadata decides on nothing
        upright = image
    if values is None or not _is_deep(image):
        rgb = np.asarray(image_format.over_white(upright))
        return bmode.luminance(np.moveaxis(rgb, -1, 0)) / 255
    level = np.asarray(upright).astype(np.float32) - values.low
    return level / np.float32((values.white - values.low) or 1)
