"""Which rows of a table belong to which frames of a cine."""

import pathlib
import re

import numpy as np
import pandas as pd

from input_pipeline import dataset

_KEYS = ("clip", "frame")
_FILES = ("filename", "file", "image", "path")  # columns that name image files
_LISTED = 20


def file_column(rows: pd.DataFrame) -> str:
    """Return the column that names image files, "" without one."""
    by_name = {str(column).casefold(): str(column) for column in rows.columns}
    return next((by_name[name] for name in _FILES if name in by_name), "")


def name_frames(
    frames_read: pd.DataFrame, rows: pd.DataFrame, column: str, file: pathlib.Path
) -> pd.DataFrame:
    """Return rows with the clip and frame of the image files that they name.

    A row names a file by its path below the folder, or by its own name where no other
    file has it.

    Args:
        frames_read: Columns clip, frame and file of all frames.
        rows: The table.
        column: Column that names image files.
        file: File of the table, for messages.

    Raises:
        DataError: A row names no file, or one that is not there.
    """
    paths = frames_read["file"].str.replace("\\", "/")
    bases = paths.str.rpartition("/")[2]
    place = {base: k for k, base in enumerate(bases)}
    for base in bases[bases.duplicated(keep=False)]:
        place.pop(base, None)
    place |= {path: k for k, path in enumerate(paths)}
    named = rows[column].fillna("").str.replace("\\", "/")
    found = named.map(lambda name: place.get(name, place.get(_last(name), -1)))
    if (found < 0).any():
        first = named[found < 0].iloc[0]
        raise dataset.DataError(
            f"data.table: {file} has {int((found < 0).sum())} rows for files that do "
            f"not exist or have a name twice, the first {first!r}; expected paths "
            f"below the folder such as {paths.iloc[0]!r}"
        )
    frames = frames_read.iloc[found.to_numpy()].reset_index(drop=True)
    other = {name: f"{name} in table" for name in _KEYS if name in rows}
    attributes = rows.attrs
    rows = rows.rename(columns=other).assign(clip=frames["clip"], frame=frames["frame"])
    rows.attrs = attributes
    return rows


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def join_rows(
    frames_read: pd.DataFrame,
    rows: pd.DataFrame,
    file: pathlib.Path,
    choices: list[str],
) -> pd.DataFrame:
    """Return frames with the columns of their rows.

    Args:
        frames_read: Columns clip, frame and seconds of all frames.
        rows: The table, its columns called clip, frame and time where it has them.
        file: File of the table, for messages.
        choices: Sentences on what was decided are appended.

    Raises:
        DataError: If rows and frames do not fit.
    """
    several, equal = frames_read["clip"].nunique() > 1, len(rows) == len(frames_read)
    if "clip" in rows and (several or not equal):
        rows = _matched(frames_read, rows, choices)
    if several and "clip" in rows:
        if "frame" in rows:
            return _by_name(frames_read, rows, file, [*_KEYS], choices)
        return _by_clip(frames_read, rows, file, choices)
    if "frame" in rows and (not equal or _is_counted(rows, len(frames_read), several)):
        if not several:
            return _by_name(frames_read, rows, file, ["frame"], choices)
    if not equal:
        if not several and len(rows) == 1 and "frame" not in rows:
            return frames_read.merge(
                rows.drop(columns="clip", errors="ignore"), how="cross"
            )
        raise dataset.DataError(
            f"data.table: {file} has {len(rows)} rows for {len(frames_read)} frames; "
            "expected one each, or columns that say of which frame"
            + (" and clip" if several else "")
        )
    if "frame" in rows:
        _check_order(frames_read, rows, file)
    choices.append(f"Rows of {file.name} are joined to the frames in their order.")
    table = rows.reset_index(drop=True)
    if "clip" in table and "frame" not in table:
        table["frame"] = table.groupby("clip").cumcount()
    if several:
        table["frame"] = frames_read["frame"].to_numpy()
    for name in (*_KEYS, "seconds", "file"):
        if name not in table:
            table[name] = frames_read[name].to_numpy()
    return table


def _matched(
    frames_read: pd.DataFrame, rows: pd.DataFrame, choices: list[str]
) -> pd.DataFrame:
    """Return rows whose clips are called as the files are, where that is clear.

    A table may write the file's ending or folder, or a number without its zeros.
    """
    clips = list(dict.fromkeys(frames_read["clip"]))
    if rows["clip"].isin(clips).all():
        return rows
    for reduce in (_stem, _base, _number):
        names = [reduce(clip) for clip in clips]
        wanted = rows["clip"].map(reduce)
        if len(set(names)) == len(clips) and wanted.isin(names).all():
            clip_of = dict(zip(names, clips, strict=True))
            first = rows["clip"].iloc[0]
            choices.append(
                f"Clip {first} of the table is {clip_of[reduce(first)]}, and so on."
            )
            matched = rows.assign(clip=wanted.map(clip_of))
            matched.attrs = rows.attrs
            return matched
    if len(clips) == 1 and clips[0] in set(rows["clip"]):
        chosen = rows[rows["clip"] == clips[0]].reset_index(drop=True)
        choices.append(
            f"{len(rows) - len(chosen)} rows of the table are of other clips."
        )
        return chosen
    return rows


def _stem(clip: str) -> str:
    return re.sub(r"\.[A-Za-z]\w{0,5}$", "", clip.rstrip("/"))


def _base(clip: str) -> str:
    return _stem(clip).replace("\\", "/").rpartition("/")[2]


def _number(clip: str) -> str:
    return re.sub(r"0*(\d+)", r"\1", clip)


def _by_clip(
    frames_read: pd.DataFrame,
    rows: pd.DataFrame,
    file: pathlib.Path,
    choices: list[str],
) -> pd.DataFrame:
    """Join on the clip: one row a clip, or one a frame in order."""
    if not rows["clip"].duplicated().any():
        unknown = rows[~rows["clip"].isin(frames_read["clip"])]
        if not unknown.empty:
            raise _no_such(frames_read, unknown, file, ["clip"])
        choices.append(f"{file.name} has one row a clip.")
        return frames_read.merge(rows, how="left", on="clip")
    numbered = rows.assign(frame=rows.groupby("clip").cumcount())
    lengths = frames_read.groupby("clip").size()
    counted = rows.groupby("clip").size()
    wrong = [clip for clip in counted.index if counted[clip] != lengths.get(clip)]
    if wrong:
        raise dataset.DataError(
            f"data.table: {file} has {counted[wrong[0]]} rows for clip {wrong[0]}, "
            f"which has {lengths.get(wrong[0], 0)} frames; expected one row a clip, "
            "one a frame, or a column that says of which frame (data.frame)"
        )
    choices.append(f"Rows of a clip in {file.name} are joined in their order.")
    return frames_read.merge(numbered, how="left", on=[*_KEYS])


def _is_counted(rows: pd.DataFrame, frames: int, several: bool) -> bool:
    """Return whether rows count all frames of one clip, from 0 or 1, in any order."""
    if several or ("clip" in rows and rows["clip"].nunique() > 1):
        return False
    number = np.sort(rows["frame"])
    return any(np.array_equal(number, np.arange(frames) + first) for first in (0, 1))


def _check_order(
    frames_read: pd.DataFrame, rows: pd.DataFrame, file: pathlib.Path
) -> None:
    """Raise DataError if frame numbers contradict the order of rows."""
    number = rows["frame"].to_numpy()
    clips = rows["clip"] if "clip" in rows else frames_read["clip"]
    of_clip = pd.Series(number).groupby(clips.to_numpy(), sort=False)
    if not of_clip.is_monotonic_increasing.all():
        clip = of_clip.is_monotonic_increasing.idxmin()
        raise dataset.DataError(
            f"data.table: {file} has the frames of clip {clip} in another order than "
            "the file; sort its rows by clip and frame, or name the columns of both "
            "with data.clip and data.frame"
        )


def _by_name(
    frames_read: pd.DataFrame,
    rows: pd.DataFrame,
    file: pathlib.Path,
    keys: list[str],
    choices: list[str],
) -> pd.DataFrame:
    if keys == ["frame"]:
        rows = rows.drop(columns="clip", errors="ignore")
    elif not (there := rows["clip"].isin(frames_read["clip"])).all():
        raise _no_such(frames_read, rows[~there], file, keys)
    if rows.duplicated(keys).any():
        row = rows[rows.duplicated(keys)].iloc[0]
        raise dataset.DataError(
            f"data.table: {file} has two rows for "
            f"{', '.join(f'{key} {row[key]}' for key in keys)}"
        )
    existing = pd.MultiIndex.from_frame(frames_read[keys])
    unmatched = ~pd.MultiIndex.from_frame(rows[keys]).isin(existing)
    if unmatched.any() and len(rows) == len(frames_read):
        shifted = rows.assign(frame=rows["frame"] - 1)
        if pd.MultiIndex.from_frame(shifted[keys]).isin(existing).all():
            choices.append(f"{file.name} counts frames from 1.")
            return frames_read.merge(shifted, how="left", on=keys)
    if unmatched.any():
        raise _no_such(frames_read, rows[unmatched], file, keys)
    return frames_read.merge(rows, how="left", on=keys)


def _no_such(
    frames_read: pd.DataFrame, rows: pd.DataFrame, file: pathlib.Path, keys: list[str]
) -> dataset.DataError:
    """Return the error of rows whose frames are not in the files."""
    row, clips = rows.iloc[0], list(dict.fromkeys(frames_read["clip"]))
    return dataset.DataError(
        f"data.table: {file} has {len(rows)} rows for frames that do not exist, the "
        f"first {', '.join(f'{key} {row[key]}' for key in keys)}; there are "
        f"{len(frames_read)} frames, counted from 0 in each clip, of clips "
        f"{', '.join(clips[:_LISTED])}{', ...' if len(clips) > _LISTED else ''}"
    )
