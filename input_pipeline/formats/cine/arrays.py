"""Arrays of frames to images in the cache, a block of frames at a time."""

import math
import os
import pathlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from tqdm import auto as tqdm

from input_pipeline.formats import rgb
from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.stored import ArrayError, Stored
from input_pipeline.physics import bmode as bmode_lib

THREADS = min(os.cpu_count() or 1, 8)
BLOCK = 2**26  # bytes read at once
MOST_BYTES = 2**29  # of a frame
_COUNTED = ("clip", "frame")
_IMAGE_AXES = ("channel", "depth", "line")


class Named(Protocol):
    """Names of the axes of a stored array, as `axes.name_axes` returns them."""

    names: tuple[str, ...]
    backwards: frozenset[str]
    description: str


class Frames:
    """Frames of an array, read block by block.

    Attributes:
        clips: Number of clips; 1 without such an axis.
        frames: Frames of each clip.
        channels: Channels of each frame.
        dtype: Type of the values.
        images: Whether the values are images by their type or format.
        white: Value of white, None where the values have to be looked at.
    """

    def __init__(
        self,
        stored: Stored,
        named: Named,
        scratch: pathlib.Path,
        progress: bool,
    ):
        """Put the axes of frames first; an array where they are not is copied.

        Args:
            stored: The array.
            named: Names of its axes.
            scratch: File for the copy; left to the caller to remove.
            progress: Whether to show a progress bar.

        Raises:
            ArrayError: If a frame is too large to be one.
        """
        lengths = dict(zip(named.names, stored.shape, strict=True))
        self.clips, self.frames = (lengths.get(name, 1) for name in _COUNTED)
        self.channels = lengths.get("channel", 1)
        self.dtype = stored.dtype
        whites = {"bool": 1, "uint8": 255}
        self.white = stored.white or whites.get(stored.dtype.name)
        self.images = stored.images or stored.dtype.name in whites
        frame = math.prod(lengths.get(name, 1) for name in _IMAGE_AXES)
        self._frame_bytes = frame * stored.dtype.itemsize
        if self._frame_bytes > MOST_BYTES:
            raise ArrayError(
                f"a frame would have {self._frame_bytes:,} bytes "
                f"({named.description}); expected up to {MOST_BYTES:,}: set data.axes"
            )
        counted = [name for name in _COUNTED if name in lengths]
        self._rest = [name for name in named.names if name in _IMAGE_AXES]
        self._backwards = named.backwards
        # Axes of length 1 may lie anywhere.
        long = [name for name in named.names if lengths[name] > 1]
        wanted = [name for name in counted + self._rest if lengths[name] > 1]
        names = list(named.names)
        if long != wanted:
            permutation = [names.index(name) for name in counted + self._rest]
            stored = _turn(stored, permutation, scratch, progress)
            names = counted + self._rest
        self._stored, self._shape = stored, [lengths[name] for name in self._rest]
        self._leading = max((names.index(name) + 1 for name in counted), default=0)

    def __len__(self) -> int:
        return self.clips * self.frames

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the number of the first frame, and [m, channel, depth, line]."""
        first = 0
        limit = max(BLOCK, self._frame_bytes)
        for prefix, part in stored_lib.tiles(self._stored, limit):
            block = self._images(self._stored.read((*prefix, part)))
            yield first, block
            first += len(block)

    def middle(self) -> np.ndarray:
        """Return the frame in the middle, [channel, depth, line]."""
        index = tuple(n // 2 for n in self._stored.shape[: self._leading])
        return self._images(self._stored.read(index))[0]

    def _images(self, block: np.ndarray) -> np.ndarray:
        block = block.reshape(-1, *self._shape)
        there = [name for name in _IMAGE_AXES if name in self._rest]
        block = block.transpose(0, *(1 + self._rest.index(name) for name in there))
        for axis, name in ((-2, "depth"), (-1, "line")):
            if name in self._backwards:
                block = np.flip(block, axis)
        return block if "channel" in there else block[:, None]


def _turn(
    stored: Stored, permutation: list[int], path: pathlib.Path, progress: bool
) -> Stored:
    """Copy an array with its axes in another order."""
    shape = tuple(stored.shape[axis] for axis in permutation)
    stored_lib.check_room(path.parent, math.prod(shape) * stored.dtype.itemsize)
    np.lib.format.open_memmap(path, "w+", stored.dtype, shape).flush()
    back = np.argsort(permutation)
    pieces = list(stored_lib.tiles(stored, BLOCK))
    for prefix, part in tqdm.tqdm(pieces, "ordering frames", disable=not progress):
        # Mapped anew for each piece: pages that are mapped count as memory.
        array = np.load(path, mmap_mode="r+", allow_pickle=False)
        array.transpose(back)[(*prefix, part)] = stored.read((*prefix, part))
        del array
    return stored_lib.open_npy(path, stored.name)


def convert(
    out: pathlib.Path,
    *,
    open_stored: Callable[[pathlib.Path], AbstractContextManager[Stored]],
    name_axes: Callable[[Stored], Named],
    recipe: bmode_lib.Recipe,
    progress: bool,
) -> dict:
    """Write the images of an array; return a note on them.

    What is held in memory is a block of 64 MiB, or a frame where that is larger, and
    for each thread what is computed of one frame. Files that lie beside `out` for the
    time are as large as the array: one where an npz is unpacked, one where frames are
    not the slowest axis.

    Args:
        out: `.npy` file to be written, uint8 [clips * frames, h, w]; frames at fault
            are left black.
        open_stored: Opens the array, given a file that may be written.
        name_axes: Names the axes of the array.
        recipe: How amplitudes become images.
        progress: Whether to show a progress bar.

    Returns:
        `clips`, and `frames` of each; `faults`: [frame, what is wrong] each; `dtype`,
        `axes`, `bmode`, `envelope` and `white`: what was found and taken; `seconds` of
        each frame and further `details` where the format says them.

    Raises:
        ArrayError: If there are no frames.
    """
    unpacked, turned = out.with_suffix(".unpacked"), out.with_suffix(".turned")
    try:
        with open_stored(unpacked) as stored:
            named = name_axes(stored)
            frames = Frames(stored, named, turned, progress)
            return {
                "axes": named.description,
                "seconds": list(stored.seconds),
                "details": dict(stored.details),
            } | _write(frames, out, recipe, progress)
    finally:
        unpacked.unlink(missing_ok=True)
        turned.unlink(missing_ok=True)


def _write(
    frames: Frames, out: pathlib.Path, recipe: bmode_lib.Recipe, progress: bool
) -> dict:
    bmode = recipe.bmode
    if bmode == "auto":
        bmode = "none" if frames.images else "sequence"
    gray, envelope = _gray(frames, bmode, recipe.envelope)
    shape = (len(frames), *recipe.size)
    stored_lib.check_room(out.parent, math.prod(shape))
    images = np.lib.format.open_memmap(out, "w+", np.uint8, shape)
    ranges = np.full((len(frames), 2), np.nan)
    faults: dict[int, str] = {}

    def measure(number: int, amplitude: np.ndarray) -> None:
        ranges[number] = amplitude.min(), amplitude.max()

    def draw(number: int, amplitude: np.ndarray) -> None:
        top = amplitude.max() if bmode == "frame" else tops[number]
        if bmode == "none":
            brightness = amplitude / top
        else:
            brightness = bmode_lib.log_compress(amplitude, top, recipe.db)
        images[number] = bmode_lib.to_uint8(bmode_lib.resize(brightness, recipe.size))

    twice = bmode == "sequence" or (bmode == "none" and frames.white is None)
    total = len(frames) * (1 + twice)
    with tqdm.tqdm(total=total, desc="preparing frames", disable=not progress) as bar:
        if twice:
            _for_each(frames, gray, faults, measure, bar)
        tops, white = _tops(frames, bmode, ranges)
        _for_each(frames, gray, faults, draw, bar)
    images.flush()
    return {
        "clips": frames.clips,
        "frames": frames.frames,
        "faults": sorted(faults.items()),
        "dtype": str(frames.dtype),
        "bmode": bmode,
        "envelope": envelope,
        "white": white,
    }


def _for_each(
    frames: Frames,
    gray: Callable[[np.ndarray], np.ndarray],
    faults: dict[int, str],
    function: Callable[[int, np.ndarray], None],
    bar: tqdm.tqdm,
) -> None:
    """Call `function` with number and `gray` of frames; adds to `faults`."""

    def one(number: int, frame: np.ndarray) -> None:
        if number in faults:
            return
        amplitude = gray(frame)
        if why := bmode_lib.value_fault(amplitude):
            faults[number] = why
        else:
            function(number, amplitude)

    with ThreadPoolExecutor(THREADS) as pool:
        for first, block in frames.blocks():
            list(pool.map(one, range(first, first + len(block)), block))
            bar.update(len(block))
    if len(faults) == len(frames):
        raise ArrayError(
            f"all frames are at fault ({len(frames)}), the first: {faults[0]}"
        )


def _gray(
    frames: Frames, bmode: str, envelope: str
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Return frame [channel, depth, line] -> [depth, line], and the envelope taken."""
    if bmode == "none":
        if frames.dtype.kind == "c":
            raise ArrayError(
                "the values are complex, which are no images; set data.bmode=sequence"
            )
        if frames.channels not in (1, 3, 4):
            raise ArrayError(
                f"got images of {frames.channels} channels; expected 1, 3 (color) "
                "or 4, or amplitudes with data.bmode=sequence"
            )
        return bmode_lib.luminance, ""
    middle = frames.middle()
    if frames.dtype.kind in "fi" and middle.max() <= 0 > middle.min():
        raise ArrayError(
            f"values from {middle.min():g} to {middle.max():g} look like decibels; "
            "expected amplitudes: write 10^(dB / 20)"
        )
    if envelope == "auto":
        envelope = bmode_lib.kind_of_envelope(middle)

    def amplitude(frame: np.ndarray) -> np.ndarray:
        return bmode_lib.root_sum_of_squares(bmode_lib.envelope(frame, envelope))

    return amplitude, envelope


def _tops(frames: Frames, bmode: str, ranges: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the value of each frame [n] that becomes white, and a remark on it.

    Args:
        frames: Frames that were measured.
        bmode: What they become.
        ranges: Lowest and highest value of each, [n, 2].
    """
    n = len(frames)
    if bmode == "frame":
        return ranges[:, 1], ""
    if bmode == "sequence":
        clips = ranges[:, 1].reshape(frames.clips, frames.frames)
        return np.repeat(np.nanmax(clips, 1, initial=0), frames.frames), ""
    if frames.white is not None:
        return np.full(n, frames.white), ""
    low, high = np.nanmin(ranges), np.nanmax(ranges)
    white = rgb.white_level(high, frames.dtype)
    if low < 0 or (white > 255 and frames.dtype.kind == "f" and not frames.images):
        raise ArrayError(
            f"the values go from {low:g} to {high:g}; expected images, of 0 to 1 or to "
            "255 or whole numbers from 0, or amplitudes with data.bmode=sequence"
        )
    return np.full(n, white), rgb.told(high, white, frames.dtype)
