"""Procedural cine: scatterers that move through cycles whose phase is known.

Data that ships as code. Each clip is a tissue of its own: speckle, the depth of layers
and brightness say which clip a frame is of, deformation says at which phase it is.
"""

import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import h5py
import numpy as np
import pandas as pd
from annotated_types import Interval
from tqdm import auto as tqdm

import field_types
from input_pipeline import dataset, field_checks, splits
from input_pipeline.datasets import cine as cine_dataset
from input_pipeline.physics import bmode, scatterers
from input_pipeline.records import frames as frames_lib

PER_CYCLE = 32  # frames of a cycle, on average, in a written file
# How a MATLAB v7.3 file begins: 116 bytes of text, 8 of no use, version and byte order.
_HEADER = b"MATLAB 7.3 MAT-file, Platform: Akin, HDF5 schema 1.00 .".ljust(116)
_HEADER += bytes(8) + b"\x00\x02IM"
_USERBLOCK = 512
_Side = Annotated[int, Interval(ge=16, le=1024)]


def load(
    *,
    clips: Annotated[int, Interval(ge=1, le=10**5)] = 24,
    frames: Annotated[int, Interval(ge=2, le=10**5)] = 48,
    size: tuple[_Side, _Side] = (64, 80),
    cycles: Annotated[float, Interval(gt=0, le=10**5)] = 1.5,
    delta: Annotated[int, Interval(ge=0, le=10**6)] = 1,
    label: str = "phase",
    bins: Annotated[int, Interval(ge=0, le=10**6)] = 12,
    split: frames_lib.Sides = "clip",
    val_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.25,
    val_filter: str = "",
    gap: Annotated[float, Interval(ge=0, le=1e9)] = 0.0,
    pseudo: Mapping | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Draw the clips and returns their frames as records.

    Args:
        clips: Number of clips.
        frames: Frames of each.
        size: Height and width in pixels, 16..1024 each.
        cycles: Cycles of a clip; each has 0.8 to 1.25 times as many.
        delta: Frames to the next frame; see `frames.split`, also for the next fields.
        label: "phase" for parts of the cycle, "clip", "pseudo" or "" for none.
        bins: Parts of the cycle.
        split: "clip": the first clips are held out, which are the same however many
            follow; "time": the end of each.
        val_fraction: Share of the clips, or of each clip's frames, that is held out.
        val_filter: Other clips than the first: "clip=clip 3,clip 5".
        gap: Seconds between the sides, for "time".
        pseudo: Fields of pseudo-labels.
        seed: Random seed of all clips.
        progress: Whether to show a progress bar.

    Returns:
        As `frames.split` says, with a column `phase`: float64 in [0, 1).

    Raises:
        DataError: If a field is out of range.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(frames=frames, cycles=cycles)
    probe = scatterers.Probe(*size)
    images = np.empty((clips, frames, *size), np.uint8)
    courses = np.empty((clips, frames))
    for clip in tqdm.trange(
        clips, desc="drawing speckle", unit="clip", disable=not progress
    ):
        course, drawn = draw_clip(seed, clip, frames, cycles, probe)
        envelope = np.stack(list(drawn))
        brightness = bmode.log_compress(envelope, envelope.max())
        images[clip] = bmode.to_uint8(brightness)
        courses[clip] = course
    if split == "clip" and not val_filter and clips > 1:
        held_out = splits.held_out_groups(range(clips), val_fraction)
        names = [_name(clip) for clip in np.flatnonzero(held_out)]
        val_filter = "clip=" + ",".join(names)
    tables = [_table(_name(clip), course) for clip, course in enumerate(courses)]
    cine = frames_lib.Cine(
        images.reshape(-1, *size),
        pd.concat(tables),
        {"dataset": "speckle", "seed": seed, "cycles": cycles},
    )
    return frames_lib.split(
        cine,
        delta=delta,
        label=label,
        bins=bins if label == "phase" else 0,
        period=1.0 if label == "phase" else 0.0,
        split=split,
        val_filter=val_filter,
        val_fraction=val_fraction,
        gap=gap,
        pseudo=pseudo,
        seed=seed,
    )


def check(**fields: Any) -> None:
    """Check constraints between the fields of `load`.

    Raises:
        DataError: A cycle has fewer than four frames.
    """
    given = field_checks.with_defaults(load, fields)
    frames, cycles = given["frames"], given["cycles"]
    if cycles > frames / 4:
        raise dataset.DataError(
            f"data.cycles: got {cycles} in {frames} frames; expected 4 frames a cycle "
            "or more"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any = None
) -> tuple[dataset.Split, dict]:
    """Return the frames of a cine or an image; see `cine.read_records`.

    Args:
        path: File or folder.
        data: Fields of the dataset in training, of which `size` counts.
        transform: Not used.
    """
    size = data.get("size", load.__kwdefaults__["size"])
    return cine_dataset.read_records(path, data={"size": size}, transform=transform)


def draw_clip(
    seed: int, clip: int, frames: int, cycles: float, probe: scatterers.Probe
) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """Return one clip: the cycles of its frames, and the frames.

    Args:
        seed: Random seed of the dataset.
        clip: Number of the clip; its content depends on seed and number only.
        frames: N.
        cycles: Cycles of the motion in a clip.
        probe: Probe that records the clip.

    Returns:
        Float64 [n], and an iterator over n envelopes, float32 [height, width].
    """
    tissue, course, noise = (
        np.random.default_rng([seed, 3, clip, part]) for part in range(3)
    )
    course = scatterers.draw_course(course, frames, cycles)
    tissue = scatterers.draw_tissue(tissue)
    return course, scatterers.amplitudes(tissue, course, probe, noise)


def write_mat(
    path: str | os.PathLike,
    *,
    frames: int = 445,
    depth: int = 3319,
    lines: int = 256,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Write one long clip as a MATLAB v7.3 file, a frame at a time.

    The file holds amplitudes `Acq.Amp`, float32: (frames, 1, depth, lines) as HDF5
    reads it, lines x depth x 1 x frames in MATLAB, which stores its axes the other way
    round. There are `PER_CYCLE` frames in a cycle. It takes 4 bytes a sample, 1.5 GB
    as it is by default.

    Args:
        path: The file; replaced once all is written.
        frames: Frames.
        depth: Samples of a line.
        lines: Lines of a frame.
        seed: Random seed of the clip.
        progress: Whether to show a progress bar.

    Returns:
        The frames' table: columns `clip`, `frame`, `time` in seconds, `phase` in [0,
        1).

    Raises:
        DataError: If a number is below 1, or the file cannot be written.
    """
    for name, value in (("frames", frames), ("depth", depth), ("lines", lines)):
        if value < 1:
            raise dataset.DataError(f"{name}: got {value}; expected 1 or more")
    path = pathlib.Path(path)
    draft = path.with_name(f"{path.name}.draft")
    probe = scatterers.Probe(depth, lines)
    course, drawn = draw_clip(seed, 0, frames, frames / PER_CYCLE, probe)
    bar = tqdm.tqdm(
        drawn, total=frames, desc="writing", unit="frame", disable=not progress
    )
    try:
        with h5py.File(draft, "w", userblock_size=_USERBLOCK) as file:
            file.create_group("Acq").attrs["MATLAB_class"] = np.bytes_("struct")
            shape = (frames, 1, depth, lines)
            amplitude = file["Acq"].create_dataset("Amp", shape, np.float32)
            amplitude.attrs["MATLAB_class"] = np.bytes_("single")
            for frame, envelope in enumerate(bar):
                amplitude[frame, 0] = envelope
        with open(draft, "r+b") as file:
            file.write(_HEADER)
        os.replace(draft, path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise dataset.DataError(
            f"{path}: got '{error}' while writing; expected a folder that can be "
            f"written, with {4e-9 * frames * depth * lines:.3g} GB left"
        ) from error
    return _table(_name(0), course)


def _table(clip: str, course: np.ndarray) -> pd.DataFrame:
    frame = np.arange(len(course))
    return pd.DataFrame(
        {
            "clip": clip,
            "frame": frame,
            "time": frame / scatterers.RATE,
            "phase": course % 1.0,
        }
    )


def _name(clip: int) -> str:
    return f"clip {clip}"
