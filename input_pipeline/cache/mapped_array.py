"""Arrays in the cache that can be mapped; each is written once."""

import errno
import hashlib
import json
import os
import pathlib
import shutil
import socket
from collections.abc import Callable
from typing import Any

from absl import logging

from input_pipeline import dataset
from input_pipeline.cache import file_lock, manifest
from input_pipeline.cache.root import cache_root

# What the system says where a folder cannot be written; a reader's errors are others.
_NOT_WRITABLE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def stamp(file: pathlib.Path) -> list:
    """Return what changes when a file does: its path, size and time, for a `spec`."""
    stat = file.stat()
    return [str(file.resolve()), stat.st_size, stat.st_mtime_ns]


def cached(
    kind: str, spec: list, cache: str, write: Callable[[pathlib.Path], Any]
) -> tuple[pathlib.Path, Any]:
    """Return a `.npy` file in the cache and the note on it; make both if need be.

    A damaged file is made again, and said to be.

    Args:
        kind: Folder in the cache.
        spec: JSON values that decide what is in the file.
        cache: Folder of the cache; see `cache_root`.
        write: Makes the file at the path that it is given; returns the note, JSON
            values.

    Raises:
        DataError: If the cache cannot be written.
    """
    name = hashlib.sha256(json.dumps(spec).encode()).hexdigest()[:24]
    folder = cache_root(cache) / kind
    stored, note = folder / f"{name}.npy", folder / f"{name}.json"
    noted = _noted(stored, note)
    if noted is None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _remove_drafts(folder)
            noted = _make(stored, note, write)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            free = shutil.disk_usage(folder if folder.is_dir() else "/").free
            raise dataset.DataError(
                f"data.cache: got '{error}' while preparing data in {folder}, with "
                f"{free / 1e6:,.0f} MB free; expected a folder that can be written, "
                "with room for the data as it is unpacked; choose another with "
                "data.cache or AKIN_CACHE"
            ) from error
    return stored, noted["note"]


def _noted(stored: pathlib.Path, note: pathlib.Path) -> dict | None:
    """Return the content of the note on a whole file; None if it has to be made."""
    if not (stored.is_file() and note.is_file()):
        return None
    noted = manifest.unseal(note)
    if not isinstance(noted, dict):  # also what older versions wrote
        fault = f"{note} is damaged or of another version"
    else:
        fault = manifest.find_file_fault(stored, noted["file"])
    if fault is None:
        return noted  # type: ignore[return-value]
    logging.warning("Prepared data: %s; it is prepared again", fault)
    return None


def _make(
    stored: pathlib.Path, note: pathlib.Path, write: Callable[[pathlib.Path], Any]
) -> dict:
    # `np.save` appends .npy to any other ending.
    owner = f"{os.getpid()}.{socket.gethostname()}"
    draft = stored.with_name(f".{stored.stem}.{owner}.npy")
    try:
        noted = {"note": write(draft), "file": manifest.describe(draft)}
        noted["note"] = json.loads(json.dumps(noted["note"]))
        os.replace(draft, stored)
        draft.write_text(manifest.seal(noted), "utf-8")
        os.replace(draft, note)
    finally:
        draft.unlink(missing_ok=True)
    return noted


def _remove_drafts(folder: pathlib.Path) -> None:
    """Remove drafts of processes of this machine that were killed."""
    for draft in folder.glob(f".*.*.{socket.gethostname()}.npy"):
        pid = draft.name.split(".")[2]
        if pid.isdecimal() and not file_lock.is_alive(int(pid)):
            draft.unlink(missing_ok=True)
