"""Arrays of frames to pictures in the cache, a block of frames at a time."""

import math
import os
import pathlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from tqdm import auto as tqdm

from input_pipeline.cache import mapped_array
from input_pipeline.formats import arrays as array_format
from input_pipeline.formats.arrays import ArrayError
from input_pipeline.formats.cine import axes as cine_axes
from input_pipeline.formats.cine import blocks as cine_blocks
from input_pipeline.physics import bmode as bmode_lib

THREADS = min(os.cpu_count() or 1, 8)
_WHITE = (1, 255, 65535)


class Recipe(NamedTuple):
    """How amplitudes become pictures.

    Attributes:
      size: (h, w) of the pictures.
      bmode: "auto", "sequence", "frame" or "none".
      db: dynamic range in decibels.
      envelope: one of `_bmode.ENVELOPES`.
    """

    size: tuple[int, int]
    bmode: str
    db: float
    envelope: str


def convert(
    path: pathlib.Path,
    out: pathlib.Path,
    *,
    key: str,
    axes: str,
    recipe: Recipe,
    progress: bool,
) -> dict:
    """Writes the pictures of an array file; returns a note on them.

    What is held in memory is a block of 64 MiB, or a frame where that is larger, and
    for each thread what is computed of one frame. Files that lie beside `out` for the
    time are as large as the array: one where an npz is unpacked, one where frames are
    not the slowest axis.

    Args:
      path: see `_array_files.open_array`.
      out: `.npy` file to be written, uint8 [clips * frames, h, w]; frames at fault are
        left black.
      key: where the array lies.
      axes: see `_cine_axes.name_axes`.
      recipe: how.
      progress: show it.

    Returns:
      `clips`, and `frames` of each; `faults`: [frame, what is wrong] each; `dtype`,
      `axes`, `bmode` and `envelope`: what was found and taken.

    Raises:
      ArrayError: if there are no frames.
    """
    unpacked, turned = out.with_suffix(".unpacked"), out.with_suffix(".turned")
    try:
        with array_format.open_array(path, key, unpacked) as stored:
            named = cine_axes.name_axes(stored, axes)
            frames = cine_blocks.Frames(stored, named, turned, progress)
            return {"axes": named.said} | _write(frames, out, recipe, progress)
    finally:
        unpacked.unlink(missing_ok=True)
        turned.unlink(missing_ok=True)


def fault(picture: np.ndarray) -> str:
    """Returns what is wrong with a picture's values, "" if nothing is."""
    low, high = picture.min(), picture.max()  # NaN where there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(picture)))
        return f"{bad:,} of {picture.size:,} values are NaN or infinite"
    return "" if low or high else "nothing but zeros"


def _write(
    frames: cine_blocks.Frames, out: pathlib.Path, recipe: Recipe, progress: bool
) -> dict:
    bmode = recipe.bmode
    if bmode == "auto":
        bmode = "none" if frames.pictures else "sequence"
    gray, envelope = _gray(frames, bmode, recipe.envelope)
    shape = (len(frames), *recipe.size)
    mapped_array.check_room(out.parent, math.prod(shape))
    pictures = np.lib.format.open_memmap(out, "w+", np.uint8, shape)
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
        pictures[number] = bmode_lib.to_uint8(bmode_lib.resize(brightness, recipe.size))

    twice = bmode == "sequence" or (bmode == "none" and not frames.pictures)
    total = len(frames) * (1 + twice)
    with tqdm.tqdm(total=total, desc="preparing frames", disable=not progress) as bar:
        if twice:
            _for_each(frames, gray, faults, measure, bar)
        tops = _tops(frames, bmode, ranges)
        _for_each(frames, gray, faults, draw, bar)
    pictures.flush()
    return {
        "clips": frames.clips,
        "frames": frames.frames,
        "faults": sorted(faults.items()),
        "dtype": str(frames.dtype),
        "bmode": bmode,
        "envelope": envelope,
    }


def _for_each(
    frames: cine_blocks.Frames,
    gray: Callable[[np.ndarray], np.ndarray],
    faults: dict[int, str],
    function: Callable[[int, np.ndarray], None],
    bar: tqdm.tqdm,
) -> None:
    """Calls `function` with number and `gray` of frames; adds to `faults`."""

    def one(number: int, frame: np.ndarray) -> None:
        if number in faults:
            return
        amplitude = gray(frame)
        if why := fault(amplitude):
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
    frames: cine_blocks.Frames, bmode: str, envelope: str
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Returns frame [channel, depth, line] -> [depth, line], and the envelope taken."""
    if bmode == "none":
        if frames.dtype.kind == "c":
            raise ArrayError(
                "the values are complex, which are no pictures; set data.bmode=sequence"
            )
        if frames.channels not in (1, 3, 4):
            raise ArrayError(
                f"got pictures of {frames.channels} channels; expected 1, 3 (color) "
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


def _tops(frames: cine_blocks.Frames, bmode: str, ranges: np.ndarray) -> np.ndarray:
    """Returns the value of each frame [n] that becomes white; `ranges` [n, 2]."""
    n = len(frames)
    if bmode == "frame":
        return ranges[:, 1]
    if bmode == "sequence":
        clips = ranges[:, 1].reshape(frames.clips, frames.frames)
        return np.repeat(np.nanmax(clips, 1, initial=0), frames.frames)
    if frames.pictures:
        return np.full(n, 1 if frames.dtype.kind == "b" else 255)
    low, high = np.nanmin(ranges), np.nanmax(ranges)
    whites = _WHITE[1:] if frames.dtype.kind in "iu" else _WHITE[:2]
    if low < 0 or high > whites[-1]:
        raise ArrayError(
            f"the values go from {low:g} to {high:g}; expected pictures, of 0 to "
            f"{' or '.join(map(str, whites))}, or amplitudes with data.bmode=sequence"
        )
    return np.full(n, next(white for white in whites if high <= white))
