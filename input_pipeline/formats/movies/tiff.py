"""TIFF stacks: the pages of a file are frames."""

import contextlib
import json
import pathlib
from collections.abc import Iterator

import numpy as np
import tifffile
from PIL import Image

from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.stored import ArrayError, Stored

SUFFIXES = (".tif", ".tiff")
_AXES = {"Y": "depth", "X": "line", "S": "channel"}
_PALETTE, _WHITE_IS_ZERO = 3, 0


def count_frames(path: pathlib.Path) -> int:
    """Return the number of pages of the size of the first; 0 if it is no TIFF."""
    try:
        with tifffile.TiffFile(path) as file:
            first = file.pages.first
            if len(file.pages) == 1:
                return max(1, file.series[0].size // max(1, first.size))
            return len(_usual_pages(file))
    except Exception:  # of damaged files; the reader says what is wrong
        return 0


@contextlib.contextmanager
def open_stack(path: pathlib.Path) -> Iterator[Stored]:
    """Open a TIFF stack as an array [frame, depth, line] or with channels.

    Pages of another size than the first, such as thumbnails, are passed over; the
    details count them.

    Raises:
        ArrayError: If it is no TIFF that can be read.
    """
    try:
        file = tifffile.TiffFile(path)
    except Exception as error:
        raise ArrayError(
            f"the TIFF file is cut off, damaged or none ({type(error).__name__}: "
            f"{error}); copy it again"
        ) from None
    with file:
        yield _stack(file, path)


def _stack(file: tifffile.TiffFile, path: pathlib.Path) -> Stored:
    try:
        first, pages = file.pages.first, _usual_pages(file)
        several_in_one = len(file.pages) == 1 and file.series[0].size > first.size
        sample = _page(first, path, 0)
        # ImageJ writes files of more than 4 GB in this way.
        whole = file.series[0].asarray(out="memmap") if several_in_one else None
    except ArrayError:
        raise
    except Exception as error:
        raise ArrayError(
            f"the TIFF file is cut off or damaged ({type(error).__name__}: {error}); "
            "copy it again"
        ) from None
    names = tuple(_AXES[axis] for axis in first.axes if axis in _AXES)
    if sample.ndim == 3 and len(names) == 2:  # a palette that became colors
        names = (*names, "channel")
    details = {}
    if over := len(file.pages) - len(pages):
        details["passed_over"] = f"{over} pages of another size than the first"
    if whole is not None:
        frames = whole.reshape(-1, *sample.shape)
        count, read = len(frames), frames.__getitem__
    else:
        count = len(pages)
        read = stored_lib.one_by_one(
            lambda k: _page(file.pages[pages[k]], path, pages[k]), count
        )
    return Stored(
        "pages",
        (count, *sample.shape),
        sample.dtype,
        read,
        names=("frame", *names),
        images=True,
        white=255 if sample.dtype == np.uint8 else None,
        seconds=_seconds(file, count),
        details=details,
    )


def _usual_pages(file: tifffile.TiffFile) -> list[int]:
    """Return the numbers of the pages that have shape and type of the first."""
    first = file.pages.first
    return [
        number
        for number, page in enumerate(file.pages)
        if (page.shape, page.dtype) == (first.shape, first.dtype)
    ]


def _page(page: tifffile.TiffPage, path: pathlib.Path, number: int) -> np.ndarray:
    """Return the values of a page, brighter where they are larger."""
    page = page.aspage()
    try:
        if page.photometric == _PALETTE:
            raise ValueError("colors of palettes are looked up by Pillow")
        values = page.asarray()
    except Exception as error:
        # Without imagecodecs tifffile unpacks few kinds of compression.
        try:
            with Image.open(path, formats=("TIFF",)) as image:
                image.seek(number)
                palette = image.mode in ("P", "PA")
                values = np.asarray(image.convert("RGB") if palette else image)
        except Exception:
            raise ArrayError(
                f"page {number} of the TIFF file is cut off, damaged or packed in a "
                f"rare way ({type(error).__name__}: {error}); copy it again, or write "
                "it without compression"
            ) from None
        return values
    if page.photometric == _WHITE_IS_ZERO and values.dtype.kind == "u":
        values = np.iinfo(values.dtype).max - values
    return values


def _seconds(file: tifffile.TiffFile, count: int) -> tuple[float, ...]:
    """Return the time of each frame where ImageJ or tifffile noted it."""
    interval = (file.imagej_metadata or {}).get("finterval")
    if not interval and (text := file.pages.first.description).startswith("{"):
        with contextlib.suppress(ValueError):
            interval = json.loads(text).get("finterval")
    if not isinstance(interval, int | float) or not interval > 0:
        return ()
    return tuple(k * float(interval) for k in range(count))
