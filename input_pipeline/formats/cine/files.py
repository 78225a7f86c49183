"""Cine from files and folders, as small gray images in the cache."""

import functools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Protocol, get_args

import numpy as np
import pandas as pd
from absl import logging

from input_pipeline import dataset
from input_pipeline.cache import mapped_array
from input_pipeline.formats import label_table
from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.cine import images as cine_images
from input_pipeline.formats.stored import ArrayError
from input_pipeline.physics import bmode

VERSION = 2  # of what is prepared
Bmode = Literal["auto", "sequence", "frame", "none"]
_LISTED = 30
_COPIED = 4096  # frames at once


class Prepared(NamedTuple):
    """Frames in the cache.

    Attributes:
        frames: `.npy` file, uint8 [n, h, w].
        table: Clip, frame, seconds where the files say them, and the file of a single
            image, of all that was found, also of frames at fault.
        kept: Rows of the table that are in the file.
        facts: JSON values for the report.
    """

    frames: pathlib.Path
    table: pd.DataFrame
    kept: np.ndarray
    facts: dict


class Source(Protocol):
    """One clip or one file of clips, as `sources.find` returns them."""

    @property
    def clip(self) -> str:
        """Name of the clip."""
        ...

    @property
    def files(self) -> list[pathlib.Path]:
        """The file, or images in the order of frames."""
        ...

    @property
    def kind(self) -> str:
        """What the files are, "image" for an image a frame."""
        ...


class Listing(Protocol):
    """What lies at a path, as `sources.find` returns it."""

    @property
    def sources(self) -> Sequence[Source]:
        """What there is to read."""
        ...

    @property
    def unread(self) -> list[tuple[str, str]]:
        """Path and reason of what cannot be followed."""
        ...

    @property
    def passed_over(self) -> list[str]:
        """Sentences on files that are no clip."""
        ...


def prepare(
    path: pathlib.Path,
    listing: Listing,
    *,
    convert: Callable[[Source, pathlib.Path], dict],
    spec: list,
    recipe: bmode.Recipe,
    max_rejected: float,
    cache: str,
    progress: bool,
) -> Prepared:
    """Return the frames of a file or folder; reads what was not read before.

    Args:
        path: File or folder.
        listing: What lies there.
        convert: Writes the frames of a source that is not a folder of images; see
            `arrays.convert`.
        spec: JSON values besides the recipe that decide what `convert` writes.
        recipe: How amplitudes become images.
        max_rejected: Share of the frames, and of the files, that may be left out.
        cache: Folder of the cache; see `cache_root`.
        progress: Whether to show a progress bar.

    Raises:
        DataError: If there are no frames, or more than max_rejected cannot be read;
            names each.
    """
    sources, unread = listing.sources, list(listing.unread)
    files = len(unread) + sum(len(source.files) for source in sources)
    gray_range = _gray_range(sources, cache)
    parts, notes, rows, rejected = [], [], [], []
    for source in sources:
        how = [list(recipe), *spec]
        if source.kind == "image":
            how = [list(recipe.size), list(gray_range or ())]
        write = functools.partial(
            _write, source, convert, recipe.size, gray_range, progress
        )
        try:
            key = [VERSION, *how, *map(mapped_array.stamp, source.files)]
            stored, note = mapped_array.cached("cine", key, cache, write)
        except ArrayError as error:
            unread.append((_shown(source.files[0], path), str(error)))
            continue
        parts.append(stored)
        notes.append(note)
        faults = dict(note["faults"])
        for number, row in enumerate(_frames_of(source, note, path)):
            rows.append((*row, number not in faults))
            if number in faults:
                rejected.append((row[3] or f"{row[0]}, frame {row[1]}", faults[number]))
    _check_faults(path, unread, files, rejected, len(rows), max_rejected)
    table = pd.DataFrame(rows, columns=["clip", "frame", "seconds", "file", "good"])
    kept = np.flatnonzero(table.pop("good"))
    several = len(parts) > 1 or rejected
    frames = _joined(parts, kept, cache) if several else parts[0]
    facts = _facts(notes, recipe, unread + rejected)
    _tell(facts, listing.passed_over)
    return Prepared(frames, table, kept, facts)


def _write(
    source: Source,
    convert: Callable[[Source, pathlib.Path], dict],
    size: tuple[int, int],
    gray_range: tuple | None,
    progress: bool,
    draft: pathlib.Path,
) -> dict:
    """Write the frames of a source; return the note on them."""
    if source.kind != "image":
        return convert(source, draft)
    stored_lib.check_room(draft.parent, len(source.files) * math.prod(size))
    return cine_images.draw(source.files, draft, size, gray_range, progress)


def _gray_range(sources: Sequence[Source], cache: str) -> tuple | None:
    """Return lowest and highest value of images of more than 8 bits, None for none.

    All images of a folder have one range, so that clips can be compared.
    """
    images = [file for source in sources if source.kind == "image"
              for file in source.files]  # fmt: skip
    if not images:
        return None

    def write(draft: pathlib.Path) -> list | None:
        values = cine_images.measure(images)
        np.save(draft, np.zeros(0 if values is None else 2))
        return values

    key = [VERSION, "range", *map(mapped_array.stamp, images)]
    values = mapped_array.cached("cine", key, cache, write)[1]
    return None if values is None else tuple(values)


def _frames_of(
    source: Source, note: dict, path: pathlib.Path
) -> Iterator[tuple[str, int, float, str]]:
    """Yield clip, frame, seconds and the file of a single image, of each frame."""
    for clip in range(note["clips"]):
        name = source.clip if note["clips"] == 1 else f"{source.clip} {clip}"
        for frame in range(note["frames"]):
            seconds = note["seconds"][frame] if note["seconds"] else np.nan
            single = source.kind == "image"
            yield (
                name,
                frame,
                seconds,
                _shown(source.files[frame], path) if single else "",
            )


def check(recipe: bmode.Recipe, max_rejected: float) -> None:
    """Raise DataError where a field is out of range."""
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


def _joined(parts: list[pathlib.Path], kept: np.ndarray, cache: str) -> pathlib.Path:
    """Return a file with some frames of several files, one after the other."""

    def write(draft: pathlib.Path) -> None:
        arrays = [np.load(part, mmap_mode="r") for part in parts]
        ends = np.cumsum([len(array) for array in arrays])
        shape = (len(kept), *arrays[0].shape[1:])
        stored_lib.check_room(draft.parent, math.prod(shape))
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
    names = ("axes", "dtype", "bmode", "envelope", "white")
    values = {
        name: sorted({note[name] for note in notes if note[name]})[:_LISTED]
        for name in names
    }
    top = {
        "sequence": f"the largest of its clip is 0 dB, black is -{recipe.db:g} dB",
        "frame": f"the largest of each frame is 0 dB, black is -{recipe.db:g} dB",
        "none": "images already",
    }
    details: dict[str, list] = {}
    for note in notes:
        for name, value in note["details"].items():
            kept = details.setdefault(name, [])
            if value not in kept and len(kept) < _LISTED:
                kept.append(value)
    return {
        "dataset": "cine",
        **values,
        "bmode": [f"{name}: {top[name]}" for name in values["bmode"]],
        **details,
        "rejected": rejected[:_LISTED],
        "rejected_total": len(rejected),
    }


def _tell(facts: dict, passed_over: list[str]) -> None:
    """Log how values were taken, each way once, and what was passed over."""
    for text in facts["axes"]:
        logging.info("Frames: %s", text)
    for text in facts["white"]:
        logging.warning("Brightness: %s", text)
    for text in facts.get("passed_over", []):
        logging.warning("Passed over: %s", text)
    for text in facts.get("burned_in_annotation", []):
        logging.warning("Frames: %s", text)
    if passed_over:
        facts["passed_over"] = [*facts.get("passed_over", []), *passed_over]
    for text in passed_over:
        logging.info("Passed over: %s", text)


def _shown(file: pathlib.Path, root: pathlib.Path) -> str:
    top = root.resolve()
    inside = file.relative_to(top) if top in file.parents else file.name
    return label_table.shown(str(inside))
