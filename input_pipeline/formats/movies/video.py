"""Video files through PyAV, which is installed only where it is needed."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.stored import ArrayError, Stored

SUFFIXES = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")


@contextlib.contextmanager
def open_video(path: pathlib.Path) -> Iterator[Stored]:
    """Open a video as an array of gray frames [frame, depth, line].

    It is decoded twice: once to count the frames, which headers do not say reliably.

    Raises:
        ArrayError: If it cannot be decoded, or PyAV is missing.
    """
    try:
        import av
    except ImportError:
        raise ArrayError(
            "videos are read by PyAV, which is not installed; run: pip install av"
        ) from None
    try:
        seconds, shape, fault = _measure(av, path)
    except Exception as error:  # of many kinds
        raise ArrayError(
            f"the video is cut off, damaged or none ({type(error).__name__}: {error}); "
            "copy it again"
        ) from None
    if not seconds:
        raise ArrayError("the file has no frame that can be decoded; copy it again")
    reader = _Reader(av, path)
    rising = all(a < b for a, b in zip(seconds, seconds[1:], strict=False))
    try:
        yield Stored(
            "video",
            (len(seconds), *shape),
            np.dtype(np.uint8),
            stored_lib.one_by_one(reader.read, len(seconds)),
            names=("frame", "depth", "line"),
            images=True,
            white=255,
            seconds=tuple(seconds) if rising else (),
            details={"passed_over": fault} if fault else {},
        )
    finally:
        reader.close()


def _measure(av: Any, path: pathlib.Path) -> tuple[list[float], tuple[int, int], str]:
    """Return the time of each frame, the size, and what ended the decoding."""
    seconds, shape, fault = [], (0, 0), ""
    with av.open(str(path)) as container:
        if not container.streams.video:
            return [], shape, ""
        try:
            for frame in container.decode(video=0):
                size = frame.height, frame.width
                if seconds and size != shape:
                    fault = f"what follows frame {len(seconds) - 1}, of another size"
                    break
                shape = size
                seconds.append(float("nan") if frame.time is None else frame.time)
        except av.FFmpegError as error:
            if not seconds:
                raise
            fault = (
                f"what follows frame {len(seconds) - 1}, which cannot be decoded "
                f"({type(error).__name__})"
            )
    return [t - seconds[0] for t in seconds], shape, fault


class _Reader:
    """Frames in order; an earlier one than the last starts again."""

    def __init__(self, av: Any, path: pathlib.Path):
        self._av, self._path = av, path
        self._container, self._frames, self._next = None, iter(()), 0

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def read(self, number: int) -> np.ndarray:
        """Return one frame, uint8 [depth, line]."""
        if self._container is None or number < self._next:
            self.close()
            self._container = self._av.open(str(self._path))
            self._frames, self._next = self._container.decode(video=0), 0
        while self._next < number:
            next(self._frames)
            self._next += 1
        self._next += 1
        return next(self._frames).to_ndarray(format="gray")
