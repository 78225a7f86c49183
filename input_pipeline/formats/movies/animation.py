"""Animated images, GIF, PNG and WebP: their images are frames."""

import contextlib
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from input_pipeline.formats import rgb as image_format
from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.stored import ArrayError, Stored

SUFFIXES = (".apng", ".gif", ".png", ".webp")
_FORMATS = ("GIF", "PNG", "WEBP")


def count_frames(path: pathlib.Path) -> int:
    """Return the number of images in a file; 0 if it cannot be read."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # of damaged files; the reader says what is wrong
        return 0


@contextlib.contextmanager
def open_animation(path: pathlib.Path) -> Iterator[Stored]:
    """Open an animated image as an array [frame, depth, line, channel].

    Raises:
        ArrayError: If it is no image that can be read.
    """
    try:
        image = Image.open(path, formats=_FORMATS)
    except Exception as error:
        raise ArrayError(
            f"the file is cut off, damaged or no {', '.join(_FORMATS)} "
            f"({type(error).__name__}); copy it again"
        ) from None
    with image:
        count = getattr(image, "n_frames", 1)

        def read_frame(number: int) -> np.ndarray:
            try:
                image.seek(number)
                return np.asarray(image_format.over_white(image))
            except Exception as error:
                raise ArrayError(
                    f"image {number} of {count} is cut off or damaged "
                    f"({type(error).__name__}); copy it again"
                ) from None

        seconds = _seconds(image, count)
        yield Stored(
            "images",
            (count, image.height, image.width, 3),
            np.dtype(np.uint8),
            stored_lib.one_by_one(read_frame, count),
            names=("frame", "depth", "line", "channel"),
            images=True,
            white=255,
            seconds=seconds,
        )


def _seconds(image: Image.Image, count: int) -> tuple[float, ...]:
    """Return the time of each frame; nothing where a frame has no duration."""
    durations = []
    try:
        for number in range(count):
            image.seek(number)
            durations.append(float(image.info.get("duration", 0)))
    except Exception:  # `read_frame` says what is wrong
        return ()
    if not all(duration > 0 for duration in durations[:-1]):
        return ()
    return tuple(np.cumsum([0.0, *durations[:-1]]) / 1000)
