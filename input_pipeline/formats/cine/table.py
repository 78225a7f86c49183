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
        there = sorted(path.glob("*.csv"))
    else:
        beside = sorted(path.parent.glob("*.csv"))
        there = [file for file in beside if path.stem.startswith(file.stem)]
        there = [file for file in there if file.stem == path.stem] or there
    if len(there) > 1:
        raise dataset.DataError(
            f"data.table: {len(there)} CSV files could belong to {path}: "
            f"{', '.join(file.name for file in there[:_LISTED])}; set data.table"
        )
    return there[0] if there else None


def join(
    found: pd.DataFrame,
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
        found: Columns clip and frame, of what was read.
        file: CSV file, or None.
        clip: Column that names clips.
        frame: Column that counts the frames of a clip.
        time: Column of seconds.

    Raises:
        DataError: If the CSV cannot be read or does not fit the frames.
    """
    if file is None:
        time = found["frame"].astype(np.float64)
        return found.assign(time=time), {"table": "", "time": "frame numbers"}
    rows = _read(file)
    asked = {"clip": clip, "frame": frame, "time": time}
    for name, column in asked.items():
        if column not in rows and column != name:
            raise dataset.DataError(
                f"data.{name}: {file} has no column {column!r}; choices: "
                f"{', '.join(map(str, rows.columns))}"
            )
    known = {column: name for name, column in asked.items() if column in rows}
    # A column that is called as another is to be gives way.
    taken = {name: f"{name} in table" for name in asked if name not in known}
    rows = rows.rename(columns={k: v for k, v in taken.items() if k in rows})
    rows = rows.rename(columns=known)
    several = found["clip"].nunique() > 1
    if "clip" in rows:
        rows["clip"] = rows["clip"].astype(str)
    if "frame" in rows:
        rows["frame"] = _numbers(rows["frame"], file, frame, whole=True)
    by_name = several and {"clip", "frame"} <= set(rows)
    if len(rows) == len(found) and not by_name:
        table = _in_order(found, rows)
    elif "frame" in rows and ("clip" in rows or not several):
        table = _by_name(found, rows, file, ["clip", "frame"] if several else ["frame"])
    else:
        raise dataset.DataError(
            f"data.table: {file} has {len(rows)} rows for {len(found)} frames; "
            "expected one each, or columns that say of which frame"
            + (" and clip" if several else "")
        )
    if table.duplicated(["clip", "frame"]).any():
        row = table[table.duplicated(["clip", "frame"])].iloc[0]
        raise dataset.DataError(
            f"data.table: {file} has frame {row['frame']} of clip {row['clip']!r} twice"
        )
    seconds = "time" in table and table["time"].notna().all()
    said = f"column {time}" if seconds else "frame numbers"
    if seconds:
        table["time"] = _numbers(table["time"], file, time, whole=False)
    else:
        table["time"] = table["frame"].astype(np.float64)
    for name in table:
        if not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].fillna("").astype(str)
    order = dict.fromkeys((*_COLUMNS, *table.columns))
    return table[list(order)], {"table": str(file), "time": said}


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


def _in_order(found: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    table = rows.reset_index(drop=True)
    if "clip" in table and "frame" not in table:
        table["frame"] = table.groupby("clip").cumcount()
    for name in ("clip", "frame"):
        if name not in table:
            table[name] = found[name].to_numpy()
    return table


def _by_name(
    found: pd.DataFrame, rows: pd.DataFrame, file: pathlib.Path, keys: list[str]
) -> pd.DataFrame:
    if keys == ["frame"]:
        rows = rows.drop(columns="clip", errors="ignore")
    if rows.duplicated(keys).any():
        row = rows[rows.duplicated(keys)].iloc[0]
        raise dataset.DataError(
            f"data.table: {file} has two rows for "
            f"{', '.join(f'{key} {row[key]}' for key in keys)}"
        )
    there = pd.MultiIndex.from_frame(found[keys])
    lost = ~pd.MultiIndex.from_frame(rows[keys]).isin(there)
    if lost.any():
        row = rows[lost].iloc[0]
        clips = ", ".join(found["clip"].unique()[:_LISTED])
        raise dataset.DataError(
            f"data.table: {file} has {int(lost.sum())} rows for frames that are not "
            f"there, the first {', '.join(f'{key} {row[key]}' for key in keys)}; there "
            f"are {len(found)} frames, counted from 0 in each clip, of clips {clips}"
        )
    flags = rows.select_dtypes(bool).columns
    rows = rows.astype(dict.fromkeys(flags, np.float64))
    return found.merge(rows, how="left", on=keys)
