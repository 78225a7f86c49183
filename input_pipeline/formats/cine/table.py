"""The table of a cine: clips, times, labels and further columns."""

import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd
from absl import logging

from input_pipeline import dataset
from input_pipeline.formats import tables
from input_pipeline.formats.cine import matching

# What a table that lies beside the frames may end in.
_FOUND = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_KEYS = ("clip", "frame")
# Columns of seconds, where `data.time` names none; "_ms" are thousandths.
_TIMES = (
    "time", "time_s", "seconds", "t", "t_s", "sec", "timestamp", "time_ms", "t_ms",
)  # fmt: skip
_LISTED = 20


class Joined(NamedTuple):
    """Frames with the columns of their table.

    Attributes:
        table: Columns clip (text), frame (int), time (float) of all frames, and further
            columns as text, None where a cell is empty or a frame has no row.
        facts: JSON values for the report: `table`, `time` and `choices`, sentences on
            what was decided.
    """

    table: pd.DataFrame
    facts: dict


def find(path: pathlib.Path, table: str) -> pathlib.Path | None:
    """Return the table of a cine, or None where there is none.

    Args:
        path: File beside which a table lies that its name begins with; or folder, in
            which one lies.
        table: The table itself, "" to look for one.

    Raises:
        DataError: If the file does not exist, or several tables could belong to it.
    """
    if table:
        named = pathlib.Path(table).expanduser()
        if not named.is_file():
            raise dataset.DataError(f"data.table: got {table}, which is no file")
        return named
    folder = path if path.is_dir() else path.parent
    candidates = [
        file
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in _FOUND and file.is_file() and file != path
    ]
    if not path.is_dir():
        candidates = [file for file in candidates if path.stem.startswith(file.stem)]
        candidates = [
            file for file in candidates if file.stem == path.stem
        ] or candidates
    if len(candidates) > 1:
        raise dataset.DataError(
            f"data.table: {len(candidates)} tables could belong to {path}: "
            f"{', '.join(file.name for file in candidates[:_LISTED])}; set data.table"
        )
    return candidates[0] if candidates else None


def join(
    frames_read: pd.DataFrame,
    file: pathlib.Path | None,
    *,
    clip: str = "clip",
    frame: str = "frame",
    time: str = "",
    named: bool = True,
) -> Joined:
    """Return the table of all frames, and facts on it.

    Rows are joined on the columns for clip and frame, on the names of image files, on
    the clip alone where it has one row a clip, and in their order where it has one row
    a frame. A table of one file may say itself which frames are clips.

    Args:
        frames_read: Columns clip, frame, seconds (NaN where unknown) and file (of a
            single image, else "") of all frames.
        file: The table, or None.
        clip: Column that names clips.
        frame: Column that counts the frames of a clip, from 0 or 1.
        time: Column of seconds; "" for the first of `time`, `time_s` and the like.
        named: Whether the table was asked for. One that was only found and has neither
            the columns nor the number of rows is passed over.

    Raises:
        DataError: If the table cannot be read or does not fit the frames.
    """
    if file is None:
        return _without_table(frames_read)
    rows = tables.read_table(file, optional=(clip, frame), field="data.table")
    if rows.empty:
        raise dataset.DataError(
            f"data.table: {file} has no rows; expected one for each frame"
        )
    columns = {"clip": clip, "frame": frame, "time": time or _time_column(rows)}
    for name, column in columns.items():
        if column and column not in rows and column != name:
            raise dataset.DataError(
                f"data.{name}: {file} has no column {column!r}; choices: "
                f"{', '.join(map(str, rows.columns))}"
            )
    known = {name for name, column in columns.items() if column in rows}
    of_files = "frame" not in known and (frames_read["file"] != "").all()
    if of_files and (column := matching.file_column(rows)):
        rows = matching.name_frames(frames_read, rows, column, file)
        columns |= {"clip": "clip", "frame": "frame"}
        known |= {"clip", "frame"}
    clips = frames_read["clip"].nunique()
    if not named and not known and len(rows) not in (
        len(frames_read), clips,
    ):  # fmt: skip
        logging.warning(
            "%s is not taken as the table: it has no column %s or %s, and %d rows for "
            "%d frames; data.table names another", file, clip, frame, len(rows),
            len(frames_read),
        )  # fmt: skip
        return _without_table(frames_read)
    return _fitted(frames_read, rows, file, columns, known, frame, of_files)


def _fitted(
    frames_read: pd.DataFrame,
    rows: pd.DataFrame,
    file: pathlib.Path,
    columns: dict[str, str],
    known: set[str],
    frame: str,
    of_files: bool,
) -> Joined:
    """Return the frames with the rows of a table whose columns are known."""
    choices: list[str] = []
    seconds = _seconds(rows, columns["time"], choices)
    if "frame" in known and not of_files:
        rows[frame] = tables.parse_numbers(rows, frame, whole=True)
    rows = _renamed(rows, columns, known)
    if "clip" in rows:
        _check_clips(rows, file)
    if seconds is not None:
        rows["time"] = seconds
    _read_commas(rows)
    table = matching.join_rows(frames_read, rows, file, choices)
    if table.duplicated([*_KEYS]).any():
        row = table[table.duplicated([*_KEYS])].iloc[0]
        raise dataset.DataError(
            f"data.table: {file} has frame {row['frame']} of clip {row['clip']!r} twice"
        )
    table, source = _timed(table, columns["time"], choices)
    order = dict.fromkeys((*_KEYS, "time", *table.columns))
    facts = {"table": str(file), "time": source, "choices": choices}
    return Joined(table[list(order)], facts)


def _without_table(frames_read: pd.DataFrame) -> Joined:
    choices: list[str] = []
    table, source = _timed(frames_read, "", choices)
    return Joined(table, {"table": "", "time": source, "choices": choices})


def _timed(
    table: pd.DataFrame, column: str, choices: list[str]
) -> tuple[pd.DataFrame, str]:
    """Return the table with its times, and where these are from."""
    seconds = table["seconds"].to_numpy(np.float64)
    table = table.drop(columns=["seconds", "file"])
    if "time" in table and table["time"].notna().all():
        return table, f"column {column}"
    if "time" in table:
        missing = int(table["time"].isna().sum())
        choices.append(
            f"{missing} of {len(table)} frames have no value in column {column}, which "
            "is therefore not taken as time."
        )
    if np.isfinite(seconds).all():
        return table.assign(time=seconds), "the files"
    choices.append("Frame numbers stand for seconds: no time of the frames is known.")
    return table.assign(time=table["frame"].astype(np.float64)), "frame numbers"


def _time_column(rows: pd.DataFrame) -> str:
    """Return the first column of seconds by its name, "" without one."""
    by_name = {str(column).casefold(): str(column) for column in rows.columns}
    return next((by_name[name] for name in _TIMES if name in by_name), "")


def _seconds(rows: pd.DataFrame, column: str, choices: list[str]) -> np.ndarray | None:
    """Return the times of rows, NaN where empty; None without such a column."""
    if not column or column not in rows:
        return None
    seconds = tables.parse_numbers(rows, column, missing=True)
    thousandths = column.casefold().endswith("_ms")
    choices.append(
        f"Column {column} is the time, in {'thousandths of ' * thousandths}seconds."
    )
    return seconds / 1000 if thousandths else seconds


def _renamed(
    rows: pd.DataFrame, columns: dict[str, str], known: set[str]
) -> pd.DataFrame:
    """Return rows whose columns are called clip, frame and time."""
    new = {columns[name]: name for name in known}
    # A column that is called as another is to be gives way.
    old = {
        name: f"{name} in table"
        for name in (*columns, "seconds", "file")
        if name in rows and name not in new
    }
    attributes = rows.attrs
    rows = rows.rename(columns=old | new)
    rows.attrs = attributes
    return rows


def _check_clips(rows: pd.DataFrame, file: pathlib.Path) -> None:
    empty = np.flatnonzero(rows["clip"].isna())
    if len(empty):
        raise dataset.DataError(
            f"data.table: {file} has no clip in {tables.row_name(rows, int(empty[0]))} "
            f"({len(empty)} such rows); name the clip of each row"
        )


def _read_commas(rows: pd.DataFrame) -> None:
    """Write 1.5 for 1,5 in columns of numbers, in place."""
    if not rows.attrs.get("decimal_comma"):
        return
    for name in rows:
        text = rows[name]
        if text.dtype != object:
            continue
        points = text.str.replace(",", ".")
        if pd.to_numeric(points, errors="coerce").notna().equals(text.notna()):
            rows[name] = points
