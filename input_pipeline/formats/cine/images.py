"""Image files as frames: decoded with care, gray, stretched to one size."""

import os
import pathlib
import stat
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image, ImageOps
from tqdm import auto as tqdm

from input_pipeline import dataset
from input_pipeline.formats import rgb as image_format
from input_pipeline.physics import bmode

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff")
MOST_PIXELS = 50_000_000
THREADS = min(os.cpu_count() or 1, 8)
_FORMATS = ("BMP", "JPEG", "PNG", "TIFF")


def draw(
    files: list[pathlib.Path], out: pathlib.Path, size: tuple[int, int], progress: bool
) -> dict:
    """Write the images of a clip; return a note as `arrays.convert` does.

    An image of another size than most of the clip have is at fault.

    Args:
        files: Image files in the order of frames.
        out: `.npy` file to be written, uint8 [n, h, w]; frames at fault are left black.
        size: (h, w).
        progress: Whether to show a progress bar.
    """
    images = np.lib.format.open_memmap(out, "w+", np.uint8, (len(files), *size))
    faults = []
    with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
        warnings.simplefilter("ignore")
        sizes = Counter(filter(None, pool.map(_size_of, files)))
        usual = sizes.most_common(1)[0][0] if sizes else None
        drawn = pool.map(lambda file: _image(file, size, usual), files)
        bar = tqdm.tqdm(drawn, "preparing frames", len(files), disable=not progress)
        for number, (image, why) in enumerate(bar):
            if why:
                faults.append((number, why))
            else:
                images[number] = image
    images.flush()
    axes = f"images, {usual[0]} wide, {usual[1]} high" if usual else ""
    return {
        "clips": 1,
        "frames": len(files),
        "faults": faults,
        "axes": axes,
        "dtype": "uint8",
        "bmode": "none",
        "envelope": "",
    }


def gray_image(path: str | os.PathLike, size: tuple[int, int]) -> np.ndarray:
    """Return an image file as uint8 [h, w], stretched to `size`.

    Raises:
        DataError: If it is no image that can be read.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, why = _image(pathlib.Path(path).expanduser(), size, None)
    if why:
        raise dataset.DataError(f"{path}: {why}")
    return image


def _size_of(path: pathlib.Path) -> tuple[int, int] | None:
    try:
        with _opened(path) as image:
            return image.size
    except Exception:  # `_image` says what is wrong
        return None


def _opened(path: pathlib.Path) -> Image.Image:
    if not stat.S_ISREG(path.stat().st_mode):
        raise image_format.Rejected("not a regular file")
    return Image.open(path, formats=_FORMATS)


def _image(
    path: pathlib.Path, size: tuple[int, int], usual: tuple[int, int] | None
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
            rgb = np.asarray(image_format.over_white(ImageOps.exif_transpose(image)))
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
    brightness = bmode.luminance(np.moveaxis(rgb, -1, 0)) / 255
    if why := bmode.value_fault(brightness):
        return None, why
    return bmode.to_uint8(bmode.resize(brightness, size)), ""
