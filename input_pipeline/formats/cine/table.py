"""The CSV table of a cine: clips, times, labels and further columns."""

import pathlib

import numpy as np
import pandas as pd

from input_pipeline import dataset

_COLUMNS = ("clip", "frame", "time")
_LISTED = 20


def find(path: pathlib.Path, table: str) -> pathlib.Path | None:
    """Return the CSV file of a cine, or None where there is none.

    Args:
        path: Array file, beside which a CSV lies that its name begins with; or folder,
            in which one lies.
        table: The file itself, "" to look for one.

    Raises:
        DataError: If the file does not exist, or several CSV files could belong to it.
    """
    if table:
        named = pathlib.Path(table).expanduser()
        if not named.is_file():
            raise dataset.DataError(f"data.table: got {table}, which is no file")
        return named
    if path.is_dir():
        candidates = sorted(path.glob("*.csv"))
    else:
        neighbors = sorted(path.parent.glob("*.csv"))
        candidates = [file for file in neighbors if path.stem.startswith(file.stem)]
        candidates = [
            file for file in candidates if file.stem == path.stem
        ] or candidates
    if len(candidates) > 1:
        raise dataset.DataError(
            f"data.table: {len(candidates)} CSV files could belong to {path}: "
            f"{', '.join(file.name for file in candidates[:_LISTED])}; set data.table"
        )
    return candidates[0] if candidates else None


def join(
    frames_read: pd.DataFrame,
    file: pathlib.Path | None,
    *,
    clip: str,
    frame: str,
    time: str,
) -> tuple[pd.DataFrame, dict]:
    """Return the table of all frames, and facts on it.

    A CSV with a row for each frame goes by the order of rows, unless there are several
    clips and it has columns for clip and frame. Otherwise rows are joined on these;
    frames without a row have NaN or "".

    Args:
        frames_read: Columns clip and frame of all frames in the files.
        file: CSV file, or None.
        clip: Column that names clips.
        frame: Column that counts the frames of a clip.
        time: Column of seconds.

    Raises:
        DataError: If the CSV cannot be read or does not fit the frames.
    """
    if file is None:
        time = frames_read["frame"].astype(np.float64)
        return frames_read.assign(time=time), {"table": "", "time": "frame numbers"}
    rows = _read(file)
    columns = {"clip": clip, "frame": frame, "time": time}
    for name, column in columns.items():
        if column not in rows and column != name:
            raise dataset.DataError(
                f"data.{name}: {file} has no column {column!r}; choices: "
                f"{', '.join(map(str, rows.columns))}"
            )
    renamed = {column: name for name, column in columns.items() if column in rows}
    # A column that is called as another is to be gives way.
    taken = {name: f"{name} in table" for name in columns if name not in renamed}
    rows = rows.rename(columns={k: v for k, v in taken.items() if k in rows})
    rows = rows.rename(columns=renamed)
    several = frames_read["clip"].nunique() > 1
    if "clip" in rows:
        rows["clip"] = rows["clip"].astype(str)
    if "frame" in rows:
        rows["frame"] = _numbers(rows["frame"], file, frame, whole=True)
    by_name = several and {"clip", "frame"} <= set(rows)
    if len(rows) == len(frames_read) and not by_name:
        table = _in_order(frames_read, rows)
    elif "frame" in rows and ("clip" in rows or not several):
        table = _by_name(
            frames_read, rows, file, ["clip", "frame"] if several else ["frame"]
        )
    else:
        raise dataset.DataError(
            f"data.table: {file} has {len(rows)} rows for {len(frames_read)} frames; "
            "expected one each, or columns that say of which frame"
            + (" and clip" if several else "")
        )
    if table.duplicated(["clip", "frame"]).any():
        row = table[table.duplicated(["clip", "frame"])].iloc[0]
        raise dataset.DataError(
            f"data.table: {file} has frame {row['frame']} of clip {row['clip']!r} twice"
        )
    seconds = "time" in table and table["time"].notna().all()
    time_source = f"column {time}" if seconds else "frame numbers"
    if seconds:
        table["time"] = _numbers(table["time"], file, time, whole=False)
    else:
        table["time"] = table["frame"].astype(np.float64)
    for name in table:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].fillna("").astype(str)
    order = dict.fromkeys((*_COLUMNS, *table.columns))
    return table[list(order)], {"table": str(file), "time": time_source}


def _read(file: pathlib.Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(file)
    except (ValueError, OSError) as error:  # of which pandas' errors are
        raise dataset.DataError(
            f"data.table: {file} is no CSV that can be read ({error}); expected UTF-8 "
            "with a line of column names"
        ) from None
    if rows.empty:
        raise dataset.DataError(
            f"data.table: {file} has no rows; expected one for each frame"
        )
    return rows.rename(columns=str)


def _numbers(
    column: pd.Series, file: pathlib.Path, name: str, whole: bool
) -> pd.Series:
    x = pd.to_numeric(column, errors="coerce").astype(np.float64)
    bad = ~np.isfinite(x) | (whole & (x != np.floor(x)))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        kind = "whole numbers" if whole else "numbers"
        raise dataset.DataError(
            f"data.table: {file} has {str(column.iloc[row])!r} in column {name!r}, "
            f"line {row + 2}; expected {kind}"
        )
    return x.astype(np.int64) if whole else x


def _in_order(frames_read: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    table = rows.reset_index(drop=True)
    if "clip" in table and "frame" not in table:
        table["frame"] = table.groupby("clip").cumcount()
    for name in ("clip", "frame"):
        if name not in table:
            table[name] = frames_read[name].to_numpy()
    return table


def _by_name(
    frames_read: pd.DataFrame, rows: pd.DataFrame, file: pathlib.Path, keys: list[str]
) -> pd.DataFrame:
    if keys == ["frame"]:
        rows = rows.drop(columns="clip", errors="ignore")
    if rows.duplicated(keys).any():
        row = rows[rows.duplicated(keys)].iloc[0]
        raise dataset.DataError(
            f"data.table: {file} has two rows for "
            f"{', '.join(f'{key} {row[key]}' for key in keys)}"
        )
    existing = pd.MultiIndex.from_frame(frames_read[keys])
    unmatched = ~pd.MultiIndex.from_frame(rows[keys]).isin(existing)
    if unmatched.any():
        row = rows[unmatched].iloc[0]
        clips = ", ".join(frames_read["clip"].unique()[:_LISTED])
        raise dataset.DataError(
            f"data.table: {file} has {int(unmatched.sum())} rows for frames that do "
            f"not exist, the first {', '.join(f'{key} {row[key]}' for key in keys)}; "
            f"there are {len(frames_read)} frames, counted from 0 in each clip, of "
            f"clips {clips}"
        )
    flags = rows.select_dtypes(bool).columns
    rows = rows.astype(dict.fromkeys(flags, np.float64))
    return frames_read.merge(rows, how="left", on=keys)
