"""Which groups of records are held out for validation."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from input_pipeline.dataset import DataError

_LISTED = 20


def held_out_groups(order: Sequence[int], val_fraction: float) -> np.ndarray:
    """Return which groups are held out: the first ones of an order.

    Of n groups, round(val_fraction n) are held out; at least one where the fraction is
    above 0, and never all of them.

    Args:
        order: Numbers of the groups, 0 .. n - 1, as `random_order` or `hashed_order`
            returns them.
        val_fraction: Share of the groups, 0 <= val_fraction <= 1.

    Returns:
        bool [n], true for a group that is held out.
    """
    groups, count = len(order), 0
    if val_fraction > 0:
        count = max(min(max(round(val_fraction * groups), 1), groups - 1), 0)
    held_out = np.zeros(groups, bool)
    held_out[np.asarray(order, np.int64)[:count]] = True
    return held_out


def random_order(groups: int, seed: int | Sequence[int]) -> np.ndarray:
    """Return the numbers of `groups` groups in random order, int64 [groups]."""
    return np.random.default_rng(seed).permutation(groups)


def hashed_order(names: Iterable[str], seed: int) -> np.ndarray:
    """Return the order of groups by a hash of seed and name, int64 [groups].

    A group tends to stay on its side of a split when others are added.

    Args:
        names: Names of the groups; file names with undecodable bytes are allowed.
        seed: Random seed of the split.
    """
    digests = [
        hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogateescape")).digest()
        for name in names
    ]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), np.int64)


def filtered(table: pd.DataFrame, val_filter: str, records: str) -> np.ndarray:
    """Return which rows of a table a filter holds out, bool [n].

    Args:
        table: One row a record.
        val_filter: "column=value,value": rows with one of the values.
        records: What a row is, for messages, such as "frames".

    Raises:
        DataError: There is no such column, or no row or every row is held out.
    """
    column, _, values = val_filter.partition("=")
    if column not in table:
        raise DataError(
            f"data.val_filter: the {records} have no column {column!r}; choices: "
            f"{', '.join(map(str, table.columns))}"
        )
    text = table[column].astype(object).fillna("").astype(str)
    held_out = text.isin(values.split(",")).to_numpy()
    if held_out.all() or not held_out.any():
        raise DataError(
            f"data.val_filter: got {val_filter!r}, which is {int(held_out.sum())} of "
            f"{len(held_out)} {records}; values of {column}: "
            f"{', '.join(sorted(set(text))[:_LISTED])}"
        )
    return held_out
