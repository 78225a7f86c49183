"""Frames of clips as records: the frame that follows, labels, and how they are split.

Consecutive frames are nearly the same image; therefore whole clips are held out, or
the end of each clip.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd
from annotated_types import Interval

from input_pipeline import dataset, splits
from input_pipeline.records import pseudo_labels
from input_pipeline.records.stored_array import StoredArray

Sides = Literal["clip", "time"]
Side = Annotated[int, Interval(ge=8, le=4096)]  # of a frame, in pixels
PSEUDO = "pseudo"
COLUMNS = ("clip", "frame", "time")


class Cine(NamedTuple):
    """Frames with a table.

    Attributes:
        frames: `.npy` file or array, uint8 [n, h, w].
        table: A row a frame; columns `clip`, `frame`, `time` in seconds, and any
            others.
        facts: JSON values for the report.
    """

    frames: str | pathlib.Path | np.ndarray
    table: pd.DataFrame
    facts: dict


def split(
    cine: Cine,
    *,
    delta: int = 1,
    label: str = "",
    bins: int = 0,
    period: float = 0.0,
    split: Sides = "clip",
    val_filter: str = "",
    val_fraction: float = 0.2,
    gap: float = 0.0,
    pseudo: Mapping | None = None,
    seed: int = 0,
) -> dataset.Data:
    """Return the frames of clips as records of two splits.

    Args:
        cine: Frames with their table.
        delta: `next_image` is the frame so many later in the clip; 0 leaves it out.
        label: Column that becomes the label; "pseudo": stable segments of the motion,
            whose frames alone are then trained on; "" for none.
        bins: A column of numbers is cut into so many equal parts of the range that
            training frames have; 0 takes each value for itself.
        period: The column is circular, its range 0 to `period`; 0 for none.
        split: "clip": whole clips are held out; "time": the end of each clip.
        val_filter: "column=value,value": clips whose frames have such a value are held
            back; "" draws them.
        val_fraction: Share of the clips, or of each clip's frames, that is held out.
        gap: Seconds of a clip between the sides that belong to neither, for "time".
        pseudo: Fields of `pseudo_labels.label`, for `label="pseudo"`.
        seed: Random seed of the held-out clips.

    Returns:
        Records `image` uint8 [h, w, 1] and, with `delta`, `next_image` like it and
        `has_next` bool, false where the clip or its side ends before; `next_image` is
        then the frame itself. Columns `clip`, `frame`, `time` and those of the table.

    Raises:
        DataError: If a field is out of range, a column is missing, or a side is empty.
    """
    table = cine.table.reset_index(drop=True)
    _check(table, delta, bins, period, split, val_fraction, gap)
    # Frames of a clip side by side, in the order of time.
    number, clips = pd.factorize(table["clip"].astype(str))
    order = np.lexsort((table["frame"], table["time"], number))
    table, number = table.iloc[order].reset_index(drop=True), number[order]
    frames = StoredArray(cine.frames)
    if split == "clip":
        held = _held_clips(table, number, clips, val_filter, val_fraction, seed)
        side = held.astype(np.int64)
    else:
        side = _sides_in_time(table, number, val_fraction, gap)
    labels, names, facts = _labels(
        table, number, order, frames, side == 0, label, bins, period, pseudo
    )
    columns = _columns(table, order, labels)
    sides = []
    for name, rows in (("in training", side == 0), ("held out", side == 1)):
        if not rows.any():
            raise dataset.DataError(
                f"data.split: no frame is {name} of {len(table)} in {len(clips)} "
                "clips; set data.val_fraction or data.gap"
            )
        source = _Frames(frames, order[rows], *_later(number[rows], delta))
        sides.append(dataset.Split(source, _select(columns, rows), names, []))
    if label == PSEUDO and (labeled := sides[0].table["label"] >= 0).any():
        # Most frames have no such label, and batches would hold hardly any that do.
        sides[0] = sides[0].take(labeled)
    facts = {
        **cine.facts,
        "frames": len(table),
        "size": list(frames.array.shape[1:]),
        "clips": len(clips),
        "split": split,
        "clips_held_out": clips[np.unique(number[side == 1])].tolist(),
        "frames_between_the_sides": int((side < 0).sum()),
        "records": {"train": len(sides[0]), "validation": len(sides[1])},
        **facts,
    }
    # In time both sides of each clip are known, with a gap between them.
    grouped_by = "clip" if split == "clip" else ""
    return dataset.Data(*sides, facts=facts, grouped_by=grouped_by)


def _select(columns: dict, rows: np.ndarray) -> dict:
    """Return the rows of all columns for which `rows` bool [n] is true."""
    return {
        name: column[rows]
        if isinstance(column, np.ndarray)
        else [column[row] for row in np.flatnonzero(rows)]
        for name, column in columns.items()
    }


def whole(cine: Cine, path: str) -> dataset.Split:
    """Return all frames as records without a label, to be embedded or searched with.

    Args:
        cine: Frames with their table.
        path: File or folder of the frames; becomes a column.
    """
    order = np.arange(len(cine.table))
    none = np.full(len(order), dataset.MISSING, np.int32)
    columns = _columns(cine.table, order, none) | {"path": [path] * len(order)}
    nothing = np.zeros(0, np.int64), np.zeros(0, bool)
    source = _Frames(StoredArray(cine.frames), order, *nothing)
    return dataset.Split(source, columns, [], [])


class _Frames:
    """Random access to frames, each with the one that follows."""

    def __init__(self, frames: StoredArray, rows, later, has_next):
        self._frames, self._rows = frames, rows
        self._later, self._has_next = later, has_next

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        fields = self.read(np.array([range(len(self))[row]]))
        return {name: value[0] for name, value in fields.items()}

    def read(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Return `image` uint8 [m, h, w, 1] of `rows`, and what follows them."""
        rows = np.asarray(rows, np.int64)
        fields = {"image": self._frames.array[self._rows[rows]][..., None]}
        if len(self._later):
            later = self._rows[self._later[rows]]
            fields["next_image"] = self._frames.array[later][..., None]
            fields["has_next"] = self._has_next[rows]
        return fields


def _later(number: np.ndarray, delta: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the row `delta` later in the same clip, else the row itself; and which.

    Nothing for `delta` 0.
    """
    if not delta:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    row = np.arange(len(number))
    later = np.minimum(row + delta, len(number) - 1)
    has_next = (row + delta < len(number)) & (number[later] == number)
    return np.where(has_next, later, row), has_next


def _held_clips(table, number, clips, val_filter, val_fraction, seed) -> np.ndarray:
    """Return whether each frame is of a clip that is held out, bool [n]."""
    if not val_filter:
        order = splits.random_order(len(clips), [seed, 2])
        held_out = splits.held_out_groups(order, val_fraction)
        if not held_out.any():
            raise dataset.DataError(
                "data.split: got one clip, which cannot be held out and trained on; "
                "data.split=time holds out its end"
            )
        return held_out[number]
    held = splits.filtered(table, val_filter, "frames")
    both = np.intersect1d(number[held], number[~held])
    if len(both):
        raise dataset.DataError(
            f"data.val_filter: got {val_filter!r}, which holds out a part of clip "
            f"{clips[both[0]]!r}; expected a column with one value a clip"
        )
    return held


def _sides_in_time(table, number, val_fraction, gap) -> np.ndarray:
    """Return 0 in training, 1 held out, -1 in the gap before, of frames in order."""
    side = np.zeros(len(table), np.int64)
    time = table["time"].to_numpy(np.float64)
    for clip in range(number[-1] + 1):
        rows = np.flatnonzero(number == clip)
        first = rows[len(rows) - round(val_fraction * len(rows)) :]
        if len(first):
            side[first] = 1
            before = rows[(rows < first[0]) & (time[rows] > time[first[0]] - gap)]
            side[before] = -1
    return side


def _labels(table, number, order, frames, train, label, bins, period, pseudo):
    """Return labels int32 [n], their names, and facts on them."""
    if not label:
        return np.full(len(table), dataset.MISSING, np.int32), [], {}
    if label == PSEUDO:
        # A mapped file stays one where its frames are in order already.
        sorted_already = np.array_equal(order, np.arange(len(order)))
        images = frames.array if sorted_already else frames.array[order]
        pseudo_labeled = pseudo_labels.label(
            images, number, train=train, **(pseudo or {})
        )
        facts = {"label": label, "pseudo_labels": pseudo_labels.facts(pseudo_labeled)}
        return (
            pseudo_labeled.labels,
            pseudo_labeled.names,
            facts | _counts(pseudo_labeled.labels, train),
        )
    _check_column(table, label, "data.label")
    if bins:
        labels, names = _binned(table[label], train, bins, period, label)
    else:
        codes, values = pd.factorize(table[label], sort=True)
        labels, names = codes.astype(np.int32), [f"{label} {v}" for v in values]
    return labels, names, {"label": label, **_counts(labels, train)}


def _binned(column: pd.Series, train, bins, period, label):
    if column.dtype.kind not in "fiu":
        raise dataset.DataError(
            f"data.bins: got {bins} for column {label!r}, which holds "
            f"{column.iloc[0]!r}; expected numbers, or data.bins=0"
        )
    x = column.to_numpy(np.float64)
    training_values = x[train & np.isfinite(x)]
    if not len(training_values):
        raise dataset.DataError(
            f"data.label: no training frame has a number in column {label!r}"
        )
    low, high = (
        (0.0, period) if period else (training_values.min(), training_values.max())
    )
    x = x % period if period else x
    width = (high - low) / bins or 1.0
    at = np.floor((np.nan_to_num(x) - low) / width)
    labels = np.where(np.isfinite(x), np.clip(at, 0, bins - 1), dataset.MISSING)
    edges = low + width * np.arange(bins + 1)
    names = [f"{label} {a:.3g} to {b:.3g}" for a, b in zip(edges, edges[1:])]  # noqa: B905
    return labels.astype(np.int32), names


def _counts(labels: np.ndarray, train: np.ndarray) -> dict:
    """Return how many training frames have a label, and another frame of it."""
    labeled = labels[train & (labels >= 0)]
    alone = np.bincount(labeled)[labeled] == 1 if len(labeled) else np.zeros(0, bool)
    return {
        "labels": len(np.unique(labeled)),
        "labeled_in_training": len(labeled),
        "with_a_positive": int((~alone).sum()),
    }


def _columns(table: pd.DataFrame, order: np.ndarray, labels: np.ndarray) -> dict:
    columns = {
        **dataset.columns_without_codes(order, labels),
        "clip": table["clip"].astype(str).tolist(),
        "frame": table["frame"].to_numpy(np.int64),
        "time": table["time"].to_numpy(np.float64),
    }
    columns["name"] = [
        f"{clip}, frame {frame}"
        for clip, frame in zip(columns["clip"], columns["frame"], strict=True)
    ]
    for name in table.columns:
        if name in columns:
            continue
        column = table[name]
        numbers = column.dtype.kind in "fiub"
        columns[str(name)] = (
            column.to_numpy(np.float64) if numbers else column.astype(str).tolist()
        )
    return columns


def _check_column(table: pd.DataFrame, column: str, where: str) -> None:
    if column not in table:
        raise dataset.DataError(
            f"{where}: the frames have no column {column!r}; choices: "
            f"{', '.join(map(str, table.columns))}"
        )


def _check(table, delta, bins, period, split, val_fraction, gap) -> None:
    for column in COLUMNS:
        _check_column(table, column, "data")
    if split not in get_args(Sides):
        raise dataset.DataError(
            f"data.split: got {split!r}; choices: {', '.join(get_args(Sides))}"
        )
    if not 0 < val_fraction < 1:
        raise dataset.DataError(
            f"data.val_fraction: got {val_fraction}; "
            "expected a share above 0 and below 1"
        )
    least = {"delta": delta, "bins": bins, "period": period, "gap": gap}
    for name, value in least.items():
        if not value >= 0:
            raise dataset.DataError(f"data.{name}: got {value}; expected 0 or more")
