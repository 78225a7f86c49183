"""Columns of a split: padding and weights of codes, and their file."""

import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import dataset


class Columns(NamedTuple):
    """The table of one split, without weights, and the names of labels and codes."""

    table: dict[str, Any]
    label_names: list[str]
    code_names: list[str]


def write(path: pathlib.Path, table: dict[str, Any]) -> None:
    """Save columns; texts as one run of bytes each, for numpy pads them otherwise."""
    arrays = {}
    for name, column in table.items():
        if isinstance(column, np.ndarray):
            arrays[f"array/{name}"] = column
        else:
            text = "\0".join(column).encode("utf-8", "surrogateescape")
            arrays[f"text/{name}"] = np.frombuffer(text, np.uint8)
    np.savez(path, **arrays)


def read(path: pathlib.Path) -> dict[str, Any]:
    """Return what `write` saved."""
    table = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, name = key.split("/", 1)
            table[name] = arrays[key]
            if kind == "text":
                text = table[name].tobytes().decode("utf-8", "surrogateescape")
                table[name] = text.split("\0") if len(arrays["array/id"]) else []
    return table


def pad_codes(codes: Sequence[Sequence[int]]) -> np.ndarray:
    """Return lists of code numbers as int32 [n, C], padded with -1; C >= 1."""
    width = max([1, *(len(row) for row in codes)])
    padded = np.full((len(codes), width), dataset.MISSING, np.int32)
    for row, numbers in zip(padded, codes, strict=True):
        row[: len(numbers)] = numbers
    return padded


def code_counts(codes: np.ndarray, total: int) -> np.ndarray:
    """Return the number of records that carry each code, int64 [total]."""
    return np.bincount(codes[codes >= 0].ravel(), minlength=total)


def code_weights(codes: np.ndarray, counts: np.ndarray, rarity: float) -> np.ndarray:
    """Return n_c^-rarity for each code of each record, 0 where padded.

    Args:
        codes: int32 [n, C], padded with -1.
        counts: [number of codes], n_c in the training split; 0 counts as 1.
        rarity: Exponent, >= 0.

    Returns:
        float32 [n, C].
    """
    if not len(counts):
        return np.zeros(codes.shape, np.float32)
    weights = np.maximum(counts, 1.0) ** -rarity
    return np.where(codes >= 0, weights[codes], 0.0).astype(np.float32)
