"""Arrays in the cache that can be mapped; each is written once."""

import errno
import hashlib
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from input_pipeline import dataset
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
    """Return a `.npy` file in the cache and the note on it; makes both if need be.

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
    if not (stored.is_file() and note.is_file()):
        draft = folder / f".{name}.{os.getpid()}.npy"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                noted = write(draft)
                os.replace(draft, stored)
            finally:
                draft.unlink(missing_ok=True)
            draft.with_suffix(".json").write_text(json.dumps(noted), "utf-8")
            os.replace(draft.with_suffix(".json"), note)
        except OSError as error:
            if error.errno not in _NOT_WRITABLE:
                raise
            raise dataset.DataError(
                f"data.cache: got '{error}' while preparing data in {folder}; expected "
                "a folder that can be written, with space left; choose another with "
                "data.cache or AKIN_CACHE"
            ) from error
    return stored, json.loads(note.read_text("utf-8"))
