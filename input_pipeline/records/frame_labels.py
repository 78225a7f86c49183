"""Labels of frames from a column of their table; a missing value is no label."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from input_pipeline import dataset

AUTO = "auto"
RESERVED = ("clip", "frame", "time")
VALUE = "label_value"  # column with the number that a bin was made of
_LISTED = 20
_NO_NUMBER = {"", "na", "n/a", "nan", "null", "none"}
_ZEROS_FIRST = re.compile(r"[+-]?0\d")
_WITHOUT = (
    "add a table (data.table) with a column of labels. Without labels, variant pseudo "
    "of configs/fastap_resnet.py takes still segments, and variant views the two views "
    "of a frame"
)
BINS = 24  # number of bins that messages suggest


class Labels(NamedTuple):
    """Labels of frames.

    Attributes:
        labels: int32 [n], -1 for none.
        names: Name of each label.
        facts: JSON values for the report.
        values: float64 [n], the numbers that bins were made of, NaN where missing; None
            without bins.
    """

    labels: np.ndarray
    names: list[str]
    facts: dict
    values: np.ndarray | None = None


def of_column(
    table: pd.DataFrame, train: np.ndarray, label: str, bins: int, period: float
) -> Labels:
    """Return the labels that a column gives.

    Args:
        table: A row a frame.
        train: bool [n], frames of training, whose range is cut into bins.
        label: Column; "auto" for the only one that can be a label.
        bins: Number of bins of a column of numbers; 0 for a label a value.
        period: Period of the column; 0 for none.

    Raises:
        DataError: If there is no such column, or it has no numbers to be cut.
    """
    choices = []
    if label == AUTO:
        label = _only_column(table, train, bins)
        choices = [f"Column {label} is the label."]
    check_column(table, label, "data.label")
    values = None
    if bins:
        labels, names, values = _binned(table[label], train, bins, period, label)
    else:
        labels, names = _factorized(table[label], label)
    facts = {"label": label, **counts(labels, train), "choices": choices}
    return Labels(labels, names, facts, values)


def counts(labels: np.ndarray, train: np.ndarray) -> dict:
    """Return how many training frames have a label, and another frame of it."""
    labeled = labels[train & (labels >= 0)]
    alone = np.bincount(labeled)[labeled] == 1 if len(labeled) else np.zeros(0, bool)
    return {
        "labels": len(np.unique(labeled)),
        "labeled_in_training": len(labeled),
        "with_a_positive": int((~alone).sum()),
    }


def numbers(column: pd.Series) -> np.ndarray | None:
    """Return a column as numbers, NaN where missing; None if it holds other text.

    Text with zeros in front, such as "001", is a name.
    """
    if column.dtype.kind in "fiub":
        return column.to_numpy(np.float64)
    text = column.dropna().astype(str)
    text = text[~text.str.casefold().isin(_NO_NUMBER)]
    if text.empty or text.map(_ZEROS_FIRST.match).notna().any():
        return None
    parsed = pd.to_numeric(text, errors="coerce").astype(np.float64)
    if not np.isfinite(parsed).all():
        return None
    return parsed.reindex(column.index).to_numpy(np.float64)


def texts(column: pd.Series) -> list[str]:
    """Return a column as text, "" where missing."""
    return column.where(column.notna(), "").astype(str).tolist()


def check_column(table: pd.DataFrame, column: str, where: str) -> None:
    """Raise DataError if there is no such column."""
    if column not in table:
        raise dataset.DataError(
            f"{where}: the frames have no column {column!r}; choices: "
            f"{', '.join(map(str, table.columns))}"
        )


def _factorized(column: pd.Series, label: str) -> tuple[np.ndarray, list[str]]:
    """Return a label for each value, in order of numbers or of text."""
    column = column.reset_index(drop=True)
    if column.dtype.kind not in "fiub":
        column = column.where(column.notna() & (column != ""), None)
    parsed = numbers(column)
    codes, values = pd.factorize(column, sort=parsed is None)
    if parsed is not None:
        first = [float(parsed[np.argmax(codes == k)]) for k in range(len(values))]
        rank = np.argsort(np.argsort(first, kind="stable"))
        codes = np.where(codes < 0, dataset.MISSING, rank[codes])
        values = [values[k] for k in np.argsort(rank)]
    return codes.astype(np.int32), [f"{label} {value}" for value in values]


def _binned(
    column: pd.Series, train: np.ndarray, bins: int, period: float, label: str
) -> tuple[np.ndarray, list[str], np.ndarray]:
    x = numbers(column)
    if x is None:
        given = column.dropna()
        raise dataset.DataError(
            f"data.bins: got {bins} for column {label!r}, which holds "
            f"{given.iloc[0] if len(given) else 'nothing'!r}; expected numbers, or "
            "data.bins=0"
        )
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
    return labels.astype(np.int32), names, x


def _only_column(table: pd.DataFrame, train: np.ndarray, bins: int) -> str:
    """Return the only column that can be a label.

    Raises:
        DataError: If there is none, or more; says how each is chosen.
    """
    cut, shared = [], []
    for name in table.columns:
        if name in RESERVED or str(name).endswith(" in table"):
            continue
        if _can_be_cut(table[name], table["clip"]):
            cut.append(str(name))
        if _is_shared(table[name], train):
            shared.append(str(name))
    able = cut if bins else shared
    if len(able) == 1:
        return able[0]
    if able:
        raise dataset.DataError(
            f"data.label: got 'auto', and {len(able)} columns of the table can be the "
            f"label; set data.label to one of: {', '.join(able[:_LISTED])}"
        )
    advice = [f"data.label={name} data.bins={BINS}" for name in cut]
    advice += [f"data.label={name} data.bins=0" for name in shared if bins]
    kind = "numbers that change within a clip" if bins else "values that frames share"
    raise dataset.DataError(
        f"data.label: got 'auto', and no column of a table has {kind}; "
        + (f"set {'; or '.join(advice[:_LISTED])}" if advice else _WITHOUT)
    )


def _can_be_cut(column: pd.Series, clip: pd.Series) -> bool:
    """Return whether numbers change within clips and do not only count rows."""
    x = numbers(column)
    if x is None or len(np.unique(x[np.isfinite(x)])) < 3:
        return False
    if np.isfinite(x).all() and len(x) > 1 and np.ptp(np.diff(np.sort(x))) == 0:
        return False
    return bool((pd.Series(x).groupby(clip.to_numpy()).nunique() > 1).any())


def _is_shared(column: pd.Series, train: np.ndarray) -> bool:
    """Return whether at least two values are each on two training frames or more."""
    labels, _ = _factorized(column[train], "")
    per_value = np.bincount(labels[labels >= 0], minlength=1)
    mostly = (per_value > 0).sum() <= max(2, (labels >= 0).sum() / 2)
    return bool((per_value > 1).sum() > 1 and mostly)
