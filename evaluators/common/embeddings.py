"""Columns and embeddings of splits, joined; on disk where they are large."""

import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluators.common.fields import GalleryName
from evaluators.common.protocols import Data, Embed, Split

CHUNK = 4096  # records an embed call
MAX_IN_MEMORY = 2**30  # bytes; larger embeddings go to a temporary file
FIRST_VIEW = "view1"  # of a record
TARGET_VIEW = "view2"  # of a record, or the vector that follows a window
COLUMNS = ("id", "label", "codes", "code_weights")


def embed_parts(
    embed: Embed,
    parts: Sequence[tuple[Split, np.ndarray]],
    view: str | None = None,
    **changes: Any,
) -> np.ndarray | None:
    """Return the embeddings [m, d] of parts (split, rows), one after another.

    Args:
        embed: Embed function.
        parts: Splits with their rows.
        view: Name of a training view, or None for records as they are.
        **changes: Fields of the transform with other values than in training.

    Returns:
        float32 [m, d]; None where the embed function has no such view.
    """
    total, filled = sum(len(rows) for _, rows in parts), 0
    out = np.zeros((0, 1), np.float32)
    for split, rows in parts:
        for start in range(0, len(rows), CHUNK):
            block = embed(split, rows[start : start + CHUNK], view, **changes)
            if block is None:
                return None
            if not filled:
                out = _allocate((total, block.shape[1]))
            out[filled : filled + len(block)] = block
            filled += len(block)
    return out


def embed_required(
    embed: Embed,
    parts: Sequence[tuple[Split, np.ndarray]],
    view: str | None = None,
    **changes: Any,
) -> np.ndarray:
    """Return `embed_parts`, or raise ValueError where there is no such view."""
    z = embed_parts(embed, parts, view, **changes)
    if z is None:
        raise ValueError(f"got an embed function without {view or 'records'}")
    return z


def named_splits(data: Data, name: GalleryName) -> list[Split]:
    """Return the splits of a name; "all" is training, then validation."""
    names = ("train", "validation") if name == "all" else (name,)
    return [getattr(data, split) for split in names]


def columns(splits: Sequence, *more: str) -> dict[str, np.ndarray]:
    """Return the columns that evaluators use, of splits one after another.

    Args:
        splits: Of one dataset.
        more: Names of further columns.

    Returns:
        One array a column, with codes padded to the widest split.

    Raises:
        ValueError: If a split lacks a column; lists the columns.
    """
    joined = {}
    for name in (*COLUMNS, *more):
        for split in splits:
            if name not in split.table:
                raise ValueError(
                    f"got data without a column {name!r}; choices: "
                    f"{', '.join(sorted(split.table))}"
                )
        parts = [np.asarray(split.table[name]) for split in splits]
        if parts[0].ndim == 2:
            fill = -1 if name == "codes" else 0
            width = max(part.shape[1] for part in parts)
            parts = [_padded(part, width, fill) for part in parts]
        joined[name] = np.concatenate(parts)
    return joined


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Return rows [n, d] scaled to unit norm; rows of zeros stay."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def take_rows(table: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns at chosen rows."""
    return {name: column[rows] for name, column in table.items()}


def sample_rows(count: int, most: int, seed: int) -> np.ndarray:
    """Return up to `most` of the rows 0..count-1, drawn by seed, in rising order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])


def _allocate(shape: tuple[int, int]) -> np.ndarray:
    if 4 * shape[0] * shape[1] <= MAX_IN_MEMORY:
        return np.empty(shape, np.float32)
    # The file has no name: it is deleted with the array.
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=shape)


def _padded(column: np.ndarray, width: int, fill: int) -> np.ndarray:
    pad = ((0, 0), (0, width - column.shape[1]))
    return np.pad(column, pad, constant_values=fill)
