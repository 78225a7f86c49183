"""Which images of slices show one place, in which contrast: read from a table."""

import pathlib
import posixpath
from typing import NamedTuple

import numpy as np
import pandas as pd
from absl import logging

from input_pipeline import dataset
from input_pipeline.formats import tables

DEFAULT_PAIR = ("subject", "slice")
DEFAULT_CONTRAST = "contrast"
FILENAMES = ("filename", "file", "image", "path")  # columns that name an image
_FOUND = (".csv", ".tsv")
_LISTED = 8


class Places(NamedTuple):
    """Images with the columns that say what they show.

    Attributes:
        rows: int [m], the images that have a row, of those that were read.
        table: Columns of text, a row for each of them; None where a cell is empty.
        place: Name of the place of each.
        contrast: Contrast of each, "" where nothing is known.
        choices: Sentences on what was decided.
    """

    rows: np.ndarray
    table: pd.DataFrame
    place: list[str]
    contrast: list[str]
    choices: list[str]


def read(
    path: pathlib.Path,
    table: str,
    names: list[str],
    pair: tuple[str, ...],
    contrast: str,
) -> Places:
    """Return what a table says of images.

    Without a table, or where it has none of the columns that are looked for unless
    others are named, each image is a place by itself.

    Args:
        path: File or folder of the images.
        table: Path of the table; "" is the only CSV or TSV file next to a file or in a
            folder.
        names: File name of each image within `path`, or another name.
        pair: Columns that together name a place.
        contrast: Column of the contrast.

    Raises:
        DataError: If the table does not fit the images, or lacks a column.
    """
    file = _find(path, table)
    if file is None:
        return _alone(names, "There is no table (data.table), so that ")
    columns = [*pair, contrast]
    frame = tables.read_table(file, optional=[*columns, *FILENAMES], field="data.table")
    missing = [name for name in columns if name not in frame]
    asked = tuple(pair) != DEFAULT_PAIR or contrast != DEFAULT_CONTRAST
    if missing and (asked or len(missing) < len(columns)):
        raise _lacking(frame, file, pair, contrast)
    rows = _rows(frame, file, names)
    if rows is None:
        if not missing or table or path.stem.startswith(file.stem):
            raise dataset.DataError(
                f"data.table: {file} has {len(frame)} rows for {len(names)} images; "
                "expected one each, or a column filename"
            )
        logging.warning(
            "%s is not taken as the table: it has %d rows for %d images; data.table "
            "names another", file, len(frame), len(names),
        )  # fmt: skip
        return _alone(names, "There is no table (data.table), so that ")
    if missing:
        sentence = (
            f"{file.name} has no column {' and no '.join(missing)} (data.pair and "
            f"data.contrast name others of {', '.join(map(str, frame.columns))}), so "
            "that "
        )
        alone = _alone([names[row] for row in rows], sentence)
        return alone._replace(rows=rows, table=frame)
    choices = []
    if len(rows) < len(names):
        left_out = len(names) - len(rows)
        choices.append(
            f"{left_out} images have no row in {file.name} and are left out."
        )
    for name in columns:
        empty = frame[name].isna()
        if empty.any():
            row = tables.row_name(frame, int(np.argmax(empty)))
            raise dataset.DataError(
                f"data.table: {file} has nothing in column {name!r}, {row} "
                f"({int(empty.sum())} such rows); expected a value for each image"
            )
    place = frame[list(pair)].agg(" ".join, axis=1).tolist()
    return Places(rows, frame, place, frame[contrast].tolist(), choices)


def _alone(names: list[str], why: str) -> Places:
    choices = [f"{why}no two images are known to show one place."]
    frame = pd.DataFrame({"filename": names}, dtype=object)
    return Places(np.arange(len(names)), frame, names, [""] * len(names), choices)


def _lacking(
    frame: pd.DataFrame, file: pathlib.Path, pair: tuple[str, ...], contrast: str
) -> dataset.DataError:
    """Return the error of the first column that is not there."""
    fields = {"pair": pair, "contrast": (contrast,)}
    field, column = next(
        (field, column)
        for field, columns in fields.items()
        for column in columns
        if column not in frame
    )
    return dataset.DataError(
        f"data.{field}: {file} has no column {column!r}; choices: "
        f"{', '.join(map(str, frame.columns))}"
    )


def _find(path: pathlib.Path, table: str) -> pathlib.Path | None:
    if table:
        return pathlib.Path(table).expanduser()
    folder = path if path.is_dir() else path.parent
    candidates = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in _FOUND
    )
    if not path.is_dir():
        named = [file for file in candidates if path.stem.startswith(file.stem)]
        candidates = named or candidates
    if len(candidates) > 1:
        raise dataset.DataError(
            f"data.table: {len(candidates)} CSV files next to {path}: "
            f"{', '.join(file.name for file in candidates[:_LISTED])}; data.table "
            "names one"
        )
    return candidates[0] if candidates else None


def _rows(
    frame: pd.DataFrame, file: pathlib.Path, names: list[str]
) -> np.ndarray | None:
    """Return the image of each row; None where rows and images do not fit."""
    column = next((name for name in FILENAMES if name in frame), None)
    if column is None:
        return np.arange(len(names)) if len(frame) == len(names) else None
    place = {name: k for k, name in enumerate(names)}
    bases = [posixpath.basename(name) for name in names]
    by_base = {base: k for k, base in enumerate(bases) if bases.count(base) == 1}
    rows = []
    for k, name in enumerate(frame[column]):
        at = place.get(name or "", by_base.get(posixpath.basename(name or "")))
        if at is None:
            if (
                len(frame) == len(names)
                and name not in place
                and not place.keys() & {*frame[column]}
            ):
                return np.arange(len(names))  # a name of something else
            raise dataset.DataError(
                f"data.table: {file} has {name!r} in column {column!r}, "
                f"{tables.row_name(frame, k)}, which is not there; the first image is "
                f"{names[0]!r}"
            )
        rows.append(at)
    if len(set(rows)) < len(rows):
        again = next(row for row in rows if rows.count(row) > 1)
        raise dataset.DataError(
            f"data.table: {file} has two rows for {names[again]!r}; expected one"
        )
    return np.array(rows, np.int64)
