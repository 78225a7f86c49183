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
from input_pipeline.records import frame_labels, pseudo_labels
from input_pipeline.records.stored_array import StoredArray

Sides = Literal["auto", "clip", "time"]
Side = Annotated[int, Interval(ge=8, le=4096)]  # of a frame, in pixels
PSEUDO = "pseudo"
LEAST_FRAMES = 8  # of a cine that can be split
LEAST_CLIPS = 2  # held out, where it is not said how
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
        label: Column that becomes the label, where it has a value; "auto" for the only
            one that can be a label; "pseudo": stable segments of the motion, whose
            frames alone are then trained on; "" for none.
        bins: A column of numbers is cut into so many equal parts of the range that
            training frames have; 0 takes each value for itself.
        period: The column is circular, its range 0 to `period`; 0 for none.
        split: "clip": whole clips are held out; "time": the end of each clip; "auto":
            by clip where that leaves two clips on each side.
        val_filter: "column=value,value": clips whose frames have such a value are held
            back; "" draws them.
        val_fraction: Share of the clips, or of each clip's frames, that is held out.
        gap: Seconds of a clip between the sides that belong to neither, for "time".
            With "auto", 0 is a tenth of the held-out frames.
        pseudo: Fields of `pseudo_labels.label`, for `label="pseudo"`.
        seed: Random seed of the held-out clips.

    Returns:
        Records `image` uint8 [h, w, 1] and, with `delta`, `next_image` like it and
        `has_next` bool, false where the clip or its side ends before; `next_image` is
        then the frame itself. Columns `clip`, `frame`, `time` and those of the table,
        and with `bins` the column `label_value` of the numbers that were cut.

    Raises:
        DataError: If a field is out of range, a column is missing, or a side is empty.
    """
    table = cine.table.reset_index(drop=True)
    _check(table, delta, bins, period, split, val_fraction, gap)
    # Frames of a clip side by side, in the order of time.
    number, clips = pd.factorize(table["clip"].astype(str))
    order = np.lexsort((table["frame"], table["time"], number))
    table, number = table.iloc[order].reset_index(drop=True), number[order]
    frames, choices = StoredArray(cine.frames), list(cine.facts.get("choices", []))
    automatic = split == "auto"
    if automatic:
        longest = int(np.bincount(number).max())
        split, sentence = _chosen_sides(len(clips), longest, val_filter, val_fraction)
        choices += [sentence] if sentence else []
    if split == "clip":
        held = _held_clips(table, number, clips, val_filter, val_fraction, seed)
        side = held.astype(np.int64)
    else:
        side = _sides_in_time(
            table, number, val_fraction, None if automatic and not gap else gap
        )
    labels = _labels(
        table, number, order, frames, side == 0, label, bins, period, pseudo
    )
    columns = _columns(table, order, labels)
    sides = []
    for name, rows in (("in training", side == 0), ("held out", side == 1)):
        if not rows.any():
            raise dataset.DataError(
                f"data.split: no frame is {name} of {len(table)} in {len(clips)} "
                "clips; "
                + (
                    f"expected {LEAST_FRAMES} frames or more"
                    if len(table) < LEAST_FRAMES
                    else "set data.val_fraction or data.gap"
                )
            )
        source = _Frames(frames, order[rows], *_later(number[rows], delta))
        sides.append(dataset.Split(source, _select(columns, rows), labels.names, []))
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
        **labels.facts,
        "choices": choices + labels.facts.get("choices", []),
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
    labels = frame_labels.Labels(none, [], {})
    columns = _columns(cine.table, order, labels) | {"path": [path] * len(order)}
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


def _chosen_sides(
    clips: int, longest: int, val_filter: str, val_fraction: float
) -> tuple[str, str]:
    """Return how sides are split where that is not said, and a sentence on it.

    By clip where that leaves two clips or more on each side: frames that are searched
    from then find frames of another clip. Clips of a frame cannot be split in time.
    """
    held = int(splits.held_out_groups(range(clips), val_fraction).sum())
    if val_filter or min(held, clips - held) >= LEAST_CLIPS:
        return "clip", ""
    if clips > 1 and round(val_fraction * longest) < 1:
        return "clip", ""
    return "time", (
        f"The last {val_fraction:.0%} of each clip is held out (data.split=time): "
        f"{'one clip is' if clips == 1 else f'{clips} clips are'} too few to hold out "
        f"{LEAST_CLIPS}."
    )


def _sides_in_time(table, number, val_fraction, gap) -> np.ndarray:
    """Return 0 in training, 1 held out, -1 in the gap before, of frames in order.

    The gap is in seconds; None is a tenth of the held-out frames, at least one.
    """
    side = np.zeros(len(table), np.int64)
    time = table["time"].to_numpy(np.float64)
    for clip in range(number[-1] + 1):
        rows = np.flatnonzero(number == clip)
        first = rows[len(rows) - round(val_fraction * len(rows)) :]
        if not len(first):
            continue
        side[first] = 1
        if gap is None:
            count = max(1, round(len(first) / 10))
            before = rows[(rows < first[0]) & (rows >= first[0] - count)]
        else:
            before = rows[(rows < first[0]) & (time[rows] > time[first[0]] - gap)]
        side[before] = -1
    return side


def _labels(
    table, number, order, frames, train, label, bins, period, pseudo
) -> frame_labels.Labels:
    """Return the labels of frames in order."""
    if not label:
        none = np.full(len(table), dataset.MISSING, np.int32)
        return frame_labels.Labels(none, [], {})
    if label != PSEUDO:
        return frame_labels.of_column(table, train, label, bins, period)
    # A mapped file stays one where its frames are in order already.
    sorted_already = np.array_equal(order, np.arange(len(order)))
    images = frames.array if sorted_already else frames.array[order]
    found = pseudo_labels.label(images, number, train=train, **(pseudo or {}))
    facts = {"label": label, "pseudo_labels": pseudo_labels.facts(found)}
    facts |= frame_labels.counts(found.labels, train)
    return frame_labels.Labels(found.labels, found.names, facts)


def _columns(
    table: pd.DataFrame, order: np.ndarray, labels: frame_labels.Labels
) -> dict:
    columns = {
        **dataset.columns_without_codes(order, labels.labels),
        "clip": table["clip"].astype(str).tolist(),
        "frame": table["frame"].to_numpy(np.int64),
        "time": table["time"].to_numpy(np.float64),
    }
    columns["name"] = [
        f"{clip}, frame {frame}"
        for clip, frame in zip(columns["clip"], columns["frame"], strict=True)
    ]
    if labels.values is not None:
        columns[frame_labels.VALUE] = labels.values
    for name in table.columns:
        if name not in columns:
            numbers = frame_labels.numbers(table[name])
            text = frame_labels.texts(table[name]) if numbers is None else None
            columns[str(name)] = numbers if text is None else text
    return columns


def _check(table, delta, bins, period, split, val_fraction, gap) -> None:
    for column in COLUMNS:
        frame_labels.check_column(table, column, "data")
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
