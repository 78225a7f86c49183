"""Shapes and types of arrays in npy and npz files; no array is read."""

import pathlib
import zipfile
from typing import Any

import numpy as np


def read_headers(path: pathlib.Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and type of the arrays of an npz file.

    Raises:
        OSError: The file cannot be read; also ValueError, EOFError, BadZipFile.
    """
    headers = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    headers[name.removesuffix(".npy")] = read_header(member)
    return headers


def read_header(member: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of the array of an opened npy file."""
    version = np.lib.format.read_magic(member)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(member)
    return shape, dtype


def object_message(path: pathlib.Path, name: str) -> str:
    """Return what to say of an array of Python objects, which is not read."""
    return (
        f"{path}: array {name!r} holds Python objects, which are not read because they "
        f"can run code; save text as {name}.astype(str), numbers as "
        f"{name}.astype(float)"
    )
