"""Magnitude images of slices, which a transform shows through simulated coils.

An `.npz` or `.npy` file holds images [n, height, width], a table a row for each; the
table is a file beside it, or arrays [n] of the `.npz`. Or a folder holds an image a
slice, in any format, and perhaps a table with a column of file names. Columns of the
table name the place of an image (`pair`) and its contrast (`contrast`); images of one
contrast are queries for images of the other.
"""

import pathlib
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from annotated_types import Interval

import field_types
from input_pipeline import dataset, field_checks, splits
from input_pipeline.datasets import kspace
from input_pipeline.formats import columns as columns_lib
from input_pipeline.formats import npy_headers, tables
from input_pipeline.records import phantoms, slice_files

_NO_TABLE = "none: each image is a place of its own"


def load(
    *,
    path: str = "",
    table: str = "",
    key: str = "",
    pair: tuple[str, ...] = ("subject", "slice"),
    contrast: str = "contrast",
    val_filter: str = "",
    train_on: Literal["phantoms", "rest", "all"] = "phantoms",
    phantom_records: Annotated[int, Interval(ge=0, le=10**7)] = 800,
    distractors: Annotated[int, Interval(ge=0, le=10**7)] = 0,
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Return slices as records.

    Args:
        path: `.npz` or `.npy` file of magnitudes, real, [n, height, width], a folder of
            images, or a stack of them, as TIFF.
        table: Table with n rows, such as a CSV file; "" for arrays of the `.npz` that
            are called as the columns, or else for the only CSV or TSV file next to
            `path`, or in it. Without any, each image is a place of its own.
        key: Name of the array of images in an `.npz`; "" for the only one that has
            three axes.
        pair: Columns that together name a place; images that agree in them are one
            label.
        contrast: Column that becomes `source`.
        val_filter: "column=value": these images are validation, "" for all.
        train_on: "phantoms": random phantoms, and no image; "rest": the images that are
            not held out; "all": every image by itself, without what it is paired with,
            also those that are searched, as who trains on an archive and searches it
            does.
        phantom_records: Phantoms to train on, if so.
        distractors: Random phantoms added to the gallery: `extra["distractors"]`.
        seed: Random seed of all phantoms.
        progress: Not used.

    Raises:
        DataError: If files or columns do not fit; lists the choices.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(train_on=train_on, val_filter=val_filter)
    del progress
    file = pathlib.Path(path).expanduser()
    required = {"pair": pair, "contrast": (contrast,)}
    images, frame, facts = _read(file, key, table, required)
    split = _split(images, frame, pair, contrast)
    index = np.arange(phantom_records + distractors)
    extra = {}
    if distractors:
        extra["distractors"] = phantoms.split(
            index[phantom_records:], seed=seed, first_id=phantoms.FIRST_ID_BESIDE_SCANS
        )
    facts |= {
        "dataset": "slices",
        "images": len(split),
        "places": len(split.label_names),
        "contrasts": sorted(set(split.table["source"])),
    }
    held = (
        splits.filtered(frame, val_filter, "images")
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


def _split(
    images: np.ndarray, frame: pd.DataFrame, pair: tuple[str, ...], contrast: str
) -> dataset.Split:
    """Return all images as records; those of one place have one label."""
    places = frame[list(pair)].agg(" ".join, axis=1)
    label_names, labels = np.unique(places, return_inverse=True)
    columns = {
        **dataset.columns_without_codes(np.arange(len(images)), labels),
        "source": frame[contrast].tolist(),
        "name": [
            ", ".join(filter(None, (place.strip(), name)))
            for place, name in zip(places, frame[contrast], strict=True)
        ],
    }
    records = [{"image": image} for image in images]
    return dataset.Split(records, columns, label_names.tolist(), [])


def _read(
    file: pathlib.Path, key: str, table: str, required: Mapping[str, tuple[str, ...]]
) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """Return images uint8 [n, h, w, 3], the table of them, and facts."""
    if not file.is_dir():
        images = _over_largest(_images(file, key), file)
        frame = _table(file, table, len(images), required)
        without = {} if frame is not None else {"table": _NO_TABLE}
        return images, _own_places(frame, len(images), [], required), without
    folder = slice_files.read_folder(file)
    path = pathlib.Path(table) if table else slice_files.find_table(file)
    images = _over_largest(folder.images, file)
    if path is None:
        frame, facts = None, {"table": _NO_TABLE, **folder.facts}
    else:
        frame, facts = slice_files.join(file, folder, path), dict(folder.facts)
        _check_columns(frame, path, required)
    return images, _own_places(frame, len(images), folder.names, required), facts


def _own_places(
    frame: pd.DataFrame | None,
    rows: int,
    names: list[str],
    required: Mapping[str, tuple[str, ...]],
) -> pd.DataFrame:
    """Return the table; without one, a table in which each image is its own place."""
    if frame is not None:
        return frame
    names = names or [f"image {row}" for row in range(rows)]
    pair, contrast = required["pair"], required["contrast"]
    columns = {column: [""] * rows for column in (*pair[1:], *contrast)}
    return pd.DataFrame({pair[0]: names, **columns}, dtype=object)


def _images(file: pathlib.Path, key: str) -> np.ndarray:
    """Return the images of a file, real [n, h, w]."""
    if slice_files.is_stack(file):
        return slice_files.read_folder(file).images
    if not file.is_file():
        raise dataset.DataError(
            f"data.path: got {str(file)!r}, which is no file; expected .npz or .npy, "
            "or a folder of images"
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
    return content


def _over_largest(images: np.ndarray, file: pathlib.Path) -> np.ndarray:
    """Return images uint8 [n, h, w, 3] of magnitudes, each over its largest."""
    x = images.astype(np.float32)
    bad = ~np.isfinite(x).all((1, 2)) | (x.max((1, 2)) <= 0) | (x.min((1, 2)) < 0)
    if bad.any():
        raise dataset.DataError(
            f"data.path: images {np.flatnonzero(bad)[:5].tolist()} of {file} have "
            "NaN, negative or only zero values; expected magnitudes"
        )
    x = np.uint8(np.round(255 * x / x.max((1, 2), keepdims=True)))
    return np.repeat(x[..., None], 3, -1)


def _array(file: pathlib.Path, key: str) -> np.ndarray:
    """Return the array of an `.npy` file, or the one called `key` of an `.npz` file."""
    if zipfile.is_zipfile(file):
        headers = npy_headers.read_headers(file)
        stacks = [name for name, (shape, _) in headers.items() if len(shape) == 3]
        if not key:
            key = stacks[0] if len(stacks) == 1 else "images"
        if key not in headers:
            raise dataset.DataError(
                f"data.key: {file} has no {key!r}; choices: "
                f"{', '.join(stacks or headers)}"
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


def _table(
    file: pathlib.Path, table: str, rows: int, required: Mapping[str, tuple[str, ...]]
) -> pd.DataFrame | None:
    """Return the table of the images as text; None without one.

    Args:
        file: File of the images.
        table: Path of the table, "" to look for it.
        rows: Number of images.
        required: Config field -> columns that it names; each has a value in all rows.
    """
    names = [column for columns in required.values() for column in columns]
    if not table and (frame := _table_inside(file, rows, names)) is not None:
        return frame
    if not table:
        candidates = sorted([*file.parent.glob("*.csv"), *file.parent.glob("*.tsv")])
        named = [p for p in candidates if file.stem.startswith(p.stem)]
        candidates = named or candidates
        if not candidates:
            return None
        if len(candidates) > 1:
            raise dataset.DataError(
                f"data.table: {len(candidates)} CSV files next to {file}; expected "
                "one, data.table to name it, or arrays "
                f"{', '.join(names)} in an .npz file"
            )
        table = str(candidates[0])
    frame = tables.read_table(table, optional=names, field="data.table")
    _check_columns(frame, table, required, lambda row: tables.row_name(frame, row))
    if len(frame) != rows:
        raise dataset.DataError(
            f"data.table: {table} has {len(frame)} rows for {rows} images; expected "
            "one each"
        )
    return frame


def _check_columns(
    frame: pd.DataFrame,
    source: str | pathlib.Path,
    required: Mapping[str, tuple[str, ...]],
    row_name: Callable[[int], str] = "image {}".format,
) -> None:
    """Raise DataError if a column is missing, or has no value for an image."""
    for field, columns in required.items():
        missing = [column for column in columns if column not in frame]
        if missing:
            raise dataset.DataError(
                f"data.{field}: {source} has no column {missing[0]!r}; choices: "
                f"{', '.join(frame.columns)}"
            )
    for name in (column for columns in required.values() for column in columns):
        empty = frame[name].isna().to_numpy()
        if empty.any():
            raise dataset.DataError(
                f"data.table: {source} has nothing in column {name!r}, "
                f"{row_name(int(np.argmax(empty)))} ({int(empty.sum())} such rows); "
                "expected a value for each image"
            )


def _table_inside(
    file: pathlib.Path, rows: int, names: list[str]
) -> pd.DataFrame | None:
    """Return the columns that an `.npz` file has itself; None if one is missing."""
    if not zipfile.is_zipfile(file):
        return None
    archive = columns_lib.ArchiveColumns(file, rows, key="")
    if not set(names) <= set(archive.names):
        return None
    plain = [n for n in archive.names if n in names or not archive.holds_objects(n)]
    try:
        texts = {name: archive.text(name) for name in plain}
    except dataset.DataError as error:
        raise dataset.DataError(f"data.table: {error}") from None
    frame = pd.DataFrame(texts, dtype=object)
    _check_columns(frame, file, {"pair": tuple(names)}, archive.row_name)
    return frame
