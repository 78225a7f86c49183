"""Example queries with their neighbors, and the images of the records in them."""

import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from reporting.files import EXAMPLES, THUMBNAILS, read_json, replacing, write_json


def write(
    workdir: Path | str, queries: list[dict], images: Mapping[int, np.ndarray]
) -> None:
    """Write `examples.json` and `thumbnails.npz`.

    Args:
        workdir: The run's directory.
        queries: What an evaluator's `examples` returns.
        images: Uint8 [s, s, 3] by record id, for every id that the queries name.
    """
    folder = Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / THUMBNAILS) as draft, open(draft, "wb") as file:
        arrays: dict[str, Any] = {str(int(k)): v for k, v in images.items()}
        np.savez_compressed(file, **arrays)
    write_json(folder / EXAMPLES, queries)


def digest(workdir: Path | str) -> str:
    """Return 16 digits of the hash of the example files; "" if one is missing."""
    content = hashlib.sha256()
    for name in (EXAMPLES, THUMBNAILS):
        path = Path(workdir) / name
        if not path.is_file():
            return ""
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


def remove(workdir: Path | str) -> None:
    """Remove the examples of an attempt that was lost."""
    for name in (EXAMPLES, THUMBNAILS):
        (Path(workdir) / name).unlink(missing_ok=True)


def read(workdir: Path | str) -> tuple[list[dict], dict[int, np.ndarray]]:
    """Return queries with their neighbors, and images uint8 [s, s, 3] by record id."""
    queries = read_json(Path(workdir) / EXAMPLES, []) or []
    try:
        with np.load(Path(workdir) / THUMBNAILS, allow_pickle=False) as archive:
            images = {int(key): archive[key] for key in archive.files}
    except FileNotFoundError:
        images = {}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s cannot be read: %s", THUMBNAILS, error)
        images = {}
    return queries, images
