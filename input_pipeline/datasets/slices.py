"""Magnitude images of slices, which a transform shows through simulated coils.

An `.npz` or `.npy` file holds images [n, height, width], or they are files of a folder
or pages of a stack; a table has a row for each. Columns of the table name the place of
an image (`pair`) and its contrast (`contrast`); images of one contrast are queries for
images of the other.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval

import field_types
from input_pipeline import dataset, field_checks, splits
from input_pipeline.datasets import cine, kspace
from input_pipeline.formats import npy_headers
from input_pipeline.physics import bmode
from input_pipeline.records import frames as frames_lib
from input_pipeline.records import phantoms, slice_table

_ARRAYS = (".npy", ".npz")


def load(
    *,
    path: str = "",
    table: str = "",
    key: str = "images",
    pair: tuple[str, ...] = slice_table.DEFAULT_PAIR,
    contrast: str = slice_table.DEFAULT_CONTRAST,
    size: tuple[frames_lib.Side, frames_lib.Side] = (256, 256),
    val_filter: str = "",
    train_on: Literal["phantoms", "rest", "all"] = "phantoms",
    phantom_records: Annotated[int, Interval(ge=0, le=10**7)] = 800,
    distractors: Annotated[int, Interval(ge=0, le=10**7)] = 0,
    max_rejected: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    cache: str = "",
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Return slices as records.

    Args:
        path: `.npz` or `.npy` file of magnitudes, real, [n, height, width]; folder of
            images, TIFF stack or whatever else `cine.load` reads as frames.
        table: Table with a row for each image, in their order or with a column
            `filename`, such as a CSV file; "" is the only CSV or TSV file next to
            `path` or in the folder. Without one no two images show one place.
        key: Name of the array in an `.npz`.
        pair: Columns that together name a place; images that agree in them are one
            label.
        contrast: Column that becomes `source`.
        size: (h, w) to which images of folders and stacks are stretched.
        val_filter: "column=value": these images are validation, "" for all.
        train_on: "phantoms": random phantoms, and no image; "rest": the images that are
            not held out; "all": every image by itself, without what it is paired with,
            also those that are searched, as who trains on an archive and searches it
            does.
        phantom_records: Phantoms to train on, if so.
        distractors: Random phantoms added to the gallery: `extra["distractors"]`.
        max_rejected: Share of images of folders and stacks that may be left out for
            their faults, such as black slices.
        cache: Folder for prepared images.
        seed: Random seed of all phantoms.
        progress: Whether to show a progress bar.

    Raises:
        DataError: If files or columns do not fit; lists the choices.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(train_on=train_on, val_filter=val_filter)
    file = pathlib.Path(path).expanduser()
    facts: dict[str, Any] = {}
    if file.suffix.lower() in _ARRAYS or not file.exists():
        images = _images(file, key)
        names = [f"image {k}" for k in range(len(images))]
    else:
        images, names, facts = _read_files(file, size, max_rejected, cache, progress)
    places = slice_table.read(file, table, names, tuple(pair), contrast)
    split = _split(images, places)
    index = np.arange(phantom_records + distractors)
    extra = {}
    if distractors:
        extra["distractors"] = phantoms.split(
            index[phantom_records:], seed=seed, first_id=phantoms.FIRST_ID_BESIDE_SCANS
        )
    facts |= {
        "dataset": "slices",
        "choices": places.choices,
        "images": len(split),
        "places": len(split.label_names),
        "contrasts": sorted(set(split.table["source"])),
    }
    held = (
        splits.filtered(places.table, val_filter, "images")
        if val_filter
        else np.ones(len(split), bool)
    )
    facts["held_out"] = f"{int(held.sum())} images with {val_filter or 'any value'}"
    if train_on == "phantoms":
        train = phantoms.split(
            index[:phantom_records], seed=seed, first_id=phantoms.FIRST_ID_BESIDE_SCANS
        )
        facts["training"] = f"{phantom_records} random phantoms, no slice"
    elif train_on == "all":
        train, facts["training"] = split, f"all {len(split)} images, unpaired"
    else:
        train, facts["training"] = split.take(~held), f"{int((~held).sum())} images"
    grouped_by = "" if train_on == "all" else "label"
    return dataset.Data(train, split.take(held), facts, extra, grouped_by)


def check(**fields: Any) -> None:
    """Check constraints between the fields of `load`, without touching data.

    Raises:
        DataError: Training on the rest leaves nothing to train on.
    """
    given = field_checks.with_defaults(load, fields)
    if given["train_on"] == "rest" and not given["val_filter"]:
        raise dataset.DataError(
            "data.train_on: got 'rest' with all images held out; set data.val_filter"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any
) -> tuple[dataset.Split, dict]:
    """Return the scans of a folder or a file; see `kspace.read_records`.

    Args:
        path: File or folder of k-space.
        data: Not used; the fields of slices do not describe k-space.
        transform: Transform of scans.
    """
    del data
    return kspace.read_records(path, data={}, transform=transform)


def _split(images: np.ndarray, places: slice_table.Places) -> dataset.Split:
    """Return the images that have a row; those of one place have one label."""
    label_names, labels = np.unique(places.place, return_inverse=True)
    named = zip(places.place, places.contrast, strict=True)
    columns = {
        **dataset.columns_without_codes(np.arange(len(places.rows)), labels),
        "source": places.contrast,
        "name": [", ".join(filter(None, both)) for both in named],
    }
    records = [{"image": images[row]} for row in places.rows]
    return dataset.Split(records, columns, label_names.tolist(), [])


def _read_files(
    place: pathlib.Path,
    size: tuple[int, int],
    max_rejected: float,
    cache: str,
    progress: bool,
) -> tuple[np.ndarray, list[str], dict]:
    """Return images of a folder or stack, the name of each, and facts."""
    prepared = cine.prepare(
        place,
        key="",
        axes="",
        recipe=bmode.Recipe(tuple(size), "none", 60.0, "abs"),
        max_rejected=max_rejected,
        cache=cache,
        progress=progress,
    )
    names = [
        prepared.names[row] or f"{clip}, image {frame}"
        for row, clip, frame in zip(
            prepared.kept,
            prepared.table["clip"].iloc[prepared.kept],
            prepared.table["frame"].iloc[prepared.kept],
            strict=True,
        )
    ]
    x = np.load(prepared.frames, mmap_mode="r").astype(np.float32)
    return _gray(x), names, prepared.facts


def _gray(x: np.ndarray) -> np.ndarray:
    """Return uint8 [n, h, w, 3] of magnitudes [n, h, w], each over its largest."""
    x = np.uint8(np.round(255 * x / x.max((1, 2), keepdims=True)))
    return np.repeat(x[..., None], 3, -1)


def _images(file: pathlib.Path, key: str) -> np.ndarray:
    """Images uint8 [n, h, w, 3] of magnitudes, each over its largest."""
    if not file.is_file():
        raise dataset.DataError(
            f"data.path: got {str(file)!r}, which is no file; expected .npz, .npy, a "
            "folder of images or a stack of them"
        )
    try:
        content = _array(file, key)
    except dataset.DataError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise dataset.DataError(
            f"data.path: {file} cannot be read ({error}); copy it again"
        ) from None
    if content.ndim != 3 or content.dtype.kind not in "fiu" or not content.size:
        raise dataset.DataError(
            f"data.path: {file} holds {content.dtype} {list(content.shape)}; expected "
            "real magnitudes [n, height, width]. K-space is data.name=kspace"
        )
    x = content.astype(np.float32)
    bad = ~np.isfinite(x).all((1, 2)) | (x.max((1, 2)) <= 0) | (x.min((1, 2)) < 0)
    if bad.any():
        raise dataset.DataError(
            f"data.path: images {np.flatnonzero(bad)[:5].tolist()} of {file} have "
            "NaN, negative or only zero values; expected magnitudes"
        )
    return _gray(x)


def _array(file: pathlib.Path, key: str) -> np.ndarray:
    """Return the array of an `.npy` file, or the one called `key` of an `.npz` file."""
    if zipfile.is_zipfile(file):
        headers = npy_headers.read_headers(file)
        if key not in headers:
            raise dataset.DataError(
                f"data.key: {file} has no {key!r}; choices: {', '.join(headers)}"
            )
        is_object = headers[key][1].hasobject
    else:
        with open(file, "rb") as content:
            is_object = npy_headers.read_header(content)[1].hasobject
    if is_object:
        raise dataset.DataError(
            f"data.path: {npy_headers.object_message(file, key)}, images of one size "
            "as np.stack(images)"
        )
    content = np.load(file, allow_pickle=False)
    return content if isinstance(content, np.ndarray) else content[key]
