"""Sizes and checksums of prepared files, so that a damaged one is never read."""

import json
import os
import pathlib
import zlib

NAME = "manifest.json"
# Of larger files size, beginning and end are compared: to read them all at every start
# would take minutes. ArrayRecord finds out by itself when it reads a damaged record.
WHOLE_BYTES = 2**30
_ENDS = 2**20
_CHUNK = 2**24


def describe(path: pathlib.Path) -> list:
    """Return size and CRC-32 of a file, of its two ends if it is large."""
    size = path.stat().st_size
    crc = 0
    with open(path, "rb") as file:
        if size > WHOLE_BYTES:
            crc = zlib.crc32(file.read(_ENDS))
            file.seek(-_ENDS, os.SEEK_END)
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return [size, f"{crc:08x}"]


def write(folder: pathlib.Path) -> None:
    """Write the manifest of all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {str(path.relative_to(folder)): describe(path) for path in files}
    (folder / NAME).write_text(seal(listed), "utf-8")


def find_fault(folder: pathlib.Path) -> str | None:
    """Return what is wrong with a folder, None if nothing is.

    A folder without a manifest, which an older version prepared, is taken as whole.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    listed = unseal(path)
    if listed is None:
        return f"{path} is damaged"
    for name, described in listed.items():
        if fault := find_file_fault(folder / name, described):
            return fault
    return None


def find_file_fault(path: pathlib.Path, described: list) -> str | None:
    """Return what is wrong with a file that `describe` has described, or None."""
    if not path.is_file():
        return f"{path} is missing"
    size = path.stat().st_size
    if size != described[0]:
        return f"{path} has {size:,} of {described[0]:,} bytes"
    if describe(path) != described:
        return f"{path} is not as it was written"
    return None


def seal(value: object) -> str:
    """Return a value as JSON together with its checksum."""
    text = json.dumps(value, sort_keys=True)
    return json.dumps({"value": value, "crc": f"{zlib.crc32(text.encode()):08x}"})


def unseal(path: pathlib.Path) -> object | None:
    """Return what `seal` wrote; None if it is missing or damaged."""
    try:
        sealed = json.loads(path.read_text("utf-8"))
        value, crc = sealed["value"], sealed["crc"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    text = json.dumps(value, sort_keys=True)
    return value if crc == f"{zlib.crc32(text.encode()):08x}" else None
