"""Cine from files and folders, as small gray images in the cache."""

import math
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from absl import logging

from input_pipeline import dataset
from input_pipeline.cache import mapped_array
from input_pipeline.cache.root import cache_root
from input_pipeline.formats import arrays as array_format
from input_pipeline.formats import label_table
from input_pipeline.formats.cine import images as cine_images
from input_pipeline.physics import bmode

VERSION = 1  # of what is prepared
Bmode = Literal["auto", "sequence", "frame", "none"]
_LISTED = 30
_COPIED = 4096  # frames at once


class Prepared(NamedTuple):
    """Frames in the cache.

    Attributes:
        frames: `.npy` file, uint8 [n, h, w].
        table: Clip and frame of all that was found, also of frames at fault.
        kept: Rows of the table that are in the file.
        facts: JSON values for the report.
    """

    frames: pathlib.Path
    table: pd.DataFrame
    kept: np.ndarray
    facts: dict


class _Source(NamedTuple):
    """What is one clip, or one file of clips: an array, or images in order."""

    clip: str
    files: list[pathlib.Path]
    array: bool


def prepare(
    path: pathlib.Path,
    *,
    convert: Callable[[pathlib.Path, pathlib.Path], dict],
    spec: list,
    recipe: bmode.Recipe,
    max_rejected: float,
    cache: str,
    progress: bool,
) -> Prepared:
    """Return the frames of a file or folder; reads what was not read before.

    Args:
        path: Array file, folder of them, or folder of images, where each folder in it
            is a clip.
        convert: Writes the images of an array file; see `arrays.convert`.
        spec: JSON values besides the recipe that decide what `convert` writes.
        recipe: How amplitudes become images.
        max_rejected: Share of the frames, and of the files, that may be left out.
        cache: Folder of the cache; see `cache_root`.
        progress: Whether to show a progress bar.

    Raises:
        DataError: If there are no frames, or more than max_rejected cannot be read;
            names each.
    """
    _check(recipe, max_rejected)
    sources, unread = _sources(path, cache)
    files = len(unread) + sum(len(source.files) for source in sources)
    parts, notes, rows, rejected = [], [], [], []
    for source in sources:
        try:
            stored, note = _stored(source, convert, spec, recipe, cache, progress)
        except array_format.ArrayError as error:
            unread.append((_shown(source.files[0], path), str(error)))
            continue
        logging.info("%s: %s", source.clip, note["axes"])
        parts.append(stored)
        notes.append(note)
        faults = dict(note["faults"])
        for number, (clip, frame) in enumerate(_frames_of(source, note)):
            rows.append((clip, frame, number not in faults))
            if number in faults:
                where = f"{clip}, frame {frame}"
                if not source.array:
                    where = _shown(source.files[number], path)
                rejected.append((where, faults[number]))
    _check_faults(path, unread, files, rejected, len(rows), max_rejected)
    table = pd.DataFrame(rows, columns=["clip", "frame", "good"])
    kept = np.flatnonzero(table.pop("good"))
    frames = parts[0]
    if len(parts) > 1 or rejected:
        frames = _joined(parts, kept, cache)
    return Prepared(frames, table, kept, _facts(notes, recipe, unread + rejected))


def _stored(
    source: _Source,
    convert: Callable[[pathlib.Path, pathlib.Path], dict],
    spec: list,
    recipe: bmode.Recipe,
    cache: str,
    progress: bool,
) -> tuple[pathlib.Path, dict]:
    """Return the images of a source in the cache, and the note on them."""

    def write(draft: pathlib.Path) -> dict:
        if source.array:
            return convert(source.files[0], draft)
        room = len(source.files) * math.prod(recipe.size)
        array_format.check_room(draft.parent, room)
        return cine_images.draw(source.files, draft, recipe.size, progress)

    how = [list(recipe), *spec] if source.array else [list(recipe.size)]
    key = [VERSION, *how, *map(mapped_array.stamp, source.files)]
    return mapped_array.cached("cine", key, cache, write)


def _frames_of(source: _Source, note: dict) -> Iterator[tuple[str, int]]:
    """Yield clip and frame of each."""
    for clip in range(note["clips"]):
        name = source.clip if note["clips"] == 1 else f"{source.clip} {clip}"
        for frame in range(note["frames"]):
            yield name, frame


def _check(recipe: bmode.Recipe, max_rejected: float) -> None:
    choices = {"bmode": get_args(Bmode), "envelope": bmode.ENVELOPES}
    for name, allowed in choices.items():
        if getattr(recipe, name) not in allowed:
            raise dataset.DataError(
                f"data.{name}: got {getattr(recipe, name)!r}; choices: "
                f"{', '.join(allowed)}"
            )
    sides = recipe.size
    if len(sides) != 2 or not all(1 <= n <= 4096 and n == int(n) for n in sides):
        raise dataset.DataError(
            f"data.size: got {sides}; expected height and width, 1 to 4096 pixels"
        )
    if not recipe.db > 0:
        raise dataset.DataError(f"data.db: got {recipe.db}; expected more than 0")
    if not 0 <= max_rejected <= 1:
        raise dataset.DataError(
            f"data.max_rejected: got {max_rejected}; expected a share in [0, 1]"
        )


def _sources(path: pathlib.Path, cache: str) -> tuple[list[_Source], list[tuple]]:
    """Return what there is to read, in natural order, and links that lead astray."""
    expected = (
        f"{', '.join(array_format.SUFFIXES)} or a folder of such files or of "
        + (f"images ({', '.join(cine_images.SUFFIXES)})")
    )
    if path.is_file():
        if path.suffix.lower() not in array_format.SUFFIXES:
            raise dataset.DataError(
                f"data.path: got {path}, which ends in {path.suffix or 'nothing'!r}; "
                f"expected {expected}"
            )
        return [_Source(path.stem, [path], True)], []
    if not path.is_dir():
        raise dataset.DataError(
            f"data.path: got {path}, which does not exist; expected {expected}"
        )
    listing = label_table.scan(path)
    # A cache inside the folder holds prepared frames, which are not read again.
    prepared = cache_root(cache).resolve()
    top = path.resolve()
    names = sorted(listing.paths, key=_natural)
    names = [name for name in names if prepared not in (top / name).parents]
    arrays = [name for name in names if name.lower().endswith(array_format.SUFFIXES)]
    images = [name for name in names if name.lower().endswith(cine_images.SUFFIXES)]
    if bool(arrays) == bool(images):
        other = sorted({pathlib.Path(name).suffix or name for name in names})
        raise dataset.DataError(
            f"data.path: got {path} with {len(arrays)} array files and {len(images)} "
            f"images (there: {', '.join(other[:8]) or 'nothing'}); expected one of "
            f"{expected}"
        )
    if arrays:
        clips = {os.path.splitext(name)[0]: [top / name] for name in arrays}
        if len(clips) < len(arrays):
            clips = {name: [top / name] for name in arrays}
    else:
        clips = {}
        for name in images:
            folder = os.path.dirname(name) or top.name
            clips.setdefault(folder, []).append(top / name)
    return [
        _Source(label_table.shown(clip), files, bool(arrays))
        for clip, files in clips.items()
    ], list(listing.rejected)


def _natural(name: str) -> list:
    """Sort frame 10 after frame 9, and files of a folder before folders in it."""
    folder, _, file = name.rpartition("/")
    return [_numbers(part) for part in (folder, file)]


def _numbers(text: str) -> list:
    parts = re.split(r"(\d+)", text)
    return [int(part) if k % 2 else part.casefold() for k, part in enumerate(parts)]


def _joined(parts: list[pathlib.Path], kept: np.ndarray, cache: str) -> pathlib.Path:
    """Return a file with some frames of several files, one after the other."""

    def write(draft: pathlib.Path) -> None:
        arrays = [np.load(part, mmap_mode="r") for part in parts]
        ends = np.cumsum([len(array) for array in arrays])
        shape = (len(kept), *arrays[0].shape[1:])
        array_format.check_room(draft.parent, math.prod(shape))
        out = np.lib.format.open_memmap(draft, "w+", np.uint8, shape)
        at = 0
        for array, end in zip(arrays, ends, strict=True):
            part_rows = kept[(kept >= end - len(array)) & (kept < end)] - (
                end - len(array)
            )
            for start in range(0, len(part_rows), _COPIED):
                rows = part_rows[start : start + _COPIED]
                out[at : at + len(rows)] = array[rows]
                at += len(rows)
        out.flush()

    spec = [VERSION, [part.name for part in parts], kept.tolist()]
    return mapped_array.cached("cine", spec, cache, write)[0]


def _check_faults(path, unread, files, rejected, frames, max_rejected) -> None:
    """Raise DataError if there are too many faults; one file's is its own message."""
    if not frames and path.is_file():
        raise dataset.DataError(f"data.path: {path}: {unread[0][1]}")
    if (
        frames > len(rejected)
        and len(unread) <= max_rejected * files
        and len(rejected) <= max_rejected * frames
    ):
        return
    faults = unread + rejected
    listed = "".join(f"\n  {name}: {why}" for name, why in faults[:_LISTED])
    more = len(faults) - _LISTED
    raise dataset.DataError(
        f"data.path: {len(unread)} of {files} files and {len(rejected)} of {frames} "
        f"frames in {path} cannot be read (data.max_rejected = {max_rejected:g} of "
        f"them may be left out):{listed}" + (f"\n  and {more} more" if more > 0 else "")
    )


def _facts(notes: Sequence[dict], recipe, rejected: list[tuple[str, str]]) -> dict:
    values = {
        name: sorted({note[name] for note in notes if note[name]})[:_LISTED]
        for name in ("axes", "dtype", "bmode", "envelope")
    }
    top = {
        "sequence": f"the largest of its clip is 0 dB, black is -{recipe.db:g} dB",
        "frame": f"the largest of each frame is 0 dB, black is -{recipe.db:g} dB",
        "none": "images already",
    }
    return {
        "dataset": "cine",
        "axes": values["axes"],
        "dtype": values["dtype"],
        "bmode": [f"{name}: {top[name]}" for name in values["bmode"]],
        "envelope": values["envelope"],
        "rejected": rejected[:_LISTED],
        "rejected_total": len(rejected),
    }


def _shown(file: pathlib.Path, root: pathlib.Path) -> str:
    top = root.resolve()
    inside = file.relative_to(top) if top in file.parents else file.name
    return label_table.shown(str(inside))
